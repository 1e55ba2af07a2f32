//! One rule of suspicion: who is said or seen to be gone is probed, and believed gone if it is silent.
//!
//! A connection that ends without a good-bye, or a heartbeat without an answer, is evidence of our own:
//! the peer is probed at once, and the others are told, who probe it too, after a jitter. Only a probe
//! of our own buries a peer, so one peer's bad link convinces nobody else (after the suspicion mechanism
//! of SWIM, Das, Gupta and Motivala, 2002).
//!
//! A suspect that lives *refutes*: it signs a newer entry, which lifts the suspicion before most have
//! probed. Since what it signed just before it died may arrive late and look the same, who has evidence
//! of its own and no answer looks once more, at leisure, and only then buries or lets go.

use std::{collections::BTreeMap, time::Duration};

use super::entry::Version;
use crate::id::PeerId;

/// Most peers suspected at once; evidence beyond waits for anti-entropy and expiry.
pub(crate) const MAX_SUSPECTS: usize = 1024;
/// How long after a probe without an answer a peer that has refuted is probed once more.
pub(crate) const RECHECK: Duration = Duration::from_secs(2);

/// What the rule is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Input {
    /// A connection to a boot of a peer ended without a good-bye, a dial failed, or a heartbeat was not
    /// answered.
    Lost {
        /// The peer.
        peer: PeerId,
        /// Its boot.
        boot: u64,
        /// The version of its entry: a newer one refutes the suspicion.
        version: Version,
        /// Whether the others are to be told.
        tell: bool,
    },
    /// Another peer says that a boot of a peer is gone.
    Heard {
        /// The peer.
        peer: PeerId,
        /// Its boot.
        boot: u64,
        /// The version of its entry: a newer one refutes the suspicion.
        version: Version,
        /// How long to wait before probing; random.
        jitter: Duration,
    },
    /// A newer entry of the peer was accepted.
    Refuted {
        /// The peer.
        peer: PeerId,
        /// Its version.
        version: Version,
    },
    /// A timer that was set has fired.
    TimerFired(Timer),
    /// There is proof that the peer lives, besides its answer to a probe.
    Alive {
        /// The peer.
        peer: PeerId,
    },
    /// The peer answered a probe.
    Answered(Probe),
    /// The peer did not answer a probe in time.
    Silent(Probe),
}

/// What the rule wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Output {
    /// Come back after this long.
    SetTimer(Duration, Timer),
    /// Ask the peer whether it lives.
    Probe(Probe),
    /// Tell the others that a boot of a peer is suspected.
    Tell {
        /// The peer.
        peer: PeerId,
        /// Its boot.
        boot: u64,
    },
    /// The boot of the peer is dead.
    Bury {
        /// The peer.
        peer: PeerId,
        /// Its boot.
        boot: u64,
    },
}

/// A probe of a peer; the number tells it from earlier ones, whose outcome no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Probe {
    /// The peer.
    pub(crate) peer: PeerId,
    /// The number.
    pub(crate) number: u64,
}

/// A time to probe a peer; the number tells it from those of earlier suspicions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timer {
    peer: PeerId,
    number: u64,
}

/// Who is suspected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Liveness {
    suspects: BTreeMap<PeerId, Suspect>,
    next: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Suspect {
    boot: u64,
    version: Version,
    /// The number of the timer or the probe that is waited for.
    number: u64,
    probing: bool,
    /// Whether the evidence is our own.
    witnessed: bool,
    /// Whether the others are told of it if it has to be probed once more.
    tell: bool,
    refuted: Option<Version>,
    rechecked: bool,
}

