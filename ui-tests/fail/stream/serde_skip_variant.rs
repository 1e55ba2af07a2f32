#[mosaik::stream]
enum Price {
    #[serde(skip)]
    Hidden,
    Cents(u64),
}

fn main() {}
