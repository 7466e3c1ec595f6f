// SPDX-License-Identifier: GPL-2.0 OR MIT

//! HalfSipHash with 32 bits of output (Aumasson, Bernstein: "SipHash: a fast short-input PRF"; the variant for
//! 32-bit processors, as Linux' `lib/siphash.c` has it).
//!
//! Cookies use 2 rounds a word and 4 at the end: the strength that the authors give as a PRF. (Linux'
//! `hsiphash()` has 1 and 3, which are for hash tables only.)

/// Key of 64 bits.
pub type Key = u64;

/// A hash under way, of `C` rounds a word and `D` at the end.
#[derive(Debug, Clone, Copy)]
pub struct HalfSipHash<const C: u32 = 2, const D: u32 = 4> {
    v: [u32; 4],
    words: u32,
}

impl<const C: u32, const D: u32> HalfSipHash<C, D> {
    /// Starts a hash under `key`.
    pub const fn new(key: Key) -> Self {
        let (k0, k1) = (key as u32, (key >> 32) as u32);
        Self {
            v: [k0, k1, 0x6c79_6765 ^ k0, 0x7465_6462 ^ k1],
            words: 0,
        }
    }

    const fn rounds(mut self, count: u32) -> Self {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        let mut round = 0;
        while round < count {
            v0 = v0.wrapping_add(v1);
            v1 = v1.rotate_left(5) ^ v0;
            v0 = v0.rotate_left(16);
            v2 = v2.wrapping_add(v3);
            v3 = v3.rotate_left(8) ^ v2;
            v0 = v0.wrapping_add(v3);
            v3 = v3.rotate_left(7) ^ v0;
            v2 = v2.wrapping_add(v1);
            v1 = v1.rotate_left(13) ^ v2;
            v2 = v2.rotate_left(16);
            round += 1;
        }
        self.v = [v0, v1, v2, v3];
        self
    }

    const fn compress(mut self, word: u32) -> Self {
        self.v[3] ^= word;
        self = self.rounds(C);
        self.v[0] ^= word;
        self
    }

    /// Adds a word, as four bytes in little-endian order.
    pub const fn word(self, word: u32) -> Self {
        let mut next = self.compress(word);
        next.words += 1;
        next
    }

    /// Adds `N` bytes, a multiple of 4.
    pub fn bytes<const N: usize>(self, bytes: &[u8; N]) -> Self {
        const { assert!(N % 4 == 0) };
        bytes.chunks_exact(4).fold(self, |hash, word| {
            hash.word(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        })
    }

    /// Ends the hash.
    pub const fn finish(self) -> u32 {
        self.finish_with(&[])
    }

    /// Ends the hash with up to 3 more bytes; more are not looked at.
    const fn finish_with(self, tail: &[u8]) -> u32 {
        let mut last = [0; 4];
        let mut at = 0;
        while at < tail.len() && at < 3 {
            last[at] = tail[at];
            at += 1;
        }
        // The length in bytes, modulo 256.
        last[3] = (self.words * 4 + at as u32) as u8;
        let mut end = self.compress(u32::from_le_bytes(last));
        end.v[2] ^= 0xff;
        end = end.rounds(D);
        end.v[1] ^ end.v[3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key of the published vectors: bytes 0 to 7.
    const KEY: Key = 0x0706_0504_0302_0100;

    /// The hash of the bytes 0, 1, ... `len` - 1.
    fn hash<const C: u32, const D: u32>(len: usize) -> u32 {
        let input: [u8; 64] = core::array::from_fn(|place| place as u8);
        let (words, tail) = input[..len].split_at(len & !3);
        words
            .chunks_exact(4)
            .fold(HalfSipHash::<C, D>::new(KEY), |hash, word| {
                hash.bytes::<4>(word.try_into().unwrap())
            })
            .finish_with(tail)
    }

    /// `vectors_hsip32` of the authors' reference implementation (HalfSipHash-2-4, 32 bits).
    const VECTORS_2_4: [u32; 64] = [
        0x5b9f_35a9,
        0xb85a_4727,
        0x03a6_62fa,
        0x04e7_fe8a,
        0x8946_6e2a,
        0x69b6_fac5,
        0x23fc_6358,
        0xc563_cf8b,
        0x8f84_b8d0,
        0x79e7_06f8,
        0x3479_b094,
        0x5030_0808,
        0x2f87_f057,
        0xff63_e677,
        0x7cf8_ffd6,
        0x972b_fe74,
        0x84ac_b5d9,
        0x5b64_74c4,
        0x9b8d_5b46,
        0x87e3_ef7b,
        0x4510_4de3,
        0xb362_3f61,
        0xfe67_f370,
        0xbdb8_ade6,
        0x630c_4027,
        0x7578_7826,
        0x5f7b_564f,
        0x69e6_b03a,
        0x0040_64b0,
        0xb40f_67ff,
        0x8b33_9e50,
        0x1a9f_585d,
        0x1221_e7fe,
        0x5932_7533,
        0x8c4f_436a,
        0x29b7_28fe,
        0xecc6_5ce7,
        0x548d_7e69,
        0x0f8b_6863,
        0xb462_0b65,
        0x4018_bcb6,
        0x0545_075d,
        0x2efd_4224,
        0x3a86_b77b,
        0x48d5_0577,
        0xb108_52d7,
        0xc899_d4b6,
        0x2e20_9208,
        0xe32c_e169,
        0xe580_b58d,
        0xc664_9736,
        0x0402_6e01,
        0xd4f3_853b,
        0xbe66_dbfe,
        0x3a2a_691e,
        0xc084_89c6,
        0x40b9_c5a5,
        0x8ce8_e99b,
        0x4081_bc7d,
        0xc58e_077c,
        0x736c_e7d4,
        0xb9cb_8f42,
        0x7a99_83bd,
        0x744a_ea59,
    ];

    /// The vectors of Linux' `siphash_kunit.c` for 32-bit machines (HalfSipHash-1-3).
    const VECTORS_1_3: [u32; 8] = [
        0x5814_c896,
        0xe7e8_64ca,
        0xbc4b_0e30,
        0x0153_9939,
        0x7e05_9ea6,
        0x88e3_d89b,
        0xa008_0b65,
        0x9d38_d9d6,
    ];

    #[test]
    fn reference_vectors() {
        for (len, expected) in VECTORS_2_4.iter().enumerate() {
            assert_eq!(hash::<2, 4>(len), *expected, "of {len} bytes");
        }
    }

    #[test]
    fn linux_vectors() {
        for (len, expected) in VECTORS_1_3.iter().enumerate() {
            assert_eq!(hash::<1, 3>(len), *expected, "of {len} bytes");
        }
    }
}
