#[mosaik::replicated]
fn store() {}

fn main() {
    store();
}
