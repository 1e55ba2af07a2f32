#[mosaik::group]
#[derive(Default)]
struct Bank<'a> {
    name: &'a str,
}

#[mosaik::group]
impl Bank<'_> {
    #[query]
    fn length(&self) -> usize {
        self.name.len()
    }
}

fn main() {
    let _ = Bank::default().name;
}
