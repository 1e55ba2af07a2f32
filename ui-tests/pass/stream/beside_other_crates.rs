//! All that is at mosaik's root, in scope beside crates whose names are common words.

use mosaik::*;
use serde::Serialize;

/// A price tick.
#[mosaik::stream]
pub struct Price {
    pub cents: u64,
}

#[derive(Serialize)]
struct Report {
    prices: usize,
}

fn main() {
    metrics::counter!("reports_total").increment(1);
    metrics::gauge!(metric_names::DISCOVERY_PEERS).set(0.0);
    let report = Report {
        prices: declarations().len(),
    };
    assert_eq!(report.prices, 1);
    futures::executor::block_on(async {});
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    let _: anyhow::Result<()> = Ok(());
}
