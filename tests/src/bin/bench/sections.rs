//! The sections of a subject, one after the other.

use std::panic::AssertUnwindSafe;

use anyhow::ensure;
use futures::{FutureExt as _, future::BoxFuture};

use crate::{plan::Plan, table};

/// Rows that share what they are measured on.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Plan) -> BoxFuture<'_, anyhow::Result<()>>,
}

/// Measures those that the plan wants. What fails is reported, and fails the run once all others are measured.
pub(crate) async fn run(plan: &Plan, subject: &str, sections: &[Section]) -> anyhow::Result<()> {
    let wanted = |section: &&Section| plan.wants(subject, section.name);
    let mut failed = vec![];
    for (n, section) in sections.iter().filter(wanted).enumerate() {
        if n == 0 {
            table::print_head(subject);
        }
        // What the helpers of the tests cannot do, they panic about.
        let measured = AssertUnwindSafe((section.run)(plan)).catch_unwind().await;
        match measured {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => println!("{}: {error:#}", section.name),
            Err(_) => println!("{}: panicked", section.name),
        }
        failed.push(section.name);
    }
    ensure!(
        failed.is_empty(),
        "{subject} not measured, or wrong: {failed:?}"
    );
    Ok(())
}
