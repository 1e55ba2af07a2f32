#[mosaik::group(recover = after("60s", "70s"))]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank::default();
}
