#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[query]
    fn total(&self, into: &mut u64) -> u64 {
        *into = self.total;
        self.total
    }
}

fn main() {
    let _ = Bank::default().total;
}
