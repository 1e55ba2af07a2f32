#[mosaik::stream]
struct Price {
    #[serde(skip_serializing)]
    cents: u64,
}

fn main() {}
