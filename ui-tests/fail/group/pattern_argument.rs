#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&mut self, (a, b): (u64, u64), _: u64) {
        self.total += a + b;
    }
}

fn main() {
    let _ = Bank::default().total;
}
