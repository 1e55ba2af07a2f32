//! Two stores of one name and other collections do not go together in one program, and it is told where they are.

use mosaik::collections::{Map, Set};

mod one {
    use super::Map;

    #[mosaik::replicated(name = "book")]
    pub struct Book {
        pub orders: Map<u64, u64>,
    }
}

#[mosaik::replicated(name = "book")]
struct Other {
    orders: Set<u64>,
}

#[tokio::main]
async fn main() {
    let built = mosaik::Network::builder("ui-tests conflict").offline().build().await;
    let error = built.unwrap_err().to_string();
    assert!(error.contains("store `book`"), "{error}");
    assert!(error.contains("Other") && error.contains("Book"), "{error}");
}
