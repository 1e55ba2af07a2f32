#[mosaik::stream(capacity = 4294967296)]
struct Price {
    cents: u64,
}

fn main() {
    let _ = Price { cents: 1 }.cents;
}
