//! The catalog of a network: a state-based CRDT of signed entries.
//!
//! Per peer the entry of the highest [precedence](Record::precedence) stands, which makes merging
//! commutative, associative and idempotent (Shapiro et al., *A comprehensive study of convergent and
//! commutative replicated data types*, 2011). A departure is an entry too, a signed tombstone.
//!
//! Entries age by the time since their version last increased, and ages travel with them, so that no
//! two clocks are ever compared: an entry whose peer has stopped refreshing it is [`EXPIRE`] old
//! everywhere at about the same time and cannot circulate. A peer that expired or was found dead is
//! *buried*: the version that it had is refused from stragglers, a newer one is welcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Time,
    burials::Burials,
    entry::{Record, Version},
    millis,
    sync::Digest,
};
use crate::id::PeerId;

/// Age at which an entry is dropped: 5 minutes without a newer version.
pub(crate) const EXPIRE: Duration = Duration::from_secs(300);
/// Most entries in a catalog, tombstones included.
pub(crate) const MAX_ENTRIES: usize = 65_536;
/// Most bytes of signed entries in a catalog, tombstones included: 256 MiB.
pub(crate) const MAX_BYTES: usize = 256 * 1024 * 1024;
/// How far ahead of ours a peer's clock may be before it is reported.
pub(crate) const SKEW_ALLOWANCE: Duration = Duration::from_secs(10);

/// What the catalog is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// An entry arrived.
    Received {
        /// The entry, verified.
        record: Arc<Record>,
        /// How long ago its version increased, as far as the sender knows.
        age: Duration,
        /// Whether its own peer sent it to us just now: then the peer lives, whatever we believed.
        first_hand: bool,
        /// Our wall clock, milliseconds since 1970.
        unix_millis: u64,
    },
    /// A boot of a peer was found dead.
    Died {
        /// The peer.
        peer: PeerId,
        /// The boot that died.
        boot: u64,
    },
    /// We signed our own entry anew.
    Signed(Arc<Record>),
    /// Time has passed.
    Tick,
}

/// What the catalog wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A peer appeared.
    Discovered(Arc<Record>),
    /// A peer has signed its entry anew, whether or not it says something new.
    Renewed {
        /// The peer.
        peer: PeerId,
        /// The version of its entry now.
        version: Version,
    },
    /// A peer's entry says something new.
    Updated(Arc<Record>),
    /// A peer is another boot now: connections to the earlier one are dead.
    Restarted {
        /// The peer.
        peer: PeerId,
        /// Its boot now.
        boot: u64,
    },
    /// A peer is gone.
    Departed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DepartReason,
    },
    /// A peer's clock is ahead of ours; said once a peer.
    ClockSkewed {
        /// The peer.
        peer: PeerId,
        /// By how much at least.
        ahead: Duration,
    },
    /// Somebody holds an entry of ours that is newer than ours: sign one newer than this.
    Supersede(Version),
    /// The catalog is full.
    Overflowed(PeerId),
}

/// Why a peer is gone from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DepartReason {
    /// It said good-bye.
    Left,
    /// Its connection was lost and it did not answer a probe.
    Unreachable,
    /// Nothing new was heard of it for five minutes.
    Expired,
}

/// The catalog of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalog {
    me: PeerId,
    own: Option<Arc<Record>>,
    slots: BTreeMap<PeerId, Slot>,
    births: BTreeSet<(Time, PeerId)>,
    burials: Burials,
    live: usize,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    record: Arc<Record>,
    born: Time,
    skewed: bool,
}

impl Catalog {
    /// An empty catalog of `me`.
    pub(crate) fn new(me: PeerId) -> Self {
        Self {
            me,
            own: None,
            slots: BTreeMap::new(),
            births: BTreeSet::new(),
            burials: Burials::default(),
            live: 0,
            bytes: 0,
            max_bytes: MAX_BYTES,
        }
    }

