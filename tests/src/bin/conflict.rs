//! Two declarations of one name that differ: building a network fails and names both places.

mod first {
    /// A price in cents.
    #[mosaik::stream(name = "test.price")]
    pub(crate) struct Price {
        cents: u64,
    }
}

mod second {
    /// A price in words.
    #[mosaik::stream(name = "test.price")]
    pub(crate) struct Price {
        cents: String,
    }
}

#[tokio::main]
async fn main() {
    match mosaik_tests::loopback("conflict").build().await {
        Ok(_) => println!("built"),
        Err(error) => println!("refused: {error}"),
    }
}
