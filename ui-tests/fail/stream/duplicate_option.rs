#[mosaik::stream(name = "a", capacity = 2, name = "b")]
struct Price {
    cents: u64,
}

fn main() {
    let _ = Price { cents: 1 }.cents;
}
