#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn add(&mut self, account: &str, others: Vec<&str>) {
        self.total += (account.len() + others.len()) as u64;
    }
}

async fn run(bank: BankGroup) {
    bank.add("a", Vec::new()).await.unwrap();
}

fn main() {
    let _ = run;
    let _ = Bank::default().total;
}
