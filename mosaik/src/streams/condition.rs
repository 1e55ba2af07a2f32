//! Waiting for a state of a producer or consumer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;

use crate::{
    discovery::{Catalog, Discovery},
    id::PeerId,
    rt::watch,
};

/// Who is connected, as conditions see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) online: bool,
    pub(crate) subscribers: Vec<Subscriber>,
}

/// One connected other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: PeerId,
}

/// The states that a producer or consumer can be waited for; from its `when()`.
#[derive(Clone, Debug)]
pub struct When {
    status: watch::Receiver<Status>,
    discovery: Discovery,
}

impl When {
    pub(crate) fn new(status: watch::Receiver<Status>, discovery: Discovery) -> Self {
        Self { status, discovery }
    }

    /// A producer has the consumers that its topic asks for (`online_when`, one by default); a consumer
    /// has a producer.
    pub fn online(&self) -> Condition {
        self.condition(Kind::Online)
    }

    /// The opposite of [`online`](Self::online).
    pub fn offline(&self) -> Condition {
        self.online().not()
    }

    /// At least one other side is connected; see [`Condition::at_least`] and [`Condition::with_tag`].
    pub fn subscribed(&self) -> Condition {
        self.condition(Kind::Subscribed {
            at_least: 1,
            tags: Vec::new(),
        })
    }

    /// No other side is connected.
    pub fn unsubscribed(&self) -> Condition {
        self.subscribed().not()
    }

    fn condition(&self, kind: Kind) -> Condition {
        Condition {
            kind,
            negated: false,
            when: self.clone(),
            waiting: None,
        }
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Online,
    Subscribed { at_least: usize, tags: Vec<String> },
}

/// A future that completes while a state holds.
///
/// It is level-triggered: it completes at once when the state holds already. Dropping it loses nothing,
/// and a clone can be awaited again. It never completes once the network is gone, unless the state held
/// last.
#[must_use = "a condition does nothing unless awaited"]
pub struct Condition {
    kind: Kind,
    negated: bool,
    when: When,
    waiting: Option<BoxFuture<'static, ()>>,
}

impl Condition {
    /// Asks for `count` other sides. On a condition about being online, it changes the question to who
    /// is connected.
    pub fn at_least(mut self, count: usize) -> Self {
        match &mut self.kind {
            Kind::Subscribed { at_least, .. } => *at_least = count,
            Kind::Online => {
                self.kind = Kind::Subscribed {
                    at_least: count,
                    tags: Vec::new(),
                };
            }
        }
        self.waiting = None;
        self
    }

    /// Counts only other sides that carry `tag`. May be repeated: all must hold.
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        match &mut self.kind {
            Kind::Subscribed { tags, .. } => tags.push(tag.into()),
            Kind::Online => {
                self.kind = Kind::Subscribed {
                    at_least: 1,
                    tags: vec![tag.into()],
                };
            }
        }
        self.waiting = None;
        self
    }

    /// The opposite.
    #[expect(
        clippy::should_implement_trait,
        reason = "`Not` cannot be called in a chain without an import"
    )]
    pub fn not(mut self) -> Self {
        self.negated = !self.negated;
        self.waiting = None;
        self
    }

    /// Whether the state holds now.
    pub fn holds(&self) -> bool {
        self.evaluate(&self.when.status.borrow(), &self.when.discovery.catalog())
    }

    fn evaluate(&self, status: &Status, catalog: &Catalog) -> bool {
        let holds = match &self.kind {
            Kind::Online => status.online,
            Kind::Subscribed { at_least, tags } if tags.is_empty() => {
                status.subscribers.len() >= *at_least
            }
            Kind::Subscribed { at_least, tags } => {
                let me = self.when.discovery.me();
                let tagged = |subscriber: &&Subscriber| {
                    let entry = if subscriber.peer == me.peer() {
                        Some(me.clone())
                    } else {
                        catalog.get(&subscriber.peer)
                    };
                    entry.is_some_and(|entry| tags.iter().all(|tag| entry.has_tag(tag)))
                };
                status.subscribers.iter().filter(tagged).count() >= *at_least
            }
        };
        holds != self.negated
    }

    async fn wait(self) {
        let mut status = self.when.status.clone();
        let mut catalog = self.when.discovery.snapshots();
        let needs_catalog = matches!(&self.kind, Kind::Subscribed { tags, .. } if !tags.is_empty());
        loop {
            status.mark_unchanged();
            catalog.mark_unchanged();
            if self.evaluate(&status.borrow(), &catalog.borrow()) {
                return;
            }
            let changed = async {
                tokio::select! {
                    biased;
                    result = status.changed() => result,
                    result = catalog.changed(), if needs_catalog => result,
                }
            };
            if changed.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Clone for Condition {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            negated: self.negated,
            when: self.when.clone(),
            waiting: None,
        }
    }
}

impl Future for Condition {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => Box::pin(self.clone().wait()),
        };
        let waiting = self.waiting.insert(waiting);
        let result = waiting.as_mut().poll(cx);
        if result.is_ready() {
            self.waiting = None;
        }
        result
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("kind", &self.kind)
            .field("negated", &self.negated)
            .finish_non_exhaustive()
    }
}
