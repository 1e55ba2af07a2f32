#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&mut self, cents: u64) {
        self.total += cents;
    }

    #[query]
    fn add_many(&self) -> u64 {
        self.total
    }
}

fn main() {
    let _ = Bank::default().total;
}
