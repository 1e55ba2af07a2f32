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

fn main() {
    let _ = Bank::default().total;
}
