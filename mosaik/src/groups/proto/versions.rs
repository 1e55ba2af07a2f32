//! Members of different versions: what each knows, and which commands a leader may propose.
//!
//! A member [announces](Announced) the commands and queries that its program has, each as the number by which it
//! travels and a digest of its types. A number stands for one signature for ever: two members whose signatures of
//! one number differ never meet. A command is proposed only if every voter has announced it, so that none meets an
//! unknown one in its log; a voter that is away counts by what it was [heard](Heard) to know last. What stands in the
//! way is in the [`Gaps`].
//!
//! Which voter this member has never heard is taken to know the commands that were used before and nothing else. That
//! follows: nobody is made a voter who was not heard to know them all, whatever it knew when it became a learner, and
//! none was used that a voter did not know. So a leader that cannot reach a voter does without it, as ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::MemberId;

/// Commands that a program may have, and queries: 256 of each, which is what a presence holds.
pub(crate) const MAX_METHODS: usize = 256;

/// Members whose commands are remembered before it is known who is one. After that, those of all members are.
const MAX_HEARD: usize = 1024;

/// A digest of what a command or query takes and returns.
pub(crate) type Signature = [u8; 16];

/// What a program knows, as members tell each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announced {
    /// Its commands.
    pub(crate) commands: Methods,
    /// Its queries.
    pub(crate) queries: Methods,
}

impl Announced {
    /// The number of a command or query that both know and that has other types there.
    pub(crate) fn contradicts(&self, other: &Self) -> Option<u64> {
        let commands = self.commands.contradicts(&other.commands);
        commands.or_else(|| self.queries.contradicts(&other.queries))
    }
}

/// Commands or queries by number, at most [`MAX_METHODS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Methods {
    /// Ascending. Shared with those who remember them.
    numbers: Arc<[u64]>,
    /// Of each.
    signatures: Box<[Signature]>,
}

impl Methods {
    /// Those of a program; `None` if they are too many.
    pub(crate) fn new(methods: &BTreeMap<u64, Signature>) -> Option<Self> {
        (methods.len() <= MAX_METHODS).then(|| Self {
            numbers: methods.keys().copied().collect(),
            signatures: methods.values().copied().collect(),
        })
    }

    /// Their numbers, ascending.
    pub(crate) fn numbers(&self) -> &Arc<[u64]> {
        &self.numbers
    }

    fn iter(&self) -> impl Iterator<Item = (u64, Signature)> {
        let numbers = self.numbers.iter().copied();
        numbers.zip(self.signatures.iter().copied())
    }

    fn contradicts(&self, other: &Self) -> Option<u64> {
        let differs = |(number, signature): &(u64, Signature)| {
            let at = other.numbers.binary_search(number).ok();
            at.is_some_and(|at| other.signatures[at] != *signature)
        };
        self.iter().find(differs).map(|(number, _)| number)
    }
}

impl Serialize for Methods {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let methods: Vec<_> = self.iter().collect();
        methods.serialize(serializer)
    }
}

/// Decodes no more than there may be, each once and in order.
impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ascending;
        impl<'de> de::Visitor<'de> for Ascending {
            type Value = Methods;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_METHODS} methods in ascending order")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Methods, A::Error> {
                let (mut numbers, mut signatures) = (Vec::new(), Vec::new());
                while let Some((number, signature)) = seq.next_element::<(u64, Signature)>()? {
                    if numbers.len() == MAX_METHODS {
                        return Err(de::Error::invalid_length(MAX_METHODS + 1, &self));
                    }
                    if numbers.last().is_some_and(|last| *last >= number) {
                        return Err(de::Error::custom("methods are not in ascending order"));
                    }
                    numbers.push(number);
                    signatures.push(signature);
                }
                Ok(Methods {
                    numbers: numbers.into(),
                    signatures: signatures.into(),
                })
            }
        }
        deserializer.deserialize_seq(Ascending)
    }
}

/// The commands that members were heard to know last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    members: BTreeMap<MemberId, Arc<[u64]>>,
}

