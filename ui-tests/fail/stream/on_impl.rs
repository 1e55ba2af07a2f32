struct Price;

#[mosaik::stream]
impl Price {}

fn main() {}
