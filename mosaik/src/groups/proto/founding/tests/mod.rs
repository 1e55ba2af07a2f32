//! The rules one by one, the protocol under arbitrary input, and models that run it exhaustively.

mod arbitrary;
mod counterexamples;
mod fair;
mod liveness;
mod model;
mod rules;
mod safety;
mod verdicts;

use std::time::Duration;

use super::{
    charter::{Epoch, Terms},
    message::{Config, Input, Timer},
};
use crate::{
    groups::proto::timing::Timing,
    id::{GroupId, MemberId, PeerId},
};

const GROUP: GroupId = GroupId::from_bytes([7; 32]);

fn member(machine: usize, boot: u64) -> MemberId {
    let peer = PeerId::from_bytes([u8::try_from(machine).unwrap(); 32]);
    MemberId { peer, boot }
}

fn epoch(number: usize) -> Epoch {
    let mut bytes = [0; 16];
    bytes[0] = u8::try_from(number).unwrap();
    Epoch::from_bytes(bytes)
}

/// A timer that fires, with a fresh id.
fn fired(timer: Timer, epoch: Epoch) -> Input {
    Input::TimerFired {
        timer,
        epoch,
        timing: Timing::default(),
    }
}

fn config(me: MemberId, founders: usize, durable: bool) -> Config {
    let terms = Terms {
        durable,
        ..Terms::default()
    };
    Config {
        group: GROUP,
        me,
        founders,
        terms,
        settle: Duration::from_millis(500),
        founding_timeout: Duration::from_secs(10),
        resend: Duration::from_secs(1),
    }
}
