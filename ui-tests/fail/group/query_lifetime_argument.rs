#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[query]
    fn total(&self, account: std::borrow::Cow<'_, str>) -> u64 {
        self.total + account.len() as u64
    }
}

fn main() {
    let _ = Bank::default().total;
}