impl Liveness {
    /// Takes in a fact.
    pub(crate) fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Lost {
                peer,
                boot,
                version,
                tell,
            } => self.on_lost(peer, boot, version, tell, out),
            Input::Heard {
                peer,
                boot,
                version,
                jitter,
            } => {
                let known = self.suspects.get(&peer).is_some_and(|s| s.boot == boot);
                if !known && let Some(suspect) = self.suspect(peer, boot, version) {
                    let number = suspect.number;
                    out.push(Output::SetTimer(jitter, Timer { peer, number }));
                }
            }
            Input::Refuted { peer, version } => self.on_refuted(peer, version),
            Input::TimerFired(Timer { peer, number }) => {
                if let Some(suspect) = self.suspects.get_mut(&peer)
                    && suspect.number == number
                    && !std::mem::replace(&mut suspect.probing, true)
                {
                    out.push(Output::Probe(Probe { peer, number }));
                    if suspect.rechecked && suspect.tell {
                        let boot = suspect.boot;
                        out.push(Output::Tell { peer, boot });
                    }
                }
            }
            Input::Alive { peer } => {
                self.suspects.remove(&peer);
            }
            Input::Answered(probe) => {
                if self.waits_for(probe) {
                    self.suspects.remove(&probe.peer);
                }
            }
            Input::Silent(probe) => self.on_silent(probe, out),
        }
    }

    /// Whether a peer is under suspicion.
    pub(crate) fn suspects(&self, peer: &PeerId) -> bool {
        self.suspects.contains_key(peer)
    }

    fn on_lost(
        &mut self,
        peer: PeerId,
        boot: u64,
        version: Version,
        tell: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(suspect) = self.suspect(peer, boot, version) else {
            return;
        };
        suspect.witnessed = true;
        suspect.tell |= tell;
        if !std::mem::replace(&mut suspect.probing, true) {
            let number = suspect.number;
            out.push(Output::Probe(Probe { peer, number }));
            if tell {
                out.push(Output::Tell { peer, boot });
            }
        }
    }

    fn on_refuted(&mut self, peer: PeerId, version: Version) {
        let Some(suspect) = self.suspects.get_mut(&peer) else {
            return;
        };
        if version <= suspect.version {
            return;
        }
        if suspect.witnessed && suspect.probing && !suspect.rechecked {
            suspect.refuted = Some(version);
        } else {
            self.suspects.remove(&peer);
        }
    }

    fn on_silent(&mut self, probe: Probe, out: &mut Vec<Output>) {
        if !self.waits_for(probe) {
            return;
        }
        let peer = probe.peer;
        self.next += 1;
        let number = self.next;
        let Some(suspect) = self.suspects.get_mut(&peer) else {
            return;
        };
        match suspect.refuted.take() {
            Some(version) => {
                suspect.version = version;
                suspect.number = number;
                suspect.probing = false;
                suspect.rechecked = true;
                out.push(Output::SetTimer(RECHECK, Timer { peer, number }));
            }
            None => {
                let boot = suspect.boot;
                self.suspects.remove(&peer);
                out.push(Output::Bury { peer, boot });
            }
        }
    }

    fn waits_for(&self, probe: Probe) -> bool {
        let suspect = self.suspects.get(&probe.peer);
        suspect.is_some_and(|s| s.probing && s.number == probe.number)
    }

    /// Number of peers under suspicion.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.suspects.len()
    }

    fn suspect(&mut self, peer: PeerId, boot: u64, version: Version) -> Option<&mut Suspect> {
        let known = self.suspects.get(&peer).map(|suspect| suspect.boot);
        if known.is_none() && self.suspects.len() >= MAX_SUSPECTS {
            return None;
        }
        // What is said of another boot is about another life of the peer: it starts anew, and what a
        // probe of the earlier one yields does not count.
        if known != Some(boot) {
            self.next += 1;
            let fresh = Suspect {
                boot,
                version,
                number: self.next,
                probing: false,
                witnessed: false,
                tell: false,
                refuted: None,
                rechecked: false,
            };
            self.suspects.insert(peer, fresh);
        }
        self.suspects.get_mut(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::from_bytes([1; 32]);
    const JITTER: Duration = Duration::from_millis(10);
    const OLD: Version = Version {
        started: 1,
        update: 1,
    };
    const NEW: Version = Version {
        started: 1,
        update: 2,
    };

    fn lost(boot: u64) -> Input {
        Input::Lost {
            peer: PEER,
            boot,
            version: OLD,
            tell: true,
        }
    }

    fn heard(boot: u64) -> Input {
        Input::Heard {
            peer: PEER,
            boot,
            version: OLD,
            jitter: JITTER,
        }
    }

    fn refuted(version: Version) -> Input {
        let peer = PEER;
        Input::Refuted { peer, version }
    }

    fn probe(number: u64) -> Probe {
        Probe { peer: PEER, number }
    }

    fn timer(number: u64) -> Timer {
        Timer { peer: PEER, number }
    }

    fn tell(boot: u64) -> Output {
        Output::Tell { peer: PEER, boot }
    }

    fn bury(boot: u64) -> Output {
        Output::Bury { peer: PEER, boot }
    }

    fn check(inputs: &[Input], expected: &[Output]) {
        let (mut liveness, mut out) = (Liveness::default(), Vec::new());
        for input in inputs {
            liveness.handle(*input, &mut out);
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn a_lost_peer_is_probed_once_told_of_and_believed_dead_if_silent() {
        check(
            &[lost(1), lost(1), Input::Silent(probe(1))],
            &[Output::Probe(probe(1)), tell(1), bury(1)],
        );
    }

    #[test]
    fn a_slow_peer_that_answers_stays() {
        let (answered, silent) = (Input::Answered(probe(1)), Input::Silent(probe(1)));
        let probed = [Output::Probe(probe(1)), tell(1)];
        check(&[lost(1), answered, silent], &probed);
        check(&[lost(1), Input::Alive { peer: PEER }, silent], &probed);
    }

    #[test]
    fn hearsay_is_probed_after_the_jitter_and_not_passed_on() {
        check(
            &[
                heard(1),
                heard(1),
                Input::TimerFired(timer(1)),
                Input::Silent(probe(1)),
            ],
            &[
                Output::SetTimer(JITTER, timer(1)),
                Output::Probe(probe(1)),
                bury(1),
            ],
        );
    }

    #[test]
    fn a_suspect_that_refutes_in_time_is_not_buried() {
        // Heard of: the refutation spares it the probe, or that probe's silence.
        let waits = Output::SetTimer(JITTER, timer(1));
        let fired = Input::TimerFired(timer(1));
        check(&[heard(1), refuted(NEW), fired], &[waits]);
        check(
            &[heard(1), fired, refuted(NEW), Input::Silent(probe(1))],
            &[waits, Output::Probe(probe(1))],
        );
        // Witnessed: it is looked at once more, and left alone if it refutes that too.
        let again = [
            Output::Probe(probe(1)),
            tell(1),
            Output::SetTimer(RECHECK, timer(2)),
            Output::Probe(probe(2)),
            tell(1),
        ];
        let newest = Version {
            started: 1,
            update: 3,
        };
        let inputs = [
            lost(1),
            refuted(NEW),
            Input::Silent(probe(1)),
            Input::TimerFired(timer(2)),
            refuted(newest),
            Input::Silent(probe(2)),
        ];
        check(&inputs, &again);
    }

    #[test]
    fn a_last_word_that_arrives_late_does_not_save_the_dead() {
        check(
            &[
                lost(1),
                refuted(NEW),
                Input::Silent(probe(1)),
                Input::TimerFired(timer(2)),
                refuted(NEW),
                Input::Silent(probe(2)),
            ],
            &[
                Output::Probe(probe(1)),
                tell(1),
                Output::SetTimer(RECHECK, timer(2)),
                Output::Probe(probe(2)),
                tell(1),
                bury(1),
            ],
        );
        // What is not newer than what was suspected refutes nothing.
        check(
            &[lost(1), refuted(OLD), Input::Silent(probe(1))],
            &[Output::Probe(probe(1)), tell(1), bury(1)],
        );
    }

    #[test]
    fn silence_of_an_earlier_boot_does_not_bury_the_next() {
        check(
            &[
                lost(1),
                lost(2),
                Input::Silent(probe(1)),
                Input::Answered(probe(1)),
                Input::Silent(probe(2)),
            ],
            &[
                Output::Probe(probe(1)),
                tell(1),
                Output::Probe(probe(2)),
                tell(2),
                bury(2),
            ],
        );
    }

    #[test]
    fn a_timer_of_an_earlier_suspicion_starts_no_probe() {
        let alive = Input::Alive { peer: PEER };
        check(
            &[heard(1), alive, heard(1), Input::TimerFired(timer(1))],
            &[
                Output::SetTimer(JITTER, timer(1)),
                Output::SetTimer(JITTER, timer(2)),
            ],
        );
    }

    #[test]
    fn suspicions_are_bounded() {
        let mut liveness = Liveness::default();
        for n in 0..MAX_SUSPECTS as u64 + 5 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            let lost = Input::Lost {
                peer: PeerId::from_bytes(bytes),
                boot: 0,
                version: OLD,
                tell: true,
            };
            liveness.handle(lost, &mut Vec::new());
        }
        assert_eq!(liveness.len(), MAX_SUSPECTS);
    }
}
