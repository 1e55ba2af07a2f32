#[mosaik::stream]
#[serde(rename_all = "lowercase", tag = "type", content = "value")]
enum Price {
    Cents(u64),
}

fn main() {}
