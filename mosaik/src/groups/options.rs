//! The options of a group, and what members compare of them.

use std::time::Duration;

use super::{
    error::Refusal,
    proto::{
        founding::charter::{Digest, Terms},
        roster,
        timing::Timing,
    },
};
use crate::{tickets::RequiredTickets, wire};

/// Options of a group. All members have to declare the same, but for `key`, which is compared by proof,
/// `command_timeout`, `quiesce_after` and `preference`, which are each member's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Members that found the group together: 1 to 9. Default: the network's, which is 1, *development mode*:
    /// one node is a group at once. Say 3 in production.
    pub founders: Option<usize>,
    /// Voters to aim at: odd, up to 9. Default 5.
    pub voters: usize,
    /// Whether the log is kept on disk. Default: if the network has a data directory.
    pub durable: Durability,
    /// Silence after which a voter may be replaced. Default 30 s.
    pub evict_after: Duration,
    /// How long the quorum has to be lost before those who are left found the group anew by themselves, from the
    /// best log among them, as [`Group::recover`](super::Group::recover) does. At least `evict_after`: a majority is
    /// not given up sooner than one voter. Default `None`: they wait, but for what is proven to be lost, and in
    /// development mode for 10 s, whose place this takes.
    ///
    /// Time proves nothing, so this gives up the promise that an acknowledged command is never lost. An old majority
    /// that is alive and merely out of reach goes on acknowledging commands, and all of them are lost when the two
    /// meet; so are those that only the missing had, if the members of a durable group that lost its power come back
    /// further apart than this. Take more than any such outage lasts. [`Event::Refounded`](super::Event::Refounded)
    /// names the voters that may live on.
    pub recover_after: Option<Duration>,
    /// How long a command or query waits for its answer. Default 10 s.
    pub command_timeout: Duration,
    /// How often a leader that has nothing else to say shows that it is there; at least 10 ms. Default: measured
    /// when the group is founded, unless `election_timeout` is declared; 60 ms where no two founders are more than
    /// 40 ms from each other and back, and three times that way otherwise.
    pub heartbeat: Option<Duration>,
    /// Between which times a follower that misses its leader stands for election: from twice the heartbeat on.
    /// Default: measured when the group is founded, unless `heartbeat` is declared; 150 to 250 ms on one site, and
    /// nine to fifteen times the longest way otherwise. Declare it where members will join from further away than
    /// the founders are from each other.
    pub election_timeout: Option<(Duration, Duration)>,
    /// How long nothing has to happen before a group that this member leads rests: it stops its heartbeats, and
    /// its members watch each other's nodes instead, once for all groups that rest. The first command after a
    /// rest takes one round trip more. Default 5 s; [`Duration::MAX`] never.
    pub quiesce_after: Duration,
    /// A secret that members prove to know. Default: none.
    pub key: Option<String>,
    /// The tickets that whoever takes part has to carry, members and clients alike. Default: none.
    ///
    /// All members have to ask for the same classes; how a ticket is checked is each one's own.
    pub tickets: RequiredTickets,
    /// Whether this member likes to lead. Default: it does not mind.
    pub preference: Preference,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            founders: None,
            voters: 5,
            durable: Durability::IfPossible,
            evict_after: Duration::from_secs(30),
            recover_after: None,
            command_timeout: Duration::from_secs(10),
            heartbeat: None,
            election_timeout: None,
            quiesce_after: Duration::from_secs(5),
            key: None,
            tickets: RequiredTickets::new(),
            preference: Preference::Neutral,
        }
    }
}

/// Whether a group keeps its log on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// If the network has a data directory.
    #[default]
    IfPossible,
    /// Yes: a member of a network without a data directory is refused.
    Required,
    /// No: the log is kept in memory, whatever the network has.
    Volatile,
}

/// Whether a member likes to lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preference {
    /// Leads only if nobody else can.
    Avoid,
    /// Does not mind.
    #[default]
    Neutral,
    /// Leads whenever it can.
    Prefer,
}

/// Options that were checked, of a member on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) founders: usize,
    pub(super) durable: bool,
    /// What was declared of it; `None` measures.
    pub(super) timing: Option<Timing>,
    pub(super) terms: Terms,
    pub(super) roster: roster::Options,
    pub(super) key: [u8; 32],
    pub(super) options: Options,
}

