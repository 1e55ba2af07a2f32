#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&mut self, cents: u64) {
        self.total += cents;
    }
}

async fn run(bank: BankGroup) {
    let twelve = bank.batch().add(1).add(1).add(1).add(1).add(1).add(1);
    let twelve = twelve.add(1).add(1).add(1).add(1).add(1).add(1);
    let _ = twelve.add(1).await;
}

fn main() {
    let _ = (run, Bank::default().total);
}
