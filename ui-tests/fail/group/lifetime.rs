#[mosaik::group]
#[derive(Default)]
struct Bank<'a> {
    name: &'a str,
}

fn main() {
    let _ = Bank::default().name;
}
