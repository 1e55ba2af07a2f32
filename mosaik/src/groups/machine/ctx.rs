//! What a command may know besides its arguments and the state.

use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{Rng, SeedableRng as _, rngs::ChaCha12Rng};

use crate::{groups::proto::founding::charter::Epoch, id::PeerId};

/// The last moment that a group's clock shows, in milliseconds since 1970: the end of the year 9999. What lies
/// beyond cannot be told on every system.
pub(super) const LAST_MOMENT: u64 = 253_402_300_799_999;

/// What seeds generators, so that no other use of the same bytes gives the same numbers.
const RNG_CONTEXT: &str = "mosaik/group/rng/1";

/// What a command may know besides its arguments and the state: the same on every replica.
///
/// A command that reads a clock, draws lots or looks at its surroundings by other means makes replicas differ.
#[derive(Debug)]
pub struct Ctx {
    pub(super) epoch: Epoch,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) now: u64,
    pub(super) uptime: u64,
    pub(super) caller: PeerId,
    pub(super) item: u32,
    pub(super) command: u32,
    pub(super) generators: Cell<u64>,
}

impl Ctx {
    /// The index of the log entry that carries the command. Commands of one batch share it, and so may
    /// commands of several callers.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The term of the leader that proposed the entry.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The time, in whole milliseconds: the clock of the leader when it proposed the entry, or the time that
    /// an earlier entry showed if that was later, or if that clock is more than 10 s off the median of the
    /// voters' clocks. It never goes back.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.now)
    }

    /// The same, in milliseconds since 1970.
    pub(crate) fn now_millis(&self) -> u64 {
        self.now
    }

    /// For how long the group had leaders, in milliseconds. It goes no faster than time does, whatever becomes of wall
    /// clocks, as leaders measure it by their monotonic ones.
    pub(crate) fn uptime_millis(&self) -> u64 {
        self.uptime
    }

    /// A generator of random numbers, which are the same on every replica and in every version of mosaik.
    ///
    /// Each call gives another one. Whoever can read the log can predict them: they are no secrets.
    pub fn rng(&self) -> impl Rng + Send + use<> {
        let mut hasher = blake3::Hasher::new_derive_key(RNG_CONTEXT);
        hasher.update(self.epoch.as_bytes());
        hasher.update(&self.index.to_le_bytes());
        hasher.update(&self.item.to_le_bytes());
        hasher.update(&self.command.to_le_bytes());
        hasher.update(&self.generators.get().to_le_bytes());
        self.generators.set(self.generators.get() + 1);
        ChaCha12Rng::from_seed(*hasher.finalize().as_bytes())
    }

    /// The peer whose handle sent the command.
    pub fn caller(&self) -> PeerId {
        self.caller
    }

    /// The charter that the group lives by.
    pub(crate) fn epoch(&self) -> [u8; 16] {
        *self.epoch.as_bytes()
    }

    /// What the command at `command` of the same item sees.
    pub(super) fn at(&self, command: u32) -> Self {
        Self {
            command,
            generators: Cell::new(0),
            ..*self
        }
    }
}

#[cfg(test)]
impl Ctx {
    /// What some command may know.
    pub(crate) fn example() -> Self {
        Self::example_of([7; 16])
    }

    /// What some command of a charter may know.
    pub(crate) fn example_of(epoch: [u8; 16]) -> Self {
        Self {
            epoch: Epoch::from_bytes(epoch),
            index: 1,
            term: 1,
            now: 0,
            uptime: 0,
            caller: PeerId::from_bytes([1; 32]),
            item: 0,
            command: 0,
            generators: Cell::new(0),
        }
    }

    /// What some command at this time may know, in milliseconds since 1970.
    pub(crate) fn example_at(now: u64) -> Self {
        Self {
            now,
            uptime: now,
            ..Self::example()
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;

    fn ctx(index: u64, item: u32, command: u32) -> Ctx {
        let ctx = Ctx {
            epoch: Epoch::from_bytes([1; 16]),
            index,
            term: 1,
            now: 0,
            uptime: 0,
            caller: PeerId::from_bytes([2; 32]),
            item,
            command: 0,
            generators: Cell::new(0),
        };
        ctx.at(command)
    }

    fn drawn(ctx: &Ctx) -> [u64; 3] {
        ctx.rng().random()
    }

    #[test]
    fn numbers_are_those_of_the_command() {
        let first = ctx(5, 0, 0);
        let numbers = drawn(&first);
        assert_eq!(numbers, drawn(&ctx(5, 0, 0)));
        // Every replica of every version draws these.
        assert_eq!(numbers[0], FIRST_NUMBER);
        let others = [ctx(6, 0, 0), ctx(5, 1, 0), ctx(5, 0, 1), first];
        for other in others {
            assert_ne!(numbers, drawn(&other), "{other:?}");
        }
    }

    /// What `ctx(5, 0, 0)` draws first.
    const FIRST_NUMBER: u64 = 14_894_708_209_096_667_644;

    #[test]
    fn the_last_moment_can_be_told() {
        let mut last = ctx(0, 0, 0);
        last.now = LAST_MOMENT;
        let since = last.now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(u128::from(LAST_MOMENT), since.as_millis());
    }
}