impl Heard {
    /// Those who are here have said what they know; of them, and of those who were heard before, only members count.
    pub(crate) fn hear_members<'a>(
        &mut self,
        said: impl IntoIterator<Item = (MemberId, &'a Announced)>,
        members: &BTreeSet<MemberId>,
    ) {
        self.members.retain(|member, _| members.contains(member));
        for (member, announced) in said {
            if members.contains(&member) {
                self.hear(member, announced);
            }
        }
    }

    /// The same, before it is known who is a member: up to [`MAX_HEARD`], and who is here takes the place of one who
    /// is not.
    pub(crate) fn hear_anybody<'a>(
        &mut self,
        said: impl IntoIterator<Item = (MemberId, &'a Announced)>,
    ) {
        let said: BTreeMap<_, _> = said.into_iter().collect();
        let new = said.keys().filter(|one| !self.members.contains_key(one));
        let over = (self.members.len() + new.count()).saturating_sub(MAX_HEARD);
        let gone = self.members.keys().filter(|one| !said.contains_key(one));
        let gone: Vec<MemberId> = gone.take(over).copied().collect();
        for member in gone {
            self.members.remove(&member);
        }
        for (member, announced) in said {
            if self.members.len() < MAX_HEARD || self.members.contains_key(&member) {
                self.hear(member, announced);
            }
        }
    }

    fn hear(&mut self, member: MemberId, announced: &Announced) {
        let numbers = announced.commands.numbers().clone();
        self.members.insert(member, numbers);
    }

    /// The numbers of the commands that a member knows, ascending, if it was heard.
    pub(crate) fn commands(&self, member: &MemberId) -> Option<&Arc<[u64]>> {
        self.members.get(member)
    }

    /// Who was heard.
    pub(crate) fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.members.keys()
    }

    /// As it is kept: small, since it is written with each change of a log. Most members know the same.
    pub(crate) fn kept(&self) -> Kept {
        let mut kept: BTreeMap<&[u64], Vec<MemberId>> = BTreeMap::new();
        for (member, numbers) in &self.members {
            kept.entry(numbers).or_default().push(*member);
        }
        let kept = kept.into_iter();
        Kept(
            kept.map(|(numbers, members)| (numbers.into(), members))
                .collect(),
        )
    }
}

/// The commands that members were heard to know, as a log keeps it: who knows the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept(Vec<(Vec<u64>, Vec<MemberId>)>);

impl From<Kept> for Heard {
    fn from(kept: Kept) -> Self {
        let mut heard = Self::default();
        for (mut numbers, members) in kept.0 {
            numbers.sort_unstable();
            let numbers: Arc<[u64]> = numbers.into();
            let members = members.into_iter();
            heard
                .members
                .extend(members.map(|member| (member, numbers.clone())));
        }
        heard
    }
}

/// The commands of a member's own program that not every voter knows, and one of those who do not know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    lacking: BTreeMap<u64, MemberId>,
}

