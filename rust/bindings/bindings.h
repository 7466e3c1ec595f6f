/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module needs of the kernel's C API beyond the kernel crate.
 *
 * Static inlines named in bindgen_parameters get an out-of-line wrapper; what
 * only a macro gives is a function of helpers.c, declared at the end.
 */
#ifndef ACCELTCP_BINDINGS_H
#define ACCELTCP_BINDINGS_H

#include <linux/capability.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/interrupt.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/sysctl.h>
#include <linux/workqueue.h>
#include <net/busy_poll.h>
#include <net/netdev_queues.h>
#include <net/netns/generic.h>
#include <net/page_pool/helpers.h>
#include <net/page_pool/types.h>

#include "closing.h"
#include "flower.h"
#include "held.h"
#include "hook.h"
#include "late.h"
#include "listening.h"
#include "netlink.h"
#include "ports.h"
#include "splice.h"
#include "tcp.h"
#include "trace.h"
#include "ulp.h"

/* Values that bindgen cannot read off function-like macros. */
static const u64 ACCELTCP_F_SG = NETIF_F_SG;
static const u64 ACCELTCP_F_IP_CSUM = NETIF_F_IP_CSUM;
static const u64 ACCELTCP_F_IPV6_CSUM = NETIF_F_IPV6_CSUM;
static const u64 ACCELTCP_F_RXCSUM = NETIF_F_RXCSUM;
static const u64 ACCELTCP_F_TSO = NETIF_F_TSO;
static const u64 ACCELTCP_F_TSO6 = NETIF_F_TSO6;
static const u64 ACCELTCP_F_GSO_MASK = NETIF_F_GSO_MASK;
static const u64 ACCELTCP_F_HIGHDMA = NETIF_F_HIGHDMA;
static const u64 ACCELTCP_F_RXHASH = NETIF_F_RXHASH;
static const u64 ACCELTCP_F_HW_TC = NETIF_F_HW_TC;
/* Room that napi_build_skb() needs behind the data of a buffer. */
static const u32 ACCELTCP_SHINFO_SIZE =
	SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
static const u32 ACCELTCP_RSS_HASH_TOP = ETH_RSS_HASH_TOP;
static const u32 ACCELTCP_COALESCE =
	ETHTOOL_COALESCE_USECS | ETHTOOL_COALESCE_MAX_FRAMES;

void *acceltcp_page_address(struct page *page);
void acceltcp_tx_queue_reset(struct netdev_queue *queue);
void acceltcp_tx_queue_set_least(struct netdev_queue *queue, u32 bytes);
void acceltcp_init_delayed_work(struct delayed_work *work, work_func_t func);
void acceltcp_init_work(struct work_struct *work, work_func_t func);
struct skb_shared_info *acceltcp_skb_shinfo(struct sk_buff *skb);
struct sk_buff *acceltcp_empty_frame(u32 headroom);
int acceltcp_for_each_mc(struct netdev_hw_addr_list *list, void *arg,
			 int (*func)(void *arg, const u8 *addr));

#endif
