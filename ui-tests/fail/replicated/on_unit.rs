#[mosaik::replicated]
struct Store;

fn main() {
    let _ = Store;
}
