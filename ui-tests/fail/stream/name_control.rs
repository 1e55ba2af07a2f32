#[mosaik::stream(name = "a\u{7}b")]
struct Price {
    cents: u64,
}

fn main() {
    let _ = Price { cents: 1 }.cents;
}
