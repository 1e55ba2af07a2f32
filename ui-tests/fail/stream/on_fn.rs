#[mosaik::stream]
fn price() -> u64 {
    7
}

fn main() {}
