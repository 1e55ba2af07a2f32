// Each mistake is reported once, whatever else is wrong.
#[mosaik::stream(name = "", history = 3, stall = 5)]
struct Price {
    cents: u64,
}

fn main() {
    let _ = Price { cents: 1 }.cents;
}
