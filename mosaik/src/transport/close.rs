//! Why connections and streams are closed: numbers that never change meaning.

use std::fmt;

macro_rules! close_codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a peer closed a connection or a stream.
        ///
        /// The numbers go over the wire and never change meaning. An unknown number, from a later
        /// version, is kept as [`CloseCode::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$meta])* $name,)*
            /// A code that this version does not know.
            Other(u32),
        }

        impl CloseCode {
            /// The number on the wire.
            pub const fn code(self) -> u32 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// The code with this number.
            pub const fn from_code(code: u32) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for CloseCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(code) => write!(f, "code {code}"),
                }
            }
        }

        #[cfg(test)]
        const ALL: &[CloseCode] = &[$(CloseCode::$name),*];
    };
}

close_codes! {
    /// The work is done or nobody needs it any more.
    Done = 0, "done";
    /// The peer is shutting down gracefully.
    ShuttingDown = 1, "shutting down";
    /// The peer belongs to another network; give both the same network id.
    NetworkMismatch = 2, "another network";
    /// The peer did not prove that it knows the network's shared secret.
    NotAdmitted = 3, "not admitted";
    /// The peer speaks another protocol version; run the same release on both.
    VersionMismatch = 4, "another protocol version";
    /// What the peer sent cannot be understood.
    Malformed = 5, "malformed message";
    /// The peer did not answer in time.
    TimedOut = 6, "timed out";
    /// Another connection between the same two peers took over.
    Duplicate = 7, "duplicate connection";
    /// The peer was restarted, and this connection belonged to its earlier boot.
    Superseded = 8, "superseded by a later boot";
    /// Too many connections, streams or subscriptions already.
    NoCapacity = 9, "no capacity";
    /// Nothing of that name is here.
    NotFound = 10, "not found";
    /// Admission rules keep the peer out.
    NotAllowed = 11, "not allowed";
    /// The consumer took nothing for too long.
    TooSlow = 12, "too slow";
    /// The two sides declare different types under one name.
    SchemaMismatch = 13, "schema mismatch";
    /// The peer's ticket is no longer valid.
    TicketExpired = 14, "ticket expired";
    /// The peer does not serve that protocol.
    UnknownProtocol = 15, "unknown protocol";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_survive_the_wire() {
        for (i, code) in ALL.iter().enumerate() {
            assert_eq!(code.code() as usize, i);
            assert_eq!(CloseCode::from_code(code.code()), *code);
        }
        assert_eq!(CloseCode::from_code(999), CloseCode::Other(999));
    }
}
