#[mosaik::group(foundres = 3)]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank::default();
}
