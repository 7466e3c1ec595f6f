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
//! * [`sock`], [`ulp`], [`request_sock`]: TCP sockets, what is put on them, and connections out of handshakes.
//! * [`netfilter`], [`pernet`]: a hook for incoming frames, and namespaces that come and go.
//! * [`closing`], [`splice`]: connections that their owners close, or join.
//! * [`listeners`]: the sockets with the ULP that listen; [`listening`]: those of all applications.
//! * [`cgroup`], [`named`]: cgroups and network devices by their names.
//! * [`genl`]: the generic netlink family; [`flower`]: filters of tc.
//! * [`pci`]: functions that are network cards, and what belongs to one from probe to unbind.
//! * [`irq`]: MSI-X vectors with handlers that come and go with the datapath.
//! * [`weak`]: a device for those who may outlive it; its service and its VLANs.
//! * [`sysctl`]: settings; [`global`]: locks of the whole module; [`work`]: what is left to process context; [`retry`]: what
//!   has to wait until a user gives a lock back; [`trace`]: tracepoints.

pub(crate) mod cgroup;
pub(crate) mod closing;
pub(crate) mod device;
pub(crate) mod dma;
pub(crate) mod ethtool;
pub(crate) mod flower;
pub(crate) mod genl;
pub(crate) mod global;
pub(crate) mod irq;
pub(crate) mod listeners;
pub(crate) mod listening;
pub(crate) mod multicast;
pub(crate) mod named;
pub(crate) mod napi;
pub(crate) mod netfilter;
mod ops;
pub(crate) mod page_pool;
pub(crate) mod pci;
pub(crate) mod pernet;
pub(crate) mod queue;
pub(crate) mod request_sock;
pub(crate) mod retry;
pub(crate) mod skb;
pub(crate) mod sock;
pub(crate) mod splice;
pub(crate) mod sysctl;
pub(crate) mod trace;
pub(crate) mod ulp;
pub(crate) mod weak;
pub(crate) mod work;
