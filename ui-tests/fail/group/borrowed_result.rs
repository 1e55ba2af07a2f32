#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[query]
    fn total(&self) -> &u64 {
        &self.total
    }
}

fn main() {
    let _ = Bank::default().total;
}
