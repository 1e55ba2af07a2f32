#[mosaik::replicated]
struct Store {}

fn main() {}
