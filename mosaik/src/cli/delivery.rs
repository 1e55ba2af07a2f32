//! Whether what was sent has arrived: at how many consumers, and what can arrive no more.

use crate::streams::Place;

/// Keeps account of a sequence of lines that each must arrive at a number of consumers.
#[derive(Debug)]
pub(super) struct Delivery {
    needed: usize,
    /// Lines before this one have arrived or are lost.
    settled: u64,
    lost: u64,
}

impl Delivery {
    /// Nothing was sent yet. Each line must arrive at `needed` consumers.
    pub(super) fn new(needed: usize) -> Self {
        Self {
            needed,
            settled: 0,
            lost: 0,
        }
    }

    /// The number of lines that have arrived or are lost; each of the first ones.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// The number of lines that are lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Looks at what consumers have received of the `sent` first lines. Returns the lines that cannot
    /// arrive any more: the numbers of the first and the last of each part, counted from one.
    pub(super) fn settle(&mut self, sent: u64, places: &[Place]) -> Vec<(u64, u64)> {
        let mut lost: Vec<(u64, u64)> = Vec::new();
        while self.settled < sent {
            let line = self.settled;
            let begun = || places.iter().filter(|place| place.first <= line);
            let mut received: Vec<_> = begun().map(|place| place.received).collect();
            received.sort_unstable_by(|a, b| b.cmp(a));
            match received.get(self.needed - 1) {
                Some(received) if *received > line => {
                    self.settled = (*received).min(sent);
                    continue;
                }
                _ => {}
            }
            let may_come = begun().filter(|place| place.open || place.received > line);
            if may_come.count() >= self.needed {
                break;
            }
            // The next that joined later, or that ended, changes what is to be expected.
            let later = places
                .iter()
                .flat_map(|place| [place.first, place.received]);
            let later = later.filter(|at| *at > line).min();
            self.settled = later.unwrap_or(sent).min(sent);
            self.lost += self.settled - line;
            match lost.last_mut() {
                Some((_, last)) if *last == line => *last = self.settled,
                _ => lost.push((line + 1, self.settled)),
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(first: u64, received: u64, open: bool) -> Place {
        Place {
            first,
            received,
            open,
        }
    }

    #[track_caller]
    fn check(needed: usize, sent: u64, places: &[Place], settled: u64, lost: &[(u64, u64)]) {
        let mut delivery = Delivery::new(needed);
        assert_eq!(delivery.settle(sent, places), lost);
        assert_eq!(delivery.settled(), settled);
        let total: u64 = lost.iter().map(|(first, last)| last + 1 - first).sum();
        assert_eq!(delivery.lost(), total);
    }

    #[test]
    fn an_open_consumer_may_still_receive() {
        check(1, 10, &[place(0, 4, true)], 4, &[]);
        check(1, 10, &[place(0, 10, true)], 10, &[]);
        check(2, 10, &[place(0, 10, true), place(0, 3, true)], 3, &[]);
    }

    #[test]
    fn one_that_left_counts_as_far_as_it_came() {
        check(1, 10, &[place(0, 10, false)], 10, &[]);
        check(1, 10, &[place(0, 4, false)], 10, &[(5, 10)]);
        check(1, 10, &[], 10, &[(1, 10)]);
    }

    #[test]
    fn consumers_stand_in_for_each_other() {
        let spectator = place(0, 3, false);
        check(1, 10, &[place(0, 10, true), spectator], 10, &[]);
        check(1, 10, &[place(0, 4, false), place(4, 9, true)], 9, &[]);
        check(
            1,
            10,
            &[place(0, 4, false), place(6, 9, true)],
            9,
            &[(5, 6)],
        );
        let two = [place(0, 10, true), place(0, 4, false), place(6, 10, true)];
        check(2, 10, &two, 10, &[(5, 6)]);
    }

    #[test]
    fn lines_are_lost_once() {
        let mut delivery = Delivery::new(1);
        let dead = place(0, 4, false);
        assert_eq!(delivery.settle(10, &[dead]), [(5, 10)]);
        assert_eq!(delivery.settle(10, &[dead]), []);
        assert_eq!(delivery.settle(12, &[dead, place(10, 12, true)]), []);
        assert_eq!((delivery.settled(), delivery.lost()), (12, 6));
    }
}
