//! Two groups of one name and different states are refused, with both places named; a topic of that name is none.

mod first {
    #[mosaik::group(name = "bank")]
    #[derive(Default)]
    pub struct Bank {
        pub total: u64,
    }

    #[mosaik::group]
    impl Bank {}
}

mod second {
    #[mosaik::group(name = "bank")]
    #[derive(Default)]
    pub struct Bank {
        pub total: u32,
    }

    #[mosaik::group]
    impl Bank {}
}

#[mosaik::stream(name = "bank")]
struct Price {
    cents: u8,
}

#[tokio::main]
async fn main() {
    let _ = (first::Bank::default().total, second::Bank::default().total, Price { cents: 1 }.cents);
    let error = mosaik::declare::check_declarations().unwrap_err().to_string();
    assert!(error.starts_with("group `bank` is declared as "), "{error}");
    assert_eq!(error.matches("conflict.rs:").count(), 2, "{error}");
    let refused = mosaik::Network::builder("ui-tests conflict").offline().build().await;
    assert!(refused.is_err());
}
