//! Commands and queries that a condition leaves out, and attributes of other kinds.

#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    #[cfg(any())]
    fn add(&mut self, cents: Missing) {}

    #[cfg(not(any()))]
    #[command]
    #[inline]
    #[allow(clippy::let_and_return)]
    fn add(&mut self, cents: u64) -> u64 {
        let total = self.total + cents;
        total
    }

    #[query]
    #[cfg(any())]
    fn missing(&self) -> Missing {}
}

pub fn main() {
    assert_eq!(Bank::default().add(3), 3);
    let _ = (BankGroup::add, BankGroup::local, BankGroup::batch);
}
