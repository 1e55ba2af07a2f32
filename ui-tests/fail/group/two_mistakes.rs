#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&self, account: &str) {
        let _ = (self, account);
    }

    #[query]
    async fn total(&self, _: u64) -> u64 {
        self.total
    }
}

fn main() {
    let _ = Bank::default().total;
}
