#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[query]
    fn total(&self, accounts: &[&str]) -> u64 {
        self.total + accounts.len() as u64
    }
}

fn main() {
    let _ = Bank::default().total;
}
