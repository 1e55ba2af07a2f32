#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    fn helper(&self) -> u64 {
        self.total
    }

    #[query]
    fn connect(&self) -> u64 {
        self.helper()
    }
}

fn main() {
    let _ = Bank::default().total;
}
