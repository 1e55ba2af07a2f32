#[mosaik::group]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank { total: 1 }.total;
}
