#[mosaik::stream]
struct Price<'a> {
    symbol: &'a str,
}

fn main() {}
