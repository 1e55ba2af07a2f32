//! State and methods in modules of their own, and both inside a function.

mod state {
    #[mosaik::group(name = "apart")]
    #[derive(Default)]
    pub struct Bank {
        pub(super) total: u64,
    }
}

mod methods {
    use mosaik::Ctx as Context;

    #[mosaik::group]
    impl super::state::Bank {
        #[command]
        pub fn add(&mut self, ctx: &mosaik::Ctx, cents: u64) -> u64 {
            let _: &Context = ctx;
            self.total += cents;
            self.total
        }

        #[query]
        pub fn total(&self) -> u64 {
            self.total
        }
    }
}

fn inside() -> &'static str {
    use mosaik::groups::DeclaredGroup as _;

    #[mosaik::group(name = "inside")]
    #[derive(Default)]
    struct Bank;

    #[mosaik::group]
    impl Bank {
        #[command]
        fn nothing(&mut self) {}
    }

    let _ = BankGroup::nothing;
    Bank::declaration().name
}

fn main() {
    let _ = (state::BankGroup::add, state::BankGroup::total);
    assert_eq!(state::Bank::default().total(), 0);
    assert_eq!(inside(), "inside");
    let names: Vec<_> = mosaik::declarations().iter().map(|decl| decl.name()).collect();
    assert_eq!(names, ["apart", "inside"]);
}
