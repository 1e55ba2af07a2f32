//! The tickets that are required, and whether a peer carries them.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{AccessTicket, Rejection, TicketValidator, Validity};
use crate::{discovery::Entry, rt};

/// The validators of a topic or group: a peer has to carry a valid ticket for each. Default: none, everybody may take
/// part.
///
/// Two of them are equal if they ask for the same classes in the same order: that is what the options of two
/// declarations are compared by.
#[derive(Clone, Default)]
pub struct RequiredTickets(Vec<Arc<dyn TicketValidator>>);

/// Why a peer may not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// The class of the tickets of which it carries no valid one.
    pub(crate) class: String,
    /// Why it is not valid.
    pub(crate) why: String,
    /// When that may be otherwise with what it carries.
    pub(crate) again: Option<SystemTime>,
}

impl RequiredTickets {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Requires a ticket that `validator` accepts, besides those that are required already.
    pub fn require(&mut self, validator: impl TicketValidator) {
        self.0.push(Arc::new(validator));
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The classes of the tickets, in the order in which they are required.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|validator| validator.class())
    }

    /// Until when the holder of this entry may take part, as of `now`; `None` is without an end.
    pub(crate) fn check(
        &self,
        holder: &Entry,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, Denial> {
        let mut end = None;
        for validator in &self.0 {
            let until = check_one(validator.as_ref(), holder, now)?;
            end = end.into_iter().chain(until).min();
        }
        Ok(end)
    }

    /// The same, as of now.
    pub(crate) fn check_now(&self, holder: &Entry) -> Result<Option<SystemTime>, Denial> {
        self.check(holder, now())
    }
}

/// Of the tickets of one class the one that is valid longest counts.
fn check_one(
    validator: &dyn TicketValidator,
    holder: &Entry,
    now: SystemTime,
) -> Result<Option<SystemTime>, Denial> {
    let class = validator.class();
    let mut denial = Denial {
        class: class.into(),
        why: "it carries none".into(),
        again: None,
    };
    let mut longest: Option<SystemTime> = None;
    for ticket in holder.tickets().iter().filter(|t| t.class == class) {
        match validate(validator, ticket, holder, now) {
            Ok(Validity::Unlimited) => return Ok(None),
            Ok(Validity::Until(end)) => longest = longest.max(Some(end)),
            Err(why) => {
                if let Rejection::NotYet(begin) = why {
                    denial.again = denial.again.into_iter().chain([begin]).min();
                }
                denial.why = why.to_string();
            }
        }
    }
    longest.map(Some).ok_or(denial)
}

fn validate(
    validator: &dyn TicketValidator,
    ticket: &AccessTicket,
    holder: &Entry,
    now: SystemTime,
) -> Result<Validity, Rejection> {
    let validated =
        panic::catch_unwind(AssertUnwindSafe(|| validator.validate(ticket, holder, now)));
    match validated {
        Ok(Ok(Validity::Until(end))) if end <= now => Err(Rejection::Expired(end)),
        Ok(validity) => validity,
        Err(_) => Err(Rejection::Invalid("its validator panicked".into())),
    }
}

/// The wall clock.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(rt::unix_millis())
}

/// How long it is until then by the wall clock, nothing if that has passed.
pub(crate) fn until(then: SystemTime) -> Duration {
    then.duration_since(now()).unwrap_or_default()
}

/// Seconds since 1970.
pub(super) fn unix(time: &SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no valid ticket of class `{}`: {}", self.class, self.why)
    }
}

impl PartialEq for RequiredTickets {
    fn eq(&self, other: &Self) -> bool {
        self.classes().eq(other.classes())
    }
}

impl Eq for RequiredTickets {}