    /// Takes in a fact.
    pub(crate) fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Received {
                record,
                age,
                first_hand,
                unix_millis,
            } => {
                if record.peer() == self.me {
                    self.on_own(&record, out);
                } else if age < EXPIRE {
                    let born = Time(now.0.saturating_sub(millis(age)));
                    self.on_entry(record, born, first_hand, unix_millis, out);
                }
            }
            Input::Died { peer, boot } => {
                let died = self
                    .record(&peer)
                    .is_some_and(|record| record.body().boot == boot && !record.body().departed);
                if died {
                    self.bury(peer, now, DepartReason::Unreachable, out);
                }
            }
            Input::Signed(record) => self.own = Some(record),
            Input::Tick => self.on_tick(now, out),
        }
    }

    /// When something is due next, for a [`Input::Tick`] then.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let expiry = self.births.first().map(|(born, _)| born.after(EXPIRE));
        expiry.into_iter().chain(self.burials.deadline()).min()
    }

    /// The entry of another peer, tombstones included.
    pub(crate) fn record(&self, peer: &PeerId) -> Option<&Arc<Record>> {
        self.slots.get(peer).map(|slot| &slot.record)
    }

    /// The entry of another peer that lives.
    pub(crate) fn live(&self, peer: &PeerId) -> Option<&Arc<Record>> {
        self.record(peer).filter(|record| !record.body().departed)
    }

    /// The other peers that live.
    pub(crate) fn iter_live(&self) -> impl Iterator<Item = &Arc<Record>> {
        let records = self.slots.values().map(|slot| &slot.record);
        records.filter(|record| !record.body().departed)
    }

    /// Number of other peers that live.
    pub(crate) fn live_len(&self) -> usize {
        self.live
    }

    /// Everything that is passed on, our own entry included, with its time of birth.
    pub(crate) fn shared(&self, now: Time) -> impl Iterator<Item = (&Arc<Record>, Time)> {
        let others = self.slots.values().map(|slot| (&slot.record, slot.born));
        others.chain(self.own.iter().map(move |own| (own, now)))
    }

    /// The entry of a peer, which may be ourselves, with its time of birth.
    pub(crate) fn lookup(&self, peer: &PeerId, now: Time) -> Option<(&Arc<Record>, Time)> {
        let own = self.own.as_ref().filter(|_| *peer == self.me);
        let other = self.slots.get(peer).map(|slot| (&slot.record, slot.born));
        own.map(|own| (own, now)).or(other)
    }

    /// The digest of everything that is passed on.
    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        for record in self
            .slots
            .values()
            .map(|slot| &slot.record)
            .chain(&self.own)
        {
            digest.toggle(record);
        }
        digest
    }

    /// The peers that are buried here, or were not long ago.
    pub(crate) fn burials(&self) -> &Burials {
        &self.burials
    }

    /// An entry that is said to be ours: if it is newer than ours, somebody must be told otherwise.
    fn on_own(&self, theirs: &Arc<Record>, out: &mut Vec<Output>) {
        let superseded = self
            .own
            .as_ref()
            .is_some_and(|own| own != theirs && theirs.version() >= own.version());
        // After our own departure the tombstone that others hold is right.
        if superseded && self.own.as_ref().is_some_and(|own| !own.body().departed) {
            out.push(Output::Supersede(theirs.version()));
        }
    }

    fn on_entry(
        &mut self,
        record: Arc<Record>,
        born: Time,
        first_hand: bool,
        unix_millis: u64,
        out: &mut Vec<Output>,
    ) {
        let peer = record.peer();
        if let Some(version) = self.burials.version(&peer)
            && record.version() <= version
            && !(first_hand && record.version() == version)
        {
            return;
        }
        let Some(slot) = self.slots.get(&peer) else {
            if self.slots.len() >= MAX_ENTRIES || !self.has_room(&record, 0) {
                out.push(Output::Overflowed(peer));
                return;
            }
            return self.insert(record, born, unix_millis, out);
        };
        let old = slot.record.clone();
        match record.precedence(&old) {
            std::cmp::Ordering::Less => return,
            std::cmp::Ordering::Equal => {
                // Of one version the older birth is the truer one.
                return self.rebirth(&peer, born.min(slot.born));
            }
            std::cmp::Ordering::Greater => {}
        }
        if !self.has_room(&record, old.signed().len()) {
            out.push(Output::Overflowed(peer));
            return;
        }
        self.replace(record.clone(), born);
        let version = record.version();
        out.push(Output::Renewed { peer, version });
        let (was, is) = (!old.body().departed, !record.body().departed);
        if was && is && old.body().boot != record.body().boot {
            let boot = record.body().boot;
            out.push(Output::Restarted { peer, boot });
        }
        match (was, is) {
            (true, false) => {
                self.live -= 1;
                let reason = DepartReason::Left;
                out.push(Output::Departed { peer, reason });
            }
            (false, true) => {
                self.live += 1;
                out.push(Output::Discovered(record.clone()));
            }
            (true, true) if !old.body().same_content(record.body()) => {
                out.push(Output::Updated(record.clone()));
            }
            _ => {}
        }
        self.report_skew(&record, unix_millis, out);
    }

    fn insert(&mut self, record: Arc<Record>, born: Time, unix_millis: u64, out: &mut Vec<Output>) {
        let peer = record.peer();
        self.burials.forget(&peer);
        self.bytes += record.signed().len();
        self.births.insert((born, peer));
        let slot = Slot {
            record: record.clone(),
            born,
            skewed: false,
        };
        self.slots.insert(peer, slot);
        if !record.body().departed {
            self.live += 1;
            out.push(Output::Discovered(record.clone()));
            self.report_skew(&record, unix_millis, out);
        }
    }

    fn replace(&mut self, record: Arc<Record>, born: Time) {
        let peer = record.peer();
        self.rebirth(&peer, born);
        if let Some(slot) = self.slots.get_mut(&peer) {
            self.bytes = self.bytes + record.signed().len() - slot.record.signed().len();
            slot.record = record;
        }
    }

    /// Whether an entry fits in place of one of `instead` bytes. A tombstone does, for it is small.
    fn has_room(&self, record: &Record, instead: usize) -> bool {
        let grown = self.bytes.saturating_sub(instead) + record.signed().len();
        grown <= self.max_bytes || (record.body().departed && instead > 0)
    }

    fn rebirth(&mut self, peer: &PeerId, born: Time) {
        if let Some(slot) = self.slots.get_mut(peer) {
            self.births.remove(&(slot.born, *peer));
            slot.born = born;
            self.births.insert((born, *peer));
        }
    }

    fn report_skew(&mut self, record: &Record, unix_millis: u64, out: &mut Vec<Output>) {
        let peer = record.peer();
        let ahead = record.version().started.saturating_sub(unix_millis);
        let Some(slot) = self.slots.get_mut(&peer) else {
            return;
        };
        if ahead > millis(SKEW_ALLOWANCE) && !slot.skewed {
            slot.skewed = true;
            let ahead = Duration::from_millis(ahead);
            out.push(Output::ClockSkewed { peer, ahead });
        }
    }

    fn on_tick(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Some((born, peer)) = self.births.first().copied() {
            if now < born.after(EXPIRE) {
                break;
            }
            self.bury(peer, now, DepartReason::Expired, out);
        }
        self.burials.tick(now);
    }

    fn bury(&mut self, peer: PeerId, now: Time, reason: DepartReason, out: &mut Vec<Output>) {
        let Some(slot) = self.slots.remove(&peer) else {
            return;
        };
        self.births.remove(&(slot.born, peer));
        if !slot.record.body().departed {
            self.live -= 1;
            out.push(Output::Departed { peer, reason });
        }
        self.bytes -= slot.record.signed().len();
        self.burials.bury(slot.record, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{EPOCH, entry::tests::*},
        *,
    };

    const NOW: Time = Time(1_000_000);

    fn received(record: Record) -> Input {
        Input::Received {
            record: Arc::new(record),
            age: Duration::ZERO,
            first_hand: false,
            unix_millis: 1_000,
        }
    }

    /// All that comes of `input` but word of renewals, which nearly everything brings.
    fn run(catalog: &mut Catalog, now: Time, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        catalog.handle(now, input, &mut out);
        out.retain(|output| !matches!(output, Output::Renewed { .. }));
        out
    }

    fn catalog() -> Catalog {
        Catalog::new(key(0).peer())
    }

    #[test]
    fn the_latest_version_stands() {
        let mut catalog = catalog();
        let out = run(&mut catalog, NOW, received(record(1, 5, 1, false)));
        assert!(matches!(out[..], [Output::Discovered(_)]));
        assert!(run(&mut catalog, NOW, received(record(1, 5, 0, false))).is_empty());
        let out = run(&mut catalog, NOW, received(record(1, 5, 2, false)));
        assert!(matches!(out[..], [Output::Updated(_)]));
        let out = run(&mut catalog, NOW, received(record(1, 6, 0, false)));
        assert!(matches!(
            out[..],
            [Output::Restarted { boot: 6, .. }, Output::Updated(_)]
        ));
        assert_eq!(catalog.live_len(), 1);
    }

    #[test]
    fn a_refresh_is_no_update() {
        let mut catalog = catalog();
        let first = record(1, 5, 1, false);
        let mut body = first.body().clone();
        body.version.update = 9;
        run(&mut catalog, NOW, received(first));
        let refreshed = Record::sign(body, &key(1)).unwrap();
        let (peer, version) = (refreshed.peer(), refreshed.version());
        let mut out = Vec::new();
        catalog.handle(NOW, received(refreshed), &mut out);
        // But it refutes a suspicion.
        assert_eq!(out, [Output::Renewed { peer, version }]);
    }

    #[test]
    fn what_expired_stays_away_until_it_is_newer() {
        let mut catalog = catalog();
        run(&mut catalog, NOW, received(record(1, 5, 1, false)));
        let due = catalog.deadline().unwrap();
        assert_eq!(due, NOW.after(EXPIRE));
        let out = run(&mut catalog, due, Input::Tick);
        let (peer, reason) = (key(1).peer(), DepartReason::Expired);
        assert_eq!(out, [Output::Departed { peer, reason }]);
        assert!(run(&mut catalog, due, received(record(1, 5, 1, false))).is_empty());
        let buried = catalog.burials().version(&peer);
        assert_eq!(buried, Some(record(1, 5, 1, false).version()));
        assert_eq!(
            run(&mut catalog, due, received(record(1, 5, 2, false))).len(),
            1
        );
        assert_eq!(catalog.burials().version(&peer), None);
    }

    #[test]
    fn the_dead_are_refused_from_others_and_believed_first_hand() {
        let mut catalog = catalog();
        let alive = record(1, 5, 1, false);
        let (peer, boot) = (alive.peer(), alive.body().boot);
        run(&mut catalog, NOW, received(alive.clone()));
        assert!(
            run(
                &mut catalog,
                NOW,
                Input::Died {
                    peer,
                    boot: boot + 1
                }
            )
            .is_empty()
        );
        assert_eq!(run(&mut catalog, NOW, Input::Died { peer, boot }).len(), 1);
        assert!(run(&mut catalog, NOW, received(alive.clone())).is_empty());
        let first_hand = Input::Received {
            record: Arc::new(alive),
            age: Duration::ZERO,
            first_hand: true,
            unix_millis: 1_000,
        };
        assert_eq!(run(&mut catalog, NOW, first_hand).len(), 1);
    }

    #[test]
    fn an_aged_entry_expires_when_its_first_holder_drops_it() {
        let mut catalog = catalog();
        let aged = |age| Input::Received {
            record: Arc::new(record(1, 5, 1, false)),
            age,
            first_hand: false,
            unix_millis: 1_000,
        };
        assert!(run(&mut catalog, NOW, aged(EXPIRE)).is_empty());
        let most = EXPIRE - Duration::from_secs(1);
        assert_eq!(run(&mut catalog, NOW, aged(most)).len(), 1);
        // The same version heard again, younger, does not make it younger.
        run(&mut catalog, NOW, aged(Duration::ZERO));
        let due = NOW.after(Duration::from_secs(1));
        assert_eq!(catalog.deadline(), Some(due));
    }

    #[test]
    fn a_young_node_does_not_rejuvenate_an_entry() {
        let mut catalog = catalog();
        let now = EPOCH.after(Duration::from_secs(2));
        let old = Input::Received {
            record: Arc::new(record(1, 5, 1, false)),
            age: Duration::from_secs(290),
            first_hand: false,
            unix_millis: 1_000,
        };
        assert_eq!(run(&mut catalog, now, old).len(), 1);
        let due = now.after(Duration::from_secs(10));
        assert_eq!(catalog.deadline(), Some(due));
        assert_eq!(run(&mut catalog, due, Input::Tick).len(), 1);
    }

    #[test]
    fn bytes_are_bounded_and_departures_always_fit() {
        let mut catalog = catalog();
        let (first, second) = (record(1, 5, 1, false), record(2, 5, 1, false));
        catalog.max_bytes = first.signed().len() + 10;
        assert_eq!(run(&mut catalog, NOW, received(first.clone())).len(), 1);
        let out = run(&mut catalog, NOW, received(second.clone()));
        assert_eq!(out, [Output::Overflowed(second.peer())]);
        let mut grown = first.body().clone();
        grown.version.update += 1;
        grown.tags.insert("x".repeat(20));
        let grown = Record::sign(grown, &key(1)).unwrap();
        let out = run(&mut catalog, NOW, received(grown));
        assert_eq!(out, [Output::Overflowed(first.peer())]);
        catalog.max_bytes = 0;
        let out = run(&mut catalog, NOW, received(record(1, 5, 9, true)));
        assert!(matches!(out[..], [Output::Departed { .. }]));
        let due = catalog.deadline().unwrap();
        run(&mut catalog, due, Input::Tick);
        assert_eq!(catalog.bytes, 0);
    }

    #[test]
    fn our_own_entry_is_defended() {
        let mut catalog = catalog();
        let own = Arc::new(record(0, 5, 1, false));
        run(&mut catalog, NOW, Input::Signed(own));
        assert!(run(&mut catalog, NOW, received(record(0, 5, 0, false))).is_empty());
        assert!(run(&mut catalog, NOW, received(record(0, 5, 1, false))).is_empty());
        for newer in [record(0, 9, 3, false), record(0, 5, 1, true)] {
            let version = newer.version();
            let out = run(&mut catalog, NOW, received(newer));
            assert_eq!(out, [Output::Supersede(version)]);
        }
    }

    #[test]
    fn a_clock_that_is_ahead_is_tolerated_and_reported_once() {
        let mut catalog = catalog();
        let out = run(&mut catalog, NOW, received(record(1, 60_000, 0, false)));
        let [Output::Discovered(_), Output::ClockSkewed { ahead, .. }] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!(*ahead, Duration::from_secs(59));
        let again = run(&mut catalog, NOW, received(record(1, 60_000, 1, false)));
        assert!(matches!(again[..], [Output::Updated(_)]));
    }

    /// A peer, a start, an update, whether departed; small ranges so that they collide.
    fn entries() -> impl Strategy<Value = Vec<(u8, u64, u64, bool)>> {
        proptest::collection::vec((1u8..4, 1u64..3, 0u64..4, proptest::bool::ANY), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_order_and_repetition_converges(
            (given, shuffled) in entries().prop_flat_map(|given| {
                let twice: Vec<_> = given.iter().chain(&given).copied().collect();
                (Just(given), Just(twice).prop_shuffle())
            }),
        ) {
            let (mut a, mut b) = (catalog(), catalog());
            for (peer, started, update, departed) in given {
                run(&mut a, NOW, received(record(peer, started, update, departed)));
            }
            for (peer, started, update, departed) in shuffled {
                run(&mut b, NOW, received(record(peer, started, update, departed)));
            }
            for slot in a.slots.values_mut().chain(b.slots.values_mut()) {
                slot.skewed = false;
            }
            prop_assert_eq!(a.digest(), b.digest());
            prop_assert_eq!(a, b);
        }

        #[test]
        fn departures_are_not_undone_by_what_is_older(given in entries()) {
            let mut catalog = catalog();
            run(&mut catalog, NOW, received(record(1, 2, 9, true)));
            for (peer, started, update, departed) in given {
                run(&mut catalog, NOW, received(record(peer, started, update, departed)));
            }
            prop_assert!(catalog.live(&key(1).peer()).is_none());
        }
    }
}
