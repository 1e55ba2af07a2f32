#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[query]
    fn total(&self, ctx: &mosaik::Ctx) -> u64 {
        self.total + ctx.index()
    }
}

fn main() {
    let _ = Bank::default().total;
}
