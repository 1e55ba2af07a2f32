//! The events of a search in a doubly linked list, from which an operation is lifted and put back.
//!
//! Lifting takes constant time, and so does putting back in the opposite order (Knuth, *Dancing links*,
//! 2000). Lowe (*Testing for linearizability*, 2017) does the search of Wing and Gong so.

/// What a place of the list holds; operations are numbered by invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// An operation began.
    Invoked(usize),
    /// An operation was over.
    Completed(usize),
}

/// Names a place of the list. One after the last event is the end, which holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// The events of operations that are not lifted, in the order of their stamps.
#[derive(Debug)]
pub(super) struct List {
    events: Vec<Event>,
    /// Of each operation, the places of its two events.
    places: Vec<(usize, usize)>,
    /// The end is linked too: it closes the ring.
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl List {
    /// The list of operations with these stamps of invocation and completion, ordered by invocation.
    ///
    /// Of equal stamps invocations come first: what is not certainly ordered is concurrent.
    pub(super) fn new(intervals: &[(u64, u64)]) -> Self {
        let stamps = intervals.iter().enumerate();
        let mut stamped: Vec<(u64, bool, usize)> = stamps
            .flat_map(|(i, (invoked, completed))| [(*invoked, false, i), (*completed, true, i)])
            .collect();
        stamped.sort_unstable();
        let mut places = vec![(0, 0); intervals.len()];
        let mut events = Vec::with_capacity(stamped.len());
        for (place, (_, completed, operation)) in stamped.into_iter().enumerate() {
            if completed {
                places[operation].1 = place;
                events.push(Event::Completed(operation));
            } else {
                places[operation].0 = place;
                events.push(Event::Invoked(operation));
            }
        }
        let ring = events.len() + 1;
        Self {
            events,
            places,
            next: (1..=ring).map(|place| place % ring).collect(),
            previous: (0..ring).map(|place| (place + ring - 1) % ring).collect(),
        }
    }

    /// The first place.
    pub(super) fn first(&self) -> Place {
        Place(self.next[self.events.len()])
    }

    /// The place behind one.
    pub(super) fn after(&self, place: Place) -> Place {
        Place(self.next[place.0])
    }

    /// What a place holds; nothing at the end.
    pub(super) fn event(&self, place: Place) -> Option<Event> {
        self.events.get(place.0).copied()
    }

    /// Where an operation begins.
    pub(super) fn invocation(&self, operation: usize) -> Place {
        Place(self.places[operation].0)
    }

    /// Takes an operation out.
    pub(super) fn lift(&mut self, operation: usize) {
        let (invoked, completed) = self.places[operation];
        self.unlink(invoked);
        self.unlink(completed);
    }

    /// Puts the operation back that was lifted last, of those that still are.
    pub(super) fn put_back(&mut self, operation: usize) {
        let (invoked, completed) = self.places[operation];
        self.relink(completed);
        self.relink(invoked);
    }

    fn unlink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn relink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = place;
        self.previous[next] = place;
    }
}

#[cfg(test)]
mod tests {
    use super::{Event::*, *};

    fn events(list: &List) -> Vec<Event> {
        let places = std::iter::successors(Some(list.first()), |place| Some(list.after(*place)));
        places.map_while(|place| list.event(place)).collect()
    }

    #[test]
    fn it_orders_events_and_lets_operations_out_and_in() {
        let mut list = List::new(&[(0, 5), (1, 3), (5, 9)]);
        let all = [
            Invoked(0),
            Invoked(1),
            Completed(1),
            Invoked(2),
            Completed(0),
            Completed(2),
        ];
        assert_eq!(events(&list), all, "at 5 the invocation comes first");
        list.lift(1);
        list.lift(0);
        assert_eq!(events(&list), [Invoked(2), Completed(2)]);
        list.lift(2);
        assert_eq!(events(&list), []);
        for operation in [2, 0, 1] {
            list.put_back(operation);
        }
        assert_eq!(events(&list), all);
        assert_eq!(list.event(list.invocation(2)), Some(Invoked(2)));
    }
}