impl Gaps {
    /// What stands between the commands `own` and these voters, where `used` says which commands were used before.
    pub(crate) fn find<'a>(
        own: &[u64],
        voters: impl IntoIterator<Item = &'a MemberId>,
        heard: &Heard,
        used: impl Fn(u64) -> bool,
    ) -> Self {
        let mut lacking = BTreeMap::new();
        for voter in voters {
            let known = heard.members.get(voter);
            if known.is_some_and(|known| known[..] == *own) {
                continue;
            }
            for number in own {
                let knows = match known {
                    Some(known) => known.binary_search(number).is_ok(),
                    None => used(*number),
                };
                if !knows {
                    lacking.entry(*number).or_insert(*voter);
                }
            }
        }
        Self { lacking }
    }

    /// Whether all voters know all commands.
    pub(crate) fn is_empty(&self) -> bool {
        self.lacking.is_empty()
    }

    /// A voter that does not know this command.
    pub(crate) fn who_lacks(&self, command: u64) -> Option<MemberId> {
        self.lacking.get(&command).copied()
    }

    /// The commands, and a voter that does not know each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, MemberId)> {
        self.lacking
            .iter()
            .map(|(command, member)| (*command, *member))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{id::PeerId, wire};

    fn member(n: u8) -> MemberId {
        MemberId {
            peer: PeerId::from_bytes([n; 32]),
            boot: u64::from(n),
        }
    }

    fn methods(of: impl IntoIterator<Item = (u64, u8)>) -> Methods {
        let of = of.into_iter().map(|(number, tag)| (number, [tag; 16]));
        Methods::new(&of.collect()).unwrap()
    }

    fn knows(commands: &[u64]) -> Announced {
        Announced {
            commands: methods(commands.iter().map(|number| (*number, 0))),
            queries: Methods::default(),
        }
    }

    fn heard(of: &[(u8, &[u64])]) -> Heard {
        let mut heard = Heard::default();
        for (n, commands) in of {
            heard.hear(member(*n), &knows(commands));
        }
        heard
    }

    #[test]
    fn only_what_every_voter_knows_may_be_proposed() {
        let check = |own: &[u64], voters: &[u8], of: &[(u8, &[u64])], expected: &[(u64, u8)]| {
            let voters: BTreeSet<MemberId> = voters.iter().copied().map(member).collect();
            // What was used before is of no account for those who were heard.
            let used = |number| number == 9;
            let gaps = Gaps::find(own, &voters, &heard(of), used);
            let expected: Vec<_> = expected.iter().map(|(c, n)| (*c, member(*n))).collect();
            assert_eq!(gaps.iter().collect::<Vec<_>>(), expected);
            assert_eq!(gaps.is_empty(), expected.is_empty());
            for command in own {
                let lacks = expected.iter().find(|(c, _)| c == command);
                assert_eq!(gaps.who_lacks(*command), lacks.map(|(_, member)| *member));
            }
        };
        // Alone, or with nothing to propose.
        check(&[1, 2], &[], &[], &[]);
        check(&[], &[2, 3], &[], &[]);
        // All alike, and others that know more.
        check(&[1, 2], &[2, 3], &[(2, &[1, 2]), (3, &[1, 2])], &[]);
        check(&[1], &[2, 3], &[(2, &[1, 2]), (3, &[0, 1])], &[]);
        // One that lacks something, and two that lack different things: the first is named.
        check(&[1, 2], &[2, 3], &[(2, &[1, 2]), (3, &[1])], &[(2, 3)]);
        check(&[1, 2], &[2, 3], &[(2, &[2]), (3, &[1])], &[(1, 2), (2, 3)]);
        check(&[1, 2], &[2, 3], &[(2, &[1]), (3, &[1])], &[(2, 2)]);
        check(&[1, 9], &[2], &[(2, &[1])], &[(9, 2)]);
        // Whom nobody heard knows what was used before; who is no voter does not count.
        check(&[1, 9], &[2, 3], &[(2, &[1, 9])], &[(1, 3)]);
        check(&[1], &[2], &[(2, &[1]), (3, &[])], &[]);
    }

    #[test]
    fn what_was_heard_last_counts_and_survives() {
        let mut kept = heard(&[(1, &[1, 2]), (2, &[1]), (3, &[1, 2])]);
        kept.hear(member(2), &knows(&[1, 2, 3]));
        let bytes = wire::encode(&kept.kept()).unwrap();
        let read: Kept = wire::decode(&bytes).unwrap();
        assert_eq!(Heard::from(read), kept);
        // Who is here says it again; who is not keeps what it said, if it is a member.
        let news = knows(&[4]);
        let members = BTreeSet::from([member(2), member(3), member(4)]);
        let here = [(member(3), &news), (member(4), &news), (member(5), &news)];
        kept.hear_members(here, &members);
        assert!(kept.members().eq(&members));
        assert_eq!(kept.commands(&member(2)).unwrap()[..], [1, 2, 3]);
        assert_eq!(kept.commands(&member(3)).unwrap()[..], [4]);
    }

    #[test]
    fn of_a_crowd_those_who_are_here_are_heard_and_all_members() {
        let (old, new) = (knows(&[1]), knows(&[1, 2]));
        let numbered = |n: usize| MemberId {
            peer: PeerId::from_bytes([7; 32]),
            boot: n as u64,
        };
        let crowd = |from: usize, to: usize, knows| (from..to).map(move |n| (numbered(n), knows));
        let says = |heard: &Heard, n: usize| heard.commands(&numbered(n)).map(|known| known.len());
        let mut heard = Heard::default();
        heard.hear_anybody(crowd(0, MAX_HEARD + 100, &old));
        assert_eq!(heard.members.len(), MAX_HEARD);
        assert_eq!(says(&heard, MAX_HEARD), None);
        // Those who were heard are heard again, and others once there is room.
        heard.hear_anybody(crowd(50, MAX_HEARD + 100, &new));
        assert_eq!(heard.members.len(), MAX_HEARD);
        assert_eq!(says(&heard, 0), None);
        assert_eq!(says(&heard, 50), Some(2));
        assert_eq!(says(&heard, MAX_HEARD + 49), Some(2));
        // As many members are all heard, however late they come.
        let all = crowd(0, MAX_HEARD + 100, &old);
        let last: BTreeSet<_> = (MAX_HEARD + 90..MAX_HEARD + 100).map(numbered).collect();
        heard.hear_members(all, &last);
        assert!(heard.members().eq(&last));
        assert_eq!(says(&heard, MAX_HEARD + 99), Some(1));
    }

    #[test]
    fn one_number_has_one_signature() {
        let ours = Announced {
            commands: methods([(1, 1), (2, 1)]),
            queries: methods([(2, 7), (3, 7)]),
        };
        let check = |commands: &[(u64, u8)], queries: &[(u64, u8)], expected| {
            let theirs = Announced {
                commands: methods(commands.iter().copied()),
                queries: methods(queries.iter().copied()),
            };
            assert_eq!(ours.contradicts(&theirs), expected);
            assert_eq!(theirs.contradicts(&ours), expected);
        };
        check(&[(1, 1), (2, 1)], &[(2, 7), (3, 7)], None);
        check(&[], &[], None);
        // More, fewer, and a command that is called like a query.
        check(&[(1, 1), (3, 9), (9, 9)], &[(1, 9)], None);
        check(&[(1, 1), (2, 2)], &[], Some(2));
        check(&[(1, 1)], &[(3, 8)], Some(3));
    }

    #[test]
    fn methods_are_bounded_and_in_order() {
        let most: BTreeMap<u64, Signature> =
            (0..MAX_METHODS as u64).map(|n| (n, [0; 16])).collect();
        let encoded = wire::encode(&most.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(wire::decode(&encoded), Ok(Methods::new(&most).unwrap()));
        let more: BTreeMap<u64, Signature> =
            (0..=MAX_METHODS as u64).map(|n| (n, [0; 16])).collect();
        assert_eq!(Methods::new(&more), None);
        let refused = [
            more.into_iter().collect(),
            vec![(2, [0; 16]), (1, [0; 16])],
            vec![(1, [0; 16]), (1, [1; 16])],
        ];
        for methods in refused {
            let bytes = wire::encode(&methods).unwrap();
            let decoded = wire::decode::<Methods>(&bytes);
            assert!(decoded.is_err(), "{decoded:?}");
        }
    }

    proptest! {
        #[test]
        fn any_methods_come_back_and_no_bytes_panic(
            of in proptest::collection::btree_map(any::<u64>(), any::<[u8; 16]>(), 0..=MAX_METHODS),
            bytes: Vec<u8>,
        ) {
            let methods = Methods::new(&of).unwrap();
            let encoded = wire::encode(&methods).unwrap();
            prop_assert_eq!(wire::decode(&encoded), Ok(methods));
            drop(wire::decode::<Announced>(&bytes));
            drop(wire::decode::<Kept>(&bytes));
        }
    }
}
