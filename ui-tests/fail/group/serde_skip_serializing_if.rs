#[mosaik::group]
#[derive(Default)]
struct Bank {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank::default();
}
