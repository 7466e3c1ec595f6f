// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers for the networking core that the `kernel` crate of Linux 7.3 lacks.
//!
//! * [`device`]: `struct net_device`, its registration and operations.
//! * [`ethtool`]: `struct ethtool_ops`.
//! * [`skb`]: `struct sk_buff`.
//! * [`napi`]: NAPI instances and the data that belongs to them.
//! * [`queue`]: TX queues, their locks and byte queue limits.
//! * [`page_pool`]: recycled, DMA-mapped pages.
//! * [`dma`]: streaming DMA mappings.
//! * [`irq`]: MSI-X vectors with handlers that come and go with the datapath.
//! * [`work`]: a delayed work item of a device.

pub(crate) mod device;
pub(crate) mod dma;
pub(crate) mod ethtool;
pub(crate) mod irq;
pub(crate) mod napi;
mod ops;
pub(crate) mod page_pool;
pub(crate) mod queue;
pub(crate) mod skb;
pub(crate) mod work;
