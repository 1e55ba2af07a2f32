//! When a leader last heard of the others, whatever their disks do, and when that was said which they obeyed last.
//!
//! What openraft tells of a follower waits for that follower's disk: the answer to a heartbeat stands behind the
//! entries before it. So that a slow disk is not taken for a member that is gone, each says at once that it was
//! reached, and what it was asked for follows when it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use crate::{
    groups::proto::roster::{Membership, quorum},
    id::MemberId,
    rt::{Instant, lock},
};

/// When each of the others was last heard of.
#[derive(Debug, Default)]
pub(super) struct Heard {
    last: Mutex<BTreeMap<MemberId, Instant>>,
}

impl Heard {
    /// Something came from a member, in answer to what it was sent.
    pub(super) fn note(&self, from: MemberId, now: Instant) {
        let mut last = lock(&self.last);
        let at = last.entry(from).or_insert(now);
        *at = now.max(*at);
    }

    /// Forgets who votes no more: members come and go.
    pub(super) fn forget_others(&self, membership: &Membership) {
        lock(&self.last).retain(|member, _| membership.votes(member));
    }

    /// For how long a leader, `me`, has not heard of a majority: of each set of voters, while there are two. It leads
    /// since `began`, and what it heard before counts for nothing.
    pub(super) fn age(
        &self,
        membership: &Membership,
        me: MemberId,
        began: Instant,
        now: Instant,
    ) -> Duration {
        let last = lock(&self.last);
        let heard = membership.configs().map(|voters| {
            let at = |voter: &MemberId| match *voter == me {
                true => now,
                false => last.get(voter).map_or(began, |at| began.max(*at)),
            };
            let mut heard: Vec<_> = voters.iter().map(at).collect();
            heard.sort_unstable();
            // Of five, three have been heard since the third last; of four, three since the second last.
            let nth = heard.len().saturating_sub(heard.len() / 2 + 1);
            heard.get(nth).copied().unwrap_or(began)
        });
        now.duration_since(heard.min().unwrap_or(began))
    }

    /// Whether a majority was noted at `since` or later, the leader, `me`, counted with them: of each set of voters.
    pub(super) fn is_majority_since(
        &self,
        membership: &Membership,
        me: MemberId,
        since: Instant,
    ) -> bool {
        let mut noted = BTreeSet::from([me]);
        let last = lock(&self.last);
        noted.extend(
            last.iter()
                .filter(|(_, at)| **at >= since)
                .map(|(from, _)| *from),
        );
        quorum(membership, &noted).reached()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{groups::storage::LogId, id::PeerId, rt};

    fn member(n: u8) -> MemberId {
        MemberId {
            peer: PeerId::from_bytes([n; 32]),
            boot: 0,
        }
    }

    fn set(members: &[u8]) -> BTreeSet<MemberId> {
        members.iter().copied().map(member).collect()
    }

    /// Member 1 leads since 1,000 ms, and it is 2,000 ms now.
    fn check(voters: &[u8], leaving: Option<&[u8]>, heard: &[(u8, u64)], age: u64) {
        let start = rt::now();
        let at = |millis| start + Duration::from_millis(millis);
        let membership = Membership {
            log_id: LogId { term: 1, index: 1 },
            committed: true,
            leaving: leaving.map(set),
            voters: set(voters),
            learners: BTreeSet::new(),
        };
        let told = Heard::default();
        for (from, millis) in heard {
            told.note(member(*from), at(*millis));
        }
        let found = told.age(&membership, member(1), at(1000), at(2000));
        assert_eq!(found, Duration::from_millis(age), "{voters:?} {heard:?}");
        // It is the same majority, to the moment.
        if (1..1000).contains(&age) {
            let is_since = |millis| told.is_majority_since(&membership, member(1), at(millis));
            assert!(is_since(2000 - age), "{voters:?} {heard:?}");
            assert!(!is_since(2001 - age), "{voters:?} {heard:?}");
        }
    }

    #[test]
    fn a_majority_counts_and_no_more() {
        check(&[1], None, &[], 0);
        check(&[1, 2], None, &[], 1000);
        check(&[1, 2], None, &[(2, 1900)], 100);
        check(&[1, 2, 3], None, &[(2, 1900)], 100);
        check(&[1, 2, 3], None, &[(2, 1900), (3, 1950)], 50);
        check(&[1, 2, 3, 4], None, &[(2, 1900), (3, 1950)], 100);
        check(&[1, 2, 3, 4], None, &[(3, 1950)], 1000);
        check(
            &[1, 2, 3, 4, 5],
            None,
            &[(2, 1900), (3, 1950), (4, 1100)],
            100,
        );
        // A leader that leaves its own group needs a majority of the others.
        check(&[2, 3, 4], None, &[(2, 1900), (3, 1950)], 100);
        check(&[2, 3, 4], None, &[(2, 1900)], 1000);
        check(&[], None, &[], 1000);
    }

    #[test]
    fn both_sets_count_while_there_are_two() {
        let joint = |heard, age| check(&[1, 2, 3], Some(&[1, 4, 5]), heard, age);
        joint(&[(2, 1900), (3, 1950)], 1000);
        joint(&[(2, 1900), (4, 1800)], 200);
    }

    #[test]
    fn what_came_before_it_led_or_from_others_counts_for_nothing() {
        check(&[1, 2, 3], None, &[(2, 900), (3, 10)], 1000);
        check(&[1, 2, 3], None, &[(4, 1900), (5, 1950)], 1000);
        // Told late, of something earlier.
        check(&[1, 2, 3], None, &[(2, 1900), (2, 1500)], 100);
    }
}
