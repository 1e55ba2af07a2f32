#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&mut self, ctx: mosaik::Ctx) {
        self.total += ctx.index();
    }
}

fn main() {
    let _ = Bank::default().total;
}
