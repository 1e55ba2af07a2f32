#[mosaik::stream]
#[serde(untagged)]
enum Price {
    Cents(u64),
    Text(String),
}

fn main() {}
