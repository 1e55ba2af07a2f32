#[mosaik::stream]
enum Price {
    Cents {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cents: Option<u64>,
    },
}

fn main() {}
