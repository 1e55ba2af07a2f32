#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[query]
    fn total(&self, more: impl Into<u64>) -> impl Into<u64> {
        self.total + more.into()
    }
}

fn main() {
    let _ = Bank::default().total;
}
