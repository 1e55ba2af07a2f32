#[mosaik::stream]
struct Price {
    #[key]
    symbol: String,
}

fn main() {}
