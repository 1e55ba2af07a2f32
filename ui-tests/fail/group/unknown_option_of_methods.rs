#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group(founders = 3)]
impl Bank {
    #[command]
    fn add(&mut self, cents: u64) {
        self.total += cents;
    }
}

fn main() {
    let _ = Bank::default().total;
}
