#[mosaik::group]
fn bank() {}

fn main() {
    bank();
}
