use std::collections::{HashMap, HashSet};

#[mosaik::group]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group]
impl Bank {
    #[command]
    fn put(
        &mut self,
        items: HashMap<String, u64>,
        #[nondeterministic_ok] fine: HashSet<u64>,
    ) -> Vec<HashSet<u64>> {
        self.total += items.len() as u64;
        vec![fine]
    }

    #[query]
    fn also_fine(&self, ids: HashSet<u64>) -> HashMap<u64, u64> {
        ids.into_iter().map(|id| (id, self.total)).collect()
    }
}

fn main() {
    let _ = Bank::default().total;
}
