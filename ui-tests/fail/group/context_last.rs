#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&mut self, cents: u64, ctx: &mosaik::Ctx) {
        self.total += cents + ctx.index();
    }
}

fn main() {
    let _ = Bank::default().total;
}
