#[mosaik::group]
#[derive(Default)]
struct Bank {
    accounts: std::collections::HashMap<String, u64>,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank::default();
}
