#[mosaik::group(ticket = "secret", ticket)]
#[derive(Default)]
struct Bank {
    total: u64,
}

#[mosaik::group(ticket = "secret")]
#[derive(Default)]
struct Desk {
    total: u64,
}

#[mosaik::group]
impl Desk {}

fn main() {
    let _ = (Bank::default(), Desk::default());
}
