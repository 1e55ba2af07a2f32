//! Importing a state: it comes in steps through the log, and takes the place of the one that is there in the last.
//!
//! Every step is an item like any other, so that an import is as safe as a command: whatever leader comes and goes, all
//! replicas do the same at the same entry, and what is acknowledged a majority has. A step that is sent again does
//! nothing, so that who imports may send each until it is answered, without a session. What has come so far is
//! replicated and in snapshots; a pause of [`EXPIRY`] ends it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of a state that can be imported: 1 GiB. All replicas hold what has come of it, encoded.
pub(crate) const MAX_IMPORT: u64 = 1 << 30;
/// How long a group, by its uptime in milliseconds, keeps what has come of a state of which no more comes.
const EXPIRY: u64 = 10 * 60 * 1000;

/// Which import a step is of: random.
pub(crate) type ImportId = [u8; 16];

/// A step of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Begin, in place of any other import that has not come to its end.
    Begin {
        /// Which one.
        id: ImportId,
        /// Bytes of the state.
        length: u64,
        /// Their BLAKE3 digest.
        digest: [u8; 32],
        /// Whether a state that commands have made may be lost for it.
        replace: bool,
    },
    /// Here are bytes of it.
    Chunk {
        /// Of which one.
        id: ImportId,
        /// Where they begin.
        at: u64,
        /// They.
        bytes: Bytes,
    },
    /// Put it in the place of the state that is there.
    Finish {
        /// Which one.
        id: ImportId,
    },
    /// Forget what came of it.
    Abandon {
        /// Which one.
        id: ImportId,
    },
}

impl Step {
    /// Bytes that it brings.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Chunk { bytes, .. } => bytes.len(),
            Self::Begin { .. } | Self::Finish { .. } | Self::Abandon { .. } => 0,
        }
    }
}

/// What a step gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Taken {
    /// So many bytes are there: send those that follow.
    Upto(u64),
    /// The state is the imported one, now or since before.
    Imported,
    /// The import is not known: another took its place, it paused for too long, or it was given up.
    Unknown,
    /// The state holds what commands have made, and may not be lost.
    HasCommands,
    /// It is larger than a state may be that is imported.
    TooLarge,
    /// The bytes are not those that were announced.
    Damaged,
    /// They are no state of this machine.
    Unreadable,
    /// Another charter lives on.
    Superseded,
}

/// What has come of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Incoming {
    id: ImportId,
    length: u64,
    digest: [u8; 32],
    replace: bool,
    chunks: Vec<Bytes>,
    received: u64,
    /// The uptime when the last came.
    touched: u64,
}

/// The imports of a group, as its replicas keep them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Imports {
    incoming: Option<Box<Incoming>>,
    /// The last that came to its end.
    done: Option<ImportId>,
}

/// What the state is when a step comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Whether a command was ever applied.
    pub(super) commands: bool,
    /// Whether another charter lives on.
    pub(super) superseded: bool,
    /// The group's uptime, in milliseconds.
    pub(super) uptime: u64,
}

impl Imports {
    /// Time has passed.
    pub(super) fn elapse(&mut self, uptime: u64) {
        self.incoming
            .take_if(|incoming| uptime.saturating_sub(incoming.touched) > EXPIRY);
    }

