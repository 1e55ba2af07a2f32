//! What a gossip message carries, as far as limits go. The messages' fields are private to their crate, so they
//! are read off the encoding: the topic, a tag for the layer, one for the kind, and then the fields.

/// An identity, or the hash of a payload.
pub(super) type Id = [u8; 32];

type Head = (Id, u8, u8);
/// A peer, and how it is introduced.
type Peer<'a> = (Id, Option<&'a [u8]>);
type Join<'a> = (Peer<'a>, u16);
type Shuffle<'a> = (Id, Vec<Peer<'a>>, u16);
type Payload<'a> = (Id, &'a [u8], u8, u16);

/// What a message carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The peers that it introduces, besides its sender.
    pub(super) peers: Vec<Id>,
    /// The size of the largest introduction in it, in bytes.
    pub(super) introduction: usize,
    /// The peer that wants to join.
    pub(super) joins: Option<Id>,
    /// The steps that it has left to walk through the network.
    pub(super) ttl: Option<u16>,
    /// Whether it carries a payload.
    pub(super) payload: bool,
    /// The steps that its payload has come.
    pub(super) hops: Option<u16>,
    /// The payloads that its sender promises to have.
    pub(super) promises: Vec<Id>,
}

impl Shape {
    /// Reads the encoding of a message. What is none has nothing in it.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> postcard::Result<Self> {
        let ((_, layer, kind), rest): (Head, _) = postcard::take_from_bytes(bytes)?;
        let shape = Self::default();
        Ok(match (layer, kind) {
            (0, 0) => {
                let (data, _): (Option<&[u8]>, _) = postcard::take_from_bytes(rest)?;
                shape.introducing([([0; 32], data)].iter(), false)
            }
            (0, 1) => {
                let ((peer, ttl), _): (Join<'_>, _) = postcard::take_from_bytes(rest)?;
                Self {
                    joins: Some(peer.0),
                    ttl: Some(ttl),
                    ..shape.introducing([peer].iter(), true)
                }
            }
            (0, 2) => {
                let ((_, nodes, ttl), _): (Shuffle<'_>, _) = postcard::take_from_bytes(rest)?;
                Self {
                    ttl: Some(ttl),
                    ..shape.introducing(nodes.iter(), true)
                }
            }
            (0, 3) => {
                let (nodes, _): (Vec<Peer<'_>>, _) = postcard::take_from_bytes(rest)?;
                shape.introducing(nodes.iter(), true)
            }
            (0, 4) => {
                let ((_, data), _): ((u8, Option<&[u8]>), _) = postcard::take_from_bytes(rest)?;
                shape.introducing([([0; 32], data)].iter(), false)
            }
            (1, 0) => {
                let (payload, _): (Payload<'_>, _) = postcard::take_from_bytes(rest)?;
                let (_, _, scope, hops) = payload;
                Self {
                    payload: true,
                    hops: (scope == 0).then_some(hops),
                    ..shape
                }
            }
            (1, 3) => {
                let (promises, _): (Vec<(Id, u16)>, _) = postcard::take_from_bytes(rest)?;
                Self {
                    promises: promises.into_iter().map(|(id, _)| id).collect(),
                    ..shape
                }
            }
            _ => shape,
        })
    }

    fn introducing<'a>(self, peers: impl Iterator<Item = &'a Peer<'a>>, others: bool) -> Self {
        let (mut ids, mut largest) = (Vec::new(), 0);
        for (id, data) in peers {
            ids.extend(others.then_some(*id));
            largest = largest.max(data.map_or(0, <[u8]>::len));
        }
        Self {
            peers: ids,
            introduction: largest,
            ..self
        }
    }
}
