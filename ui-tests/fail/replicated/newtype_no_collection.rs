#[mosaik::replicated]
struct Halted(bool);

fn main() {}
