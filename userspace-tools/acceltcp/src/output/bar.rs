// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Bars for tables.

/// A bar of `width` characters in brackets: `#` for what is used, `-` up to the peak, `.` for the rest.
///
/// `fill` and `peak` are from 0 to 1. What is not 0 is seen, and only what is full looks full.
pub fn bar(fill: f64, peak: f64, width: usize) -> String {
    let fill = cells(fill, width);
    let peak = cells(peak, width).max(fill);
    let mut text = String::with_capacity(width + 2);
    text.push('[');
    text.extend((0..width).map(|place| match place {
        _ if place < fill => '#',
        _ if place < peak => '-',
        _ => '.',
    }));
    text.push(']');
    text
}

fn cells(part: f64, width: usize) -> usize {
    let cells = (1..width).take_while(|cell| *cell as f64 <= part * width as f64);
    match part {
        _ if part <= 0.0 => 0,
        _ if part >= 1.0 => width,
        _ => cells.count().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(bar(0.0, 0.0, 10), "[..........]");
        assert_eq!(bar(0.0001, 0.5, 10), "[#----.....]");
        assert_eq!(bar(0.5, 0.2, 10), "[#####.....]");
        assert_eq!(bar(0.999, 1.0, 10), "[#########-]");
        assert_eq!(bar(1.0, 1.0, 10), "[##########]");
        assert_eq!(bar(f64::NAN, 2.0, 0), "[]");
    }
}