    /// Takes a step; `restore` puts an encoded state in the place of the one that is there, and returns whether it is
    /// one.
    pub(super) fn take(
        &mut self,
        step: Step,
        standing: Standing,
        restore: impl FnOnce(&[u8]) -> bool,
    ) -> Taken {
        let (Step::Begin { id, .. }
        | Step::Chunk { id, .. }
        | Step::Finish { id }
        | Step::Abandon { id }) = step;
        if self.done == Some(id) {
            return Taken::Imported;
        }
        if standing.superseded {
            return Taken::Superseded;
        }
        let known = self.incoming.as_deref_mut().filter(|known| known.id == id);
        match (step, known) {
            (Step::Begin { .. }, Some(known)) => Taken::Upto(known.received),
            (
                Step::Begin {
                    length,
                    digest,
                    replace,
                    ..
                },
                None,
            ) => {
                if standing.commands && !replace {
                    return Taken::HasCommands;
                }
                if length > MAX_IMPORT {
                    return Taken::TooLarge;
                }
                self.incoming = Some(Box::new(Incoming {
                    id,
                    length,
                    digest,
                    replace,
                    chunks: Vec::new(),
                    received: 0,
                    touched: standing.uptime,
                }));
                Taken::Upto(0)
            }
            (Step::Chunk { at, bytes, .. }, Some(known)) => {
                let taken = known.add(at, bytes, standing.uptime);
                if taken == Taken::Damaged {
                    self.incoming = None;
                }
                taken
            }
            (Step::Finish { .. }, Some(known)) if known.received < known.length => {
                Taken::Upto(known.received)
            }
            (Step::Finish { .. }, Some(_)) => self.finish(standing, restore),
            (Step::Abandon { .. }, Some(_)) => {
                self.incoming = None;
                Taken::Unknown
            }
            (_, None) => Taken::Unknown,
        }
    }

    fn finish(&mut self, standing: Standing, restore: impl FnOnce(&[u8]) -> bool) -> Taken {
        let Some(incoming) = self.incoming.take() else {
            return Taken::Unknown;
        };
        if standing.commands && !incoming.replace {
            return Taken::HasCommands;
        }
        let bytes = incoming.chunks.concat();
        if *blake3::hash(&bytes).as_bytes() != incoming.digest {
            return Taken::Damaged;
        }
        drop(incoming.chunks);
        if !restore(&bytes) {
            return Taken::Unreadable;
        }
        self.done = Some(incoming.id);
        Taken::Imported
    }

    /// Whether nothing in it can drive a later step into a fault.
    pub(super) fn is_sound(&self) -> bool {
        self.incoming.as_ref().is_none_or(|incoming| {
            let held: u64 = incoming.chunks.iter().map(|bytes| bytes.len() as u64).sum();
            held == incoming.received
                && incoming.received <= incoming.length
                && incoming.length <= MAX_IMPORT
        })
    }
}

