#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn leave(&mut self) {
        self.total = 0;
    }

    #[query]
    fn version(&self) -> u64 {
        self.total
    }
}

fn main() {
    let _ = Bank::default().total;
}
