#[mosaik::stream]
struct Price {
    symbol: String,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, u64>,
}

fn main() {}
