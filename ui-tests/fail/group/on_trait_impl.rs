#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Clone for Wrapped {
    fn clone(&self) -> Self {
        Self
    }
}

struct Wrapped;

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = (Wrapped.clone(), Bank::default().total);
}
