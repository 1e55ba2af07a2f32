#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(cents: u64) -> u64 {
        cents
    }
}

fn main() {
    let _ = Bank::default().total;
}
