// SPDX-License-Identifier: GPL-2.0 OR MIT

//! QEMU TCG plugin that counts guest instructions.
