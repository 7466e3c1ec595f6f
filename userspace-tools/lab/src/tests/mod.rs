// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The lab tests and their runner.
