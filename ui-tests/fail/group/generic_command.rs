#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add<T: Into<u64>>(&mut self, cents: T) {
        self.total += cents.into();
    }
}

fn main() {
    let _ = Bank::default().total;
}
