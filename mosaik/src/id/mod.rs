//! Every identifier: networks, peers, topics, groups, stores and tags.
//!
//! Ids of named things are 32-byte [BLAKE3] digests of the name under a context string of their own,
//! so that a topic and a group of one name never collide. A [`PeerId`] is the peer's Ed25519 public
//! key: whoever holds the secret key is the peer.
//!
//! [BLAKE3]: https://github.com/BLAKE3-team/BLAKE3-specs

mod addr;

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

pub use addr::{ParseAddrError, PeerAddr, Ticket};

/// Number of hexadecimal digits in the short form of an id, as log lines print it.
const SHORT_LEN: usize = 10;

macro_rules! digest_id {
    ($(#[$meta:meta])* $name:ident, $context:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id of `name`.
            pub fn from_name(name: &str) -> Self {
                Self(blake3::derive_key($context, name.as_bytes()))
            }

            /// The id whose digest is `bytes`.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The digest.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first hexadecimal digits, for people.
            pub fn short(&self) -> String {
                short(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::from_name(name)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self::from_name(&name)
            }
        }

        impl From<&String> for $name {
            fn from(name: &String) -> Self {
                Self::from_name(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
    };
}

digest_id! {
    /// A network: peers with the same id find and serve each other, all others are refused.
    ///
    /// The id is the capability to take part unless the network also has a shared secret, so choose a
    /// name that strangers do not guess where strangers can reach you.
    NetworkId, "mosaik/network/1"
}

digest_id! {
    /// A topic: one typed stream of datums, whoever produces and consumes it.
    TopicId, "mosaik/topic/1"
}

digest_id! {
    /// A consensus group.
    GroupId, "mosaik/group/1"
}

digest_id! {
    /// A replicated collection.
    StoreId, "mosaik/store/1"
}

digest_id! {
    /// A tag that peers carry to say what they are for, such as `matcher` or `eu-west`.
    Tag, "mosaik/tag/1"
}

/// A peer: its Ed25519 public key.
///
/// Prints as 64 hexadecimal digits and parses from them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// The peer whose public key is `bytes`; not checked to be a point on the curve.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first hexadecimal digits, for people.
    pub fn short(&self) -> String {
        short(&self.0)
    }

    /// Whether this peer signed `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        iroh::PublicKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify(message, &iroh::Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

impl FromStr for PeerId {
    type Err = ParseAddrError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER
            .decode(s.to_ascii_lowercase().as_bytes())
            .map_err(|_| ParseAddrError::Peer(s.into()))?;
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| ParseAddrError::Peer(s.into()))?;
        iroh::PublicKey::from_bytes(&bytes).map_err(|_| ParseAddrError::Peer(s.into()))?;
        Ok(Self(bytes))
    }
}

/// One boot of a peer inside a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId {
    /// The peer.
    pub peer: PeerId,
    /// Random when the member's log is volatile, stored with the log when it is durable: a member
    /// that lost its log is another member.
    pub boot: u64,
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer.short())
    }
}

/// The secret key that makes a peer who it is.
///
/// Printing one shows the public half only.
#[derive(Clone)]
pub struct SecretKey(iroh::SecretKey);

impl SecretKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(iroh::SecretKey::generate())
    }

    /// The key with these 32 secret bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(iroh::SecretKey::from_bytes(&bytes))
    }

    /// The 32 secret bytes; keep them secret.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The peer that this key makes.
    pub fn peer(&self) -> PeerId {
        PeerId(*self.0.public().as_bytes())
    }

    /// Signs `message` as [`PeerId::verify`] checks it.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.peer())
    }
}

fn short(bytes: &[u8; 32]) -> String {
    let mut hex = HEXLOWER.encode(bytes);
    hex.truncate(SHORT_LEN);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_name_differ_by_kind() {
        assert_ne!(
            TopicId::from_name("a").as_bytes(),
            GroupId::from_name("a").as_bytes()
        );
        assert_eq!(NetworkId::from("a"), NetworkId::from(String::from("a")));
    }

    #[test]
    fn peer_ids_print_and_parse() {
        let peer = SecretKey::generate().peer();
        assert_eq!(peer.to_string().parse::<PeerId>().unwrap(), peer);
        assert!("zz".parse::<PeerId>().is_err());
        assert!("".parse::<PeerId>().is_err());
    }

    #[test]
    fn signatures_hold_for_the_signed_bytes_only() {
        let key = SecretKey::generate();
        let signature = key.sign(b"entry");
        assert!(key.peer().verify(b"entry", &signature));
        assert!(!key.peer().verify(b"entrY", &signature));
        assert!(!SecretKey::generate().peer().verify(b"entry", &signature));
    }
}
