#[mosaik::stream(require = |peer, other| peer.has_tag("trusted"))]
struct Price {
    cents: u64,
}

fn main() {
    let _ = Price { cents: 1 }.cents;
}