impl Incoming {
    /// Takes the bytes that come next; those that are there already change nothing.
    fn add(&mut self, at: u64, bytes: Bytes, uptime: u64) -> Taken {
        self.touched = uptime;
        if at != self.received || bytes.is_empty() {
            return Taken::Upto(self.received);
        }
        let received = at.saturating_add(bytes.len() as u64);
        if received > self.length {
            return Taken::Damaged;
        }
        self.received = received;
        self.chunks.push(bytes);
        Taken::Upto(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Standing = Standing {
        commands: false,
        superseded: false,
        uptime: 0,
    };
    const USED: Standing = Standing {
        commands: true,
        ..FRESH
    };
    const STATE: &[u8] = b"some state";

    fn begin(n: u8, replace: bool) -> Step {
        Step::Begin {
            id: [n; 16],
            length: STATE.len() as u64,
            digest: *blake3::hash(STATE).as_bytes(),
            replace,
        }
    }

    fn chunk(n: u8, at: usize, bytes: &'static [u8]) -> Step {
        Step::Chunk {
            id: [n; 16],
            at: at as u64,
            bytes: Bytes::from_static(bytes),
        }
    }

    fn finish(n: u8) -> Step {
        Step::Finish { id: [n; 16] }
    }

    /// Takes steps, each of which gets what stands beside it; returns what was restored.
    #[track_caller]
    fn check(imports: &mut Imports, steps: Vec<(Step, Standing, Taken)>) -> Vec<Vec<u8>> {
        let mut restored = Vec::new();
        for (step, standing, expected) in steps {
            let said = format!("{step:?}");
            let taken = imports.take(step, standing, |bytes| {
                restored.push(bytes.to_vec());
                true
            });
            assert_eq!(taken, expected, "{said}");
            assert!(imports.is_sound());
        }
        restored
    }

    #[test]
    fn steps_that_are_sent_again_do_nothing() {
        let steps = vec![
            (begin(1, false), FRESH, Taken::Upto(0)),
            (begin(1, false), FRESH, Taken::Upto(0)),
            (finish(1), FRESH, Taken::Upto(0)),
            (chunk(1, 0, &STATE[..4]), FRESH, Taken::Upto(4)),
            (chunk(1, 0, &STATE[..4]), FRESH, Taken::Upto(4)),
            (chunk(1, 8, &STATE[8..]), FRESH, Taken::Upto(4)),
            (chunk(1, 4, &STATE[4..]), FRESH, Taken::Upto(10)),
            (begin(1, false), FRESH, Taken::Upto(10)),
            (finish(1), FRESH, Taken::Imported),
            // All of that is known to be done, whatever came since.
            (finish(1), USED, Taken::Imported),
            (begin(1, false), USED, Taken::Imported),
            (chunk(1, 0, &STATE[..4]), USED, Taken::Imported),
        ];
        assert_eq!(check(&mut Imports::default(), steps), [STATE]);
    }

    #[test]
    fn a_state_that_commands_made_is_only_replaced_where_that_is_said() {
        let steps = vec![
            (begin(1, false), USED, Taken::HasCommands),
            (chunk(1, 0, STATE), USED, Taken::Unknown),
            // One that is used in between.
            (begin(2, false), FRESH, Taken::Upto(0)),
            (chunk(2, 0, STATE), FRESH, Taken::Upto(10)),
            (finish(2), USED, Taken::HasCommands),
            (finish(2), USED, Taken::Unknown),
        ];
        assert!(check(&mut Imports::default(), steps).is_empty());
        let steps = vec![
            (begin(3, true), USED, Taken::Upto(0)),
            (chunk(3, 0, STATE), USED, Taken::Upto(10)),
            (finish(3), USED, Taken::Imported),
        ];
        assert_eq!(check(&mut Imports::default(), steps), [STATE]);
    }

    #[test]
    fn what_is_not_what_was_announced_is_refused() {
        let begun = || (begin(1, false), FRESH, Taken::Upto(0));
        let large = Step::Begin {
            id: [1; 16],
            length: MAX_IMPORT + 1,
            digest: [0; 32],
            replace: false,
        };
        let superseded = Standing {
            superseded: true,
            ..FRESH
        };
        for steps in [
            vec![(large, FRESH, Taken::TooLarge)],
            vec![
                begun(),
                (chunk(1, 0, b"other bytes"), FRESH, Taken::Damaged),
                (finish(1), FRESH, Taken::Unknown),
            ],
            vec![
                begun(),
                (chunk(1, 0, b"same count"), FRESH, Taken::Upto(10)),
                (finish(1), FRESH, Taken::Damaged),
            ],
            vec![
                begun(),
                (chunk(1, 0, STATE), FRESH, Taken::Upto(10)),
                (finish(1), superseded, Taken::Superseded),
            ],
            // Another takes its place, or it is given up.
            vec![
                begun(),
                (begin(2, false), FRESH, Taken::Upto(0)),
                (chunk(1, 0, STATE), FRESH, Taken::Unknown),
            ],
            vec![
                begun(),
                (Step::Abandon { id: [1; 16] }, FRESH, Taken::Unknown),
                (finish(1), FRESH, Taken::Unknown),
            ],
        ] {
            assert!(check(&mut Imports::default(), steps).is_empty());
        }
        let mut imports = Imports::default();
        imports.take(begin(1, false), FRESH, |_| true);
        imports.take(chunk(1, 0, STATE), FRESH, |_| true);
        let taken = imports.take(finish(1), FRESH, |_| false);
        assert_eq!(taken, Taken::Unreadable);
        assert_eq!(imports, Imports::default());
    }

    #[test]
    fn what_does_not_go_on_is_forgotten() {
        let mut imports = Imports::default();
        let at = |uptime| Standing { uptime, ..FRESH };
        imports.take(begin(1, false), at(5), |_| true);
        imports.elapse(5 + EXPIRY);
        let taken = imports.take(chunk(1, 0, STATE), at(5 + EXPIRY), |_| true);
        assert_eq!(taken, Taken::Upto(10));
        imports.elapse(5 + 2 * EXPIRY);
        assert_ne!(imports, Imports::default());
        imports.elapse(6 + 2 * EXPIRY);
        assert_eq!(imports, Imports::default());
    }
}
