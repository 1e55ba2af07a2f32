#[mosaik::stream(ticket = "secret")]
struct Price {
    cents: u64,
}

fn main() {}