impl Options {
    /// Checks the options, on a network with these defaults, for a machine with this fingerprint.
    pub(super) fn settle(
        self,
        default_founders: usize,
        has_data_dir: bool,
        fingerprint: [u8; 32],
    ) -> Result<Settled, Refusal> {
        let founders = self.founders.unwrap_or(default_founders);
        let durable = match self.durable {
            Durability::IfPossible => has_data_dir,
            Durability::Required if !has_data_dir => return Err(Refusal::NoDataDir),
            Durability::Required => true,
            Durability::Volatile => false,
        };
        let roster = roster::Options {
            voters: self.voters,
            founders,
            durable,
            evict_after: self.evict_after,
            ..roster::Options::default()
        };
        let bad = |reason: String| Refusal::BadOptions(reason);
        roster.check().map_err(|error| bad(error.to_string()))?;
        if self
            .recover_after
            .is_some_and(|after| after < self.evict_after)
        {
            return Err(bad(
                "`recover_after` must be at least `evict_after`: a majority is not given up sooner than one voter"
                    .into(),
            ));
        }
        let timing = self.timing();
        if let Some(timing) = timing {
            timing.check().map_err(bad)?;
        }
        let key = derived(self.key.as_deref());
        let terms = Terms {
            durable,
            timing: digest("timing", &timing)?,
            key_check: Digest(blake3::derive_key("mosaik/group/key-check/1", &key)),
            fingerprint: Digest(fingerprint),
            options: self.compared(founders)?,
        };
        Ok(Settled {
            founders,
            durable,
            timing,
            terms,
            roster,
            key,
            options: self,
        })
    }

    /// What members compare of the options.
    fn compared(&self, founders: usize) -> Result<Digest, Refusal> {
        let options = (founders, self.voters, self.evict_after, self.recover_after);
        if self.tickets.is_empty() {
            return digest("options", &options);
        }
        let classes: Vec<&str> = self.tickets.classes().collect();
        digest("options", &(options, classes))
    }

    /// The timing, if any of it is declared: the rest is that of one site.
    fn timing(&self) -> Option<Timing> {
        if (self.heartbeat, self.election_timeout) == (None, None) {
            return None;
        }
        let default = Timing::default();
        let elections = (default.election_min, default.election_max);
        let (election_min, election_max) = self.election_timeout.unwrap_or(elections);
        Some(Timing {
            heartbeat: self.heartbeat.unwrap_or(default.heartbeat),
            election_min,
            election_max,
        })
    }
}

impl Settled {
    /// Why a member with these terms is none of ours, if so. Durability may differ.
    pub(super) fn compare(&self, theirs: &Terms) -> Result<(), Refusal> {
        let ours = &self.terms;
        if ours.key_check != theirs.key_check {
            Err(Refusal::Key)
        } else if ours.fingerprint != theirs.fingerprint {
            Err(Refusal::Machine)
        } else if ours.options != theirs.options {
            Err(Refusal::Options)
        } else if ours.timing != theirs.timing {
            Err(Refusal::Timing)
        } else {
            Ok(())
        }
    }

    /// What the roster calls the preference.
    pub(super) fn preference(&self) -> roster::Preference {
        match self.options.preference {
            Preference::Avoid => roster::Preference::Avoid,
            Preference::Neutral => roster::Preference::Neutral,
            Preference::Prefer => roster::Preference::Prefer,
        }
    }
}

/// What is proven with a group's key, if it has one.
pub(super) fn derived(key: Option<&str>) -> [u8; 32] {
    blake3::derive_key("mosaik/group/key/1", key.unwrap_or("").as_bytes())
}

