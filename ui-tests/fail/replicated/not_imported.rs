#[mosaik::replicated]
struct Store {
    trades: Vec<u8>,
}

fn main() {}
