// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp`: shows and steers TCP offloads to the NIC.

use std::process::ExitCode;

fn main() -> ExitCode {
    acceltcp::main()
}
