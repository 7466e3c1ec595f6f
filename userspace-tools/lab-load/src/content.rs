// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Bytes that are different at every place of a stream, and in every stream.

/// SplitMix64, by place: what it gives for a number.
pub(crate) fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Random numbers that depend on a seed only.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5eed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `least`, which is not 0, to `most`, small ones as likely as ten times as large ones.
    pub(crate) fn size(&mut self, least: u64, most: u64) -> u64 {
        let share = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let times = (most as f64 / least as f64).powf(share);
        ((least as f64 * times).round() as u64).clamp(least, most)
    }
}

/// A stream of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content(u64);

impl Content {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The bytes from `place` on.
    pub(crate) fn fill(self, place: u64, bytes: &mut [u8]) {
        let word = |place: u64| mix(self.0.wrapping_add(place / 8)).to_le_bytes();
        let head = ((8 - place % 8) % 8).min(bytes.len() as u64) as usize;
        let (head, body) = bytes.split_at_mut(head);
        for (byte, place) in head.iter_mut().zip(place..) {
            *byte = word(place)[place as usize % 8];
        }
        let mut place = place + head.len() as u64;
        for part in body.chunks_mut(8) {
            part.copy_from_slice(&word(place)[..part.len()]);
            place += 8;
        }
    }

    /// The first place at which `bytes`, received from `place` on, are not what they ought to be.
    pub(crate) fn differs(self, place: u64, bytes: &[u8], spare: &mut Vec<u8>) -> Option<u64> {
        spare.resize(bytes.len(), 0);
        self.fill(place, spare);
        if bytes == spare.as_slice() {
            return None;
        }
        let at = bytes
            .iter()
            .zip(spare.iter())
            .position(|(is, ought)| is != ought)?;
        Some(place + at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        let content = Content::new(7);
        let mut whole = [0; 100];
        content.fill(0, &mut whole);
        for start in 0..100 {
            for end in start..100 {
                let mut part = vec![0; end - start];
                content.fill(start as u64, &mut part);
                assert_eq!(part, whole[start..end]);
            }
        }
        let mut spare = Vec::new();
        assert_eq!(content.differs(3, &whole[3..], &mut spare), None);
        whole[50] ^= 1;
        assert_eq!(content.differs(3, &whole[3..], &mut spare), Some(50));
        assert!(content.differs(4, &whole[3..], &mut spare).is_some());
    }

    #[test]
    fn sizes_are_of_all_orders() {
        let mut random = Random::new(1);
        let sizes: Vec<_> = (0..7000).map(|_| random.size(1, 10_000_000)).collect();
        for order in 0..7 {
            let range = 10u64.pow(order)..=10u64.pow(order + 1);
            let count = sizes.iter().filter(|size| range.contains(size)).count();
            assert!((800..1300).contains(&count), "{order}: {count}");
        }
        assert!(sizes.iter().all(|size| (1..=10_000_000).contains(size)));
        let mut sizes = (0..1000).map(|_| random.size(500, 5000));
        assert!(sizes.all(|size| (500..=5000).contains(&size)));
        assert_eq!(random.size(7, 7), 7);
    }
}
