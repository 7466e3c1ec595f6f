// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers for people.

/// Bytes, in the largest binary unit of which there is one.
pub fn bytes(count: u32) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{:.1} KiB", f64::from(count) / 1024.0),
        _ => format!("{:.1} MiB", f64::from(count) / f64::from(0x10_0000)),
    }
}

/// A rate: small ones with a digit behind the point.
pub fn rate(per_second: f64) -> String {
    match per_second {
        _ if per_second < 100.0 => format!("{per_second:.1}"),
        _ => format!("{per_second:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(4 << 20), "4.0 MiB");
        assert_eq!(rate(0.25), "0.2");
        assert_eq!(rate(12345.6), "12346");
    }
}
