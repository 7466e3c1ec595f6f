// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sequence number arithmetic (RFC 9293 section 3.4), also for timestamps (RFC 7323 section 5.2).

/// Whether `a` comes before `b`.
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps() {
        assert!(before(1, 2) && !before(2, 1) && !before(7, 7));
        assert!(before(u32::MAX, 0) && !before(0, u32::MAX));
    }
}
