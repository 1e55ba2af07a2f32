//! The runtime under another name, while something else has its usual one.

extern crate mosaik as renamed;
extern crate std as mosaik;

use renamed::groups::DeclaredGroup;

#[renamed::group(crate = ::renamed, name = "bank", voters = 3, key = "secret")]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[renamed::group(crate = ::renamed)]
impl Bank {
    #[command]
    fn add(&mut self, ctx: &renamed::Ctx, cents: u64) -> u64 {
        self.total += cents + ctx.term();
        self.total
    }

    #[query]
    fn total(&self) -> u64 {
        self.total
    }
}

fn main() {
    assert_eq!(Bank::declaration().name, "bank");
    assert_eq!(Bank::options().voters, 3);
    assert_eq!(Bank::default().total(), 0);
    let _ = (BankGroup::add, BankGroup::total);
}
