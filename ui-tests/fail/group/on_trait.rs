#[mosaik::group]
trait Bank {}

struct A;
impl Bank for A {}

fn main() {
    let _ = A;
}
