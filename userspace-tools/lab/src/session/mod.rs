// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards, guests and the wire side.
