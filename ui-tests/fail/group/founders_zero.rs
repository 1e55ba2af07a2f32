#[mosaik::group(founders = 0)]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank::default();
}
