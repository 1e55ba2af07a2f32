//! A digest that is the same in every process and on every platform.

use std::fmt;

/// The 64-bit hash FNV-1a (Fowler, Noll and Vo; RFC 9923), over text that is written to it.
///
/// It finds accidental differences, not deliberate ones. `std`'s `DefaultHasher` would not do: it may be
/// another algorithm in the next release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u64);

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Digest {
    /// The digest of nothing.
    pub(super) fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// The digest of what was written.
    pub(super) fn finish(self) -> u64 {
        self.0
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Vectors of the authors' test suite.
    #[test]
    fn it_is_fnv_1a() {
        let cases = [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ];
        for (text, expected) in cases {
            let mut digest = Digest::new();
            digest.write_str(text).unwrap();
            assert_eq!(digest.finish(), expected, "{text:?}");
        }
    }
}
