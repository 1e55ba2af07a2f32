#[mosaik::stream]
trait Priced {}

fn main() {}
