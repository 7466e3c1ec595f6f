// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random numbers that depend on a seed only.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of thread `thread` in a run with `seed`.
    pub(crate) fn new(seed: u64, thread: u64) -> Self {
        let mut random = Self(seed.rotate_left(32) ^ thread);
        random.next();
        random
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, which are not none.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_differ_and_runs_do_not() {
        let numbers = |seed, thread| {
            let mut random = Random::new(seed, thread);
            [(); 8].map(|()| random.next())
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
        assert_ne!(numbers(1, 2), numbers(2, 1));
    }

    #[test]
    fn all_choices_are_made() {
        let mut random = Random::new(1, 1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[random.pick(&[0usize, 1, 2, 3, 4, 5, 6])] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