fn digest<T: serde::Serialize>(what: &str, value: &T) -> Result<Digest, Refusal> {
    let bytes = wire::encode(value).map_err(|error| Refusal::BadOptions(error.to_string()))?;
    let mut hasher = blake3::Hasher::new_derive_key("mosaik/group/terms/1");
    hasher.update(what.as_bytes());
    hasher.update(&bytes);
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// The setters of a builder, of all that is in its field `options`.
macro_rules! setters {
    () => {
        /// All options at once.
        pub fn options(mut self, options: $crate::groups::Options) -> Self {
            self.options = options;
            self
        }

        /// How many members found the group together. Default: the network's, which is 1, *development mode*.
        pub fn founders(mut self, founders: usize) -> Self {
            self.options.founders = Some(founders);
            self
        }

        /// Voters to aim at: odd, up to 9. Default 5.
        pub fn voters(mut self, voters: usize) -> Self {
            self.options.voters = voters;
            self
        }

        /// Whether the log is kept on disk. Default: if the network has a data directory.
        pub fn durable(mut self, durable: $crate::groups::Durability) -> Self {
            self.options.durable = durable;
            self
        }

        /// Silence after which a voter may be replaced. Default 30 s.
        pub fn evict_after(mut self, silence: ::std::time::Duration) -> Self {
            self.options.evict_after = silence;
            self
        }

        /// How long the quorum has to be lost before those who are left found the group anew, at the risk of losing
        /// what a majority that is out of reach acknowledges. Default: never, but in development mode. See
        /// [`Options::recover_after`](crate::groups::Options::recover_after).
        pub fn recover_after(mut self, lost: ::std::time::Duration) -> Self {
            self.options.recover_after = Some(lost);
            self
        }

        /// How long a command or query waits for its answer. Default 10 s.
        pub fn command_timeout(mut self, limit: ::std::time::Duration) -> Self {
            self.options.command_timeout = limit;
            self
        }

        /// How often an idle leader shows that it is there. Default: measured. See [`Options::heartbeat`](crate::groups::Options::heartbeat).
        pub fn heartbeat(mut self, interval: ::std::time::Duration) -> Self {
            self.options.heartbeat = Some(interval);
            self
        }

        /// How long nothing has to happen before a group that this member leads rests. Default 5 s. See
        /// [`Options::quiesce_after`](crate::groups::Options::quiesce_after).
        pub fn quiesce_after(mut self, idle: ::std::time::Duration) -> Self {
            self.options.quiesce_after = idle;
            self
        }

        /// Between which times a follower that misses its leader stands for election. Default: measured. See
        /// [`Options::election_timeout`](crate::groups::Options::election_timeout).
        pub fn election_timeout(
            mut self,
            min: ::std::time::Duration,
            max: ::std::time::Duration,
        ) -> Self {
            self.options.election_timeout = Some((min, max));
            self
        }

        /// A secret that members prove to know. Default: none.
        pub fn key(mut self, key: impl Into<String>) -> Self {
            self.options.key = Some(key.into());
            self
        }

        /// Asks members and clients for a ticket that `validator` accepts, besides those that are asked for already.
        /// Default: none. See [`tickets`](crate::tickets).
        pub fn ticket(mut self, validator: impl $crate::tickets::TicketValidator) -> Self {
            self.options.tickets.require(validator);
            self
        }

        /// Whether this member likes to lead. Default: it does not mind.
        pub fn preference(mut self, preference: $crate::groups::Preference) -> Self {
            self.options.preference = preference;
            self
        }
    };
}
pub(crate) use setters;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        discovery::Entry,
        tickets::{AccessTicket, Rejection, TicketValidator, Validity},
    };

    struct Any(&'static str);

    impl TicketValidator for Any {
        fn class(&self) -> &str {
            self.0
        }

        fn validate(
            &self,
            _ticket: &AccessTicket,
            _holder: &Entry,
            _now: SystemTime,
        ) -> Result<Validity, Rejection> {
            Ok(Validity::Unlimited)
        }
    }

    fn settle(options: Options) -> Result<Settled, Refusal> {
        options.settle(1, false, [7; 32])
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let ms = Duration::from_millis;
        let bad = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            settle(options)
        };
        for refused in [
            bad(|o| o.founders = Some(0)),
            bad(|o| o.founders = Some(10)),
            bad(|o| o.voters = 4),
            bad(|o| o.voters = 11),
            bad(|o| o.evict_after = Duration::from_secs(1)),
            bad(|o| o.recover_after = Some(Duration::ZERO)),
            bad(|o| o.recover_after = Some(Duration::from_secs(29))),
            bad(|o| o.heartbeat = Some(Duration::from_millis(1))),
            bad(|o| o.heartbeat = Some(Duration::from_millis(100))),
            bad(|o| {
                o.election_timeout = Some((Duration::from_millis(200), Duration::from_millis(200)))
            }),
        ] {
            assert!(
                matches!(refused, Err(Refusal::BadOptions(_))),
                "{refused:?}"
            );
        }
        assert_eq!(
            bad(|o| o.durable = Durability::Required),
            Err(Refusal::NoDataDir)
        );
        let fine = Options {
            heartbeat: Some(ms(500)),
            election_timeout: Some((ms(1500), ms(2500))),
            ..Options::default()
        };
        let settled = settle(fine).unwrap();
        assert_eq!(settled.timing.map(|timing| timing.heartbeat), Some(ms(500)));
        assert_eq!(settle(Options::default()).unwrap().timing, None);
    }

    #[test]
    fn what_differs_is_named() {
        let ours = settle(Options::default()).unwrap();
        let check = |change: fn(&mut Options), expected: Result<(), Refusal>| {
            let mut options = Options::default();
            change(&mut options);
            let theirs = settle(options).unwrap();
            assert_eq!(ours.compare(&theirs.terms), expected);
        };
        check(|_| {}, Ok(()));
        check(|o| o.command_timeout = Duration::from_secs(1), Ok(()));
        check(|o| o.quiesce_after = Duration::MAX, Ok(()));
        check(|o| o.preference = Preference::Avoid, Ok(()));
        check(|o| o.key = Some("k".into()), Err(Refusal::Key));
        check(|o| o.founders = Some(3), Err(Refusal::Options));
        check(|o| o.voters = 3, Err(Refusal::Options));
        check(|o| o.tickets.require(Any("a")), Err(Refusal::Options));
        check(
            |o| o.recover_after = Some(Duration::from_secs(60)),
            Err(Refusal::Options),
        );
        check(
            |o| o.heartbeat = Some(Duration::from_millis(50)),
            Err(Refusal::Timing),
        );
        let other = Options::default().settle(1, true, [8; 32]).unwrap();
        assert_eq!(ours.compare(&other.terms), Err(Refusal::Machine));
        let durable = Options::default().settle(1, true, [7; 32]).unwrap();
        assert_eq!(ours.compare(&durable.terms), Ok(()));
        assert!(durable.durable && !ours.durable);
    }
}
