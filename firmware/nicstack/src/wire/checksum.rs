// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The Internet checksum: full (RFC 1071) and by what changed (RFC 1624).

/// A ones' complement sum that is not folded yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds `bytes`, which start at an even offset; an odd last byte is padded with 0.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, tail) = bytes.split_at(bytes.len() & !3);
        let mut sum = self.0;
        for word in words.chunks_exact(4) {
            sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        }
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds a 16-bit word.
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// The folded sum; 0xffff over bytes that hold a good checksum.
    pub const fn fold(self) -> u16 {
        let mut sum = self.0;
        // Four folds take any 64-bit sum to 16 bits.
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum as u16
    }

    /// The checksum to put into a header whose checksum field was summed as 0.
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The checksum after a word that it covers changed from `old` to `new` (RFC 1624, equation 3).
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(0).word(!checksum).word(!old).word(new).checksum()
}

/// The same for a 32-bit word at an even offset.
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update(high, old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// RFC 1071 section 3, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&bytes).fold(), 0xddf2);
    }

    proptest! {
        #[test]
        fn full_sum_is_the_reference(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::new().bytes(&bytes).checksum(), reference(&bytes));
        }

        #[test]
        fn delta_is_the_full_sum(
            mut words in proptest::collection::vec(any::<u16>(), 1..40),
            place: proptest::sample::Index,
            new: u16,
        ) {
            // A header of TCP or IP is never all zero; only there the two differ (as +0 and -0).
            words.push(6);
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
            let before = reference(&bytes(&words));
            let place = place.index(words.len() - 1);
            let old = core::mem::replace(&mut words[place], new);
            prop_assert_eq!(update(before, old, new), reference(&bytes(&words)));
        }

        #[test]
        fn delta_of_a_long_word_is_the_full_sum(old: u32, new: u32, rest in 1u16..) {
            let full = |word: u32| Sum::new().bytes(&word.to_be_bytes()).word(rest).checksum();
            prop_assert_eq!(update32(full(old), old, new), full(new));
        }
    }
}