impl fmt::Debug for RequiredTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.classes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::SecretKey;

    /// Takes the number in a ticket for the second at which it ends; 0 never ends.
    struct Seconds(&'static str);

    impl TicketValidator for Seconds {
        fn class(&self) -> &str {
            self.0
        }

        fn validate(
            &self,
            ticket: &AccessTicket,
            _holder: &Entry,
            now: SystemTime,
        ) -> Result<Validity, Rejection> {
            let text = str::from_utf8(&ticket.data).unwrap();
            assert_ne!(text, "panic", "broken on purpose");
            if let Some(from) = text.strip_prefix("from ") {
                let from = at(from.parse().unwrap());
                return if from > now {
                    Err(Rejection::NotYet(from))
                } else {
                    Ok(Validity::Unlimited)
                };
            }
            match text.parse() {
                Ok(0) => Ok(Validity::Unlimited),
                Ok(end) => Ok(Validity::Until(at(end))),
                Err(_) => Err(Rejection::Invalid("it is no number".into())),
            }
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn holder(tickets: &[(&str, &str)]) -> Entry {
        let ticket = |(class, data): &(&str, &str)| AccessTicket {
            class: (*class).into(),
            data: Bytes::copy_from_slice(data.as_bytes()),
        };
        let key = SecretKey::from_bytes([1; 32]);
        Entry::carrying(tickets.iter().map(ticket).collect(), &key)
    }

    fn required(classes: &[&'static str]) -> RequiredTickets {
        let mut required = RequiredTickets::new();
        for class in classes {
            required.require(Seconds(class));
        }
        required
    }

    #[test]
    fn whoever_carries_one_of_each_may_take_part_until_the_first_ends() {
        let both = required(&["a", "b"]);
        let check = |tickets: &[(&str, &str)]| both.check(&holder(tickets), at(100));
        assert_eq!(check(&[("a", "200"), ("b", "150")]), Ok(Some(at(150))));
        assert_eq!(check(&[("a", "0"), ("b", "0")]), Ok(None));
        assert_eq!(check(&[("b", "0"), ("a", "120")]), Ok(Some(at(120))));
        let missing = check(&[("a", "200"), ("c", "0")]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no valid ticket of class `b`: it carries none"
        );
        let nobody = required(&[]);
        assert_eq!(nobody.check(&holder(&[]), at(100)), Ok(None));
    }

    #[test]
    fn of_several_the_one_that_is_valid_longest_counts() {
        let one = required(&["a"]);
        let check = |tickets: &[(&str, &str)]| one.check(&holder(tickets), at(100));
        assert_eq!(check(&[("a", "110"), ("a", "130")]), Ok(Some(at(130))));
        assert_eq!(check(&[("a", "x"), ("a", "130")]), Ok(Some(at(130))));
        assert_eq!(check(&[("a", "130"), ("a", "0")]), Ok(None));
    }

    #[test]
    fn what_has_ended_or_not_begun_is_told_with_its_time() {
        let one = required(&["a"]);
        let check = |tickets: &[(&str, &str)], now| one.check(&holder(tickets), at(now));
        // To the second: what ends then has ended.
        let ended = check(&[("a", "100")], 100).unwrap_err();
        assert_eq!(ended.why, "it ended at 100 (Unix time)");
        assert_eq!(ended.again, None);
        let soon = check(&[("a", "from 150"), ("a", "from 130")], 100).unwrap_err();
        assert_eq!(soon.again, Some(at(130)));
        assert_eq!(check(&[("a", "from 150")], 150), Ok(None));
    }

    #[test]
    fn a_validator_that_panics_rejects() {
        let one = required(&["a"]);
        let denial = one.check(&holder(&[("a", "panic")]), at(100)).unwrap_err();
        assert_eq!(denial.why, "its validator panicked");
        assert_eq!(
            one.check(&holder(&[("a", "panic"), ("a", "0")]), at(100)),
            Ok(None)
        );
    }

    #[test]
    fn declarations_are_compared_by_their_classes() {
        assert_eq!(required(&["a", "b"]), required(&["a", "b"]));
        assert_ne!(required(&["a", "b"]), required(&["b", "a"]));
        assert_ne!(required(&["a"]), required(&[]));
        assert_eq!(format!("{:?}", required(&["a"])), r#"["a"]"#);
    }
}
