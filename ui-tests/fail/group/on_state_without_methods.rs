#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

fn main() {
    let _ = Bank::default().total;
}
