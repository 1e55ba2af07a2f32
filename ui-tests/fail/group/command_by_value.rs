#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(self, cents: u64) -> u64 {
        self.total + cents
    }
}

fn main() {
    let _ = Bank::default().total;
}
