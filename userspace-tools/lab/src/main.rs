// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Builds the lab and runs demo, tests and benches in it.

fn main() {}
