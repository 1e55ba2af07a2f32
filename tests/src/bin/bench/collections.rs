//! Replicated maps beside what they are made of: plain groups, and the maps of std under a lock.
//!
//! Three writers of this process, on loopback over iroh, with default options, unless a row says otherwise. Keys are
//! numbers, and values have 100 bytes. After each row what all three hold is compared with what was acknowledged. A
//! row that cannot be measured, or where something is lost or there twice, is reported, and fails the run once all
//! others are measured. No other figure does.

mod child;
mod gets;
mod inserts;
mod kind;
mod reader;
mod replica;
mod stores;
mod transactions;
mod wire;

use futures::FutureExt as _;

pub(crate) use self::child::child;
use crate::{
    plan::Plan,
    sections::{self, Section},
};

/// The subject's name on the command line.
pub(crate) const SUBJECT: &str = "collections";

const SECTIONS: [Section; 6] = [
    Section {
        name: "inserts",
        run: |plan| inserts::run(plan).boxed(),
    },
    Section {
        name: "wire",
        run: |plan| wire::run(plan).boxed(),
    },
    Section {
        name: "gets",
        run: |plan| gets::run(plan).boxed(),
    },
    Section {
        name: "transactions",
        run: |plan| transactions::run(plan).boxed(),
    },
    Section {
        name: "replica",
        run: |plan| replica::run(plan).boxed(),
    },
    Section {
        name: "reader",
        run: |plan| reader::run(plan).boxed(),
    },
];

/// Measures what the plan wants.
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    sections::run(plan, SUBJECT, &SECTIONS).await
}
