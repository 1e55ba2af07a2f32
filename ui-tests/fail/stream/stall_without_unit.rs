#[mosaik::stream(capacity = 2, stall = "5")]
struct Price {
    cents: u64,
}

fn main() {
    let _ = Price { cents: 1 }.cents;
}
