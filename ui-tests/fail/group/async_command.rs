#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    async fn add(&mut self, cents: u64) {
        self.total += cents;
    }
}

fn main() {
    let _ = Bank::default().total;
}
