//! Groups beside what they are made of: the raw transport, the disk, openraft alone.
//!
//! Three nodes of this process, on loopback over iroh, with default options, unless a row says otherwise. After
//! each row what the members hold is compared with what was acknowledged. A row that cannot be measured, or
//! where something is lost, is reported, and fails the run once all others are measured. No other figure does.

mod catch_up;
mod child;
mod commands;
mod durable;
mod fail_over;
mod idle;
mod leave;
mod memory;
mod openraft;
mod reads;
mod restart;
mod start;

use futures::FutureExt as _;

pub(crate) use self::child::child;
use crate::{
    plan::Plan,
    sections::{self, Section},
};

/// The subject's name on the command line.
pub(crate) const SUBJECT: &str = "groups";

const SECTIONS: [Section; 10] = [
    Section {
        name: "start",
        run: |plan| start::run(plan).boxed(),
    },
    Section {
        name: "commands",
        run: |plan| commands::run(plan).boxed(),
    },
    Section {
        name: "reads",
        run: |plan| reads::run(plan).boxed(),
    },
    Section {
        name: "durable",
        run: |plan| durable::run(plan).boxed(),
    },
    Section {
        name: "fail-over",
        run: |plan| fail_over::run(plan).boxed(),
    },
    Section {
        name: "leave",
        run: |plan| leave::run(plan).boxed(),
    },
    Section {
        name: "newcomer",
        run: |plan| catch_up::run(plan).boxed(),
    },
    Section {
        name: "restart",
        run: |plan| restart::run(plan).boxed(),
    },
    Section {
        name: "memory",
        run: |plan| memory::run(plan).boxed(),
    },
    Section {
        name: "idle",
        run: |plan| idle::run(plan).boxed(),
    },
];

/// Measures what the plan wants.
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    sections::run(plan, SUBJECT, &SECTIONS).await
}
