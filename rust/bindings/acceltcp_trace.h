/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the group "acceltcp": a connection, or what makes them, has
 * another owner. Addresses are as in sock:inet_sock_set_state, the host's ones
 * first; those of IPv4 are in saddr_v6 and daddr_v6, too, mapped to IPv6.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM acceltcp

#if !defined(ACCELTCP_TRACEPOINTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define ACCELTCP_TRACEPOINTS_H

#include <linux/tracepoint.h>
#include <net/ipv6.h>

#include "closing.h"
#include "ports.h"
#include "tcp.h"
#include "trace.h"

#ifndef ACCELTCP_TRACE_ADDRESSES
#define ACCELTCP_TRACE_ADDRESSES

static inline void acceltcp_store_address(u8 *v4, u8 *v6, const u8 *address,
					  bool ipv4)
{
	struct in6_addr mapped;
	__be32 word;

	memset(v4, 0, 4);
	if (!ipv4) {
		memcpy(v6, address, 16);
		return;
	}
	memcpy(v4, address, 4);
	memcpy(&word, address, 4);
	ipv6_addr_set_v4mapped(word, &mapped);
	memcpy(v6, &mapped, 16);
}

#define ACCELTCP_ENDS_FIELDS			\
		__field(__u16, sport)		\
		__field(__u16, dport)		\
		__field(__u16, family)		\
		__array(__u8, saddr, 4)		\
		__array(__u8, daddr, 4)		\
		__array(__u8, saddr_v6, 16)	\
		__array(__u8, daddr_v6, 16)

#define ACCELTCP_ENDS_ASSIGN(ends)					\
		__entry->sport = (ends)->local_port;			\
		__entry->dport = (ends)->remote_port;			\
		__entry->family = (ends)->ipv4 ? AF_INET : AF_INET6;	\
		acceltcp_store_address(__entry->saddr, __entry->saddr_v6, \
				       (ends)->local, (ends)->ipv4);	\
		acceltcp_store_address(__entry->daddr, __entry->daddr_v6, \
				       (ends)->remote, (ends)->ipv4);

#define ACCELTCP_ENDS_FORMAT \
	"family=%s sport=%hu dport=%hu saddr=%pI4 daddr=%pI4 saddrv6=%pI6c daddrv6=%pI6c "

#define ACCELTCP_ENDS_PRINT						\
		__print_symbolic(__entry->family,			\
				 { AF_INET, "AF_INET" },		\
				 { AF_INET6, "AF_INET6" }),		\
		__entry->sport, __entry->dport,				\
		__entry->saddr, __entry->daddr,				\
		__entry->saddr_v6, __entry->daddr_v6

#endif /* ACCELTCP_TRACE_ADDRESSES */

/* The host has been given a connection that a card has set up. */
TRACE_EVENT(acceltcp_child,

	TP_PROTO(const struct acceltcp_ends *ends, int ifindex),

	TP_ARGS(ends, ifindex),

	TP_STRUCT__entry(
		__field(int, ifindex)
		ACCELTCP_ENDS_FIELDS
	),

	TP_fast_assign(
		__entry->ifindex = ifindex;
		ACCELTCP_ENDS_ASSIGN(ends)
	),

	TP_printk(ACCELTCP_ENDS_FORMAT "ifindex=%d",
		  ACCELTCP_ENDS_PRINT, __entry->ifindex)
);

/* A card has got a connection to end it, with so many bytes of data. */
TRACE_EVENT(acceltcp_handover,

	TP_PROTO(const struct acceltcp_ends *ends, int ifindex, u32 bytes),

	TP_ARGS(ends, ifindex, bytes),

	TP_STRUCT__entry(
		__field(int, ifindex)
		__field(__u32, bytes)
		ACCELTCP_ENDS_FIELDS
	),

	TP_fast_assign(
		__entry->ifindex = ifindex;
		__entry->bytes = bytes;
		ACCELTCP_ENDS_ASSIGN(ends)
	),

	TP_printk(ACCELTCP_ENDS_FORMAT "ifindex=%d bytes=%u",
		  ACCELTCP_ENDS_PRINT, __entry->ifindex, __entry->bytes)
);

/* The host ends a connection itself; the reason is the name of a counter. */
TRACE_EVENT(acceltcp_handover_refused,

	TP_PROTO(const struct acceltcp_ends *ends, const char *reason,
		 unsigned int reason_len),

	TP_ARGS(ends, reason, reason_len),

	TP_STRUCT__entry(
		ACCELTCP_ENDS_FIELDS
		__string_len(reason, reason, reason_len)
	),

	TP_fast_assign(
		ACCELTCP_ENDS_ASSIGN(ends)
		__assign_str(reason);
	),

	TP_printk(ACCELTCP_ENDS_FORMAT "reason=%s",
		  ACCELTCP_ENDS_PRINT, __get_str(reason))
);

DECLARE_EVENT_CLASS(acceltcp_spliced,

	TP_PROTO(const struct acceltcp_ends *ends,
		 const struct acceltcp_spliced *spliced),

	TP_ARGS(ends, spliced),

	TP_STRUCT__entry(
		__field(int, ifindex)
		__field(__u32, pair)
		__field(__u32, generation)
		ACCELTCP_ENDS_FIELDS
	),

	TP_fast_assign(
		__entry->ifindex = spliced->ifindex;
		__entry->pair = spliced->pair;
		__entry->generation = spliced->generation;
		ACCELTCP_ENDS_ASSIGN(ends)
	),

	TP_printk(ACCELTCP_ENDS_FORMAT "ifindex=%d pair=%u generation=%u",
		  ACCELTCP_ENDS_PRINT, __entry->ifindex, __entry->pair,
		  __entry->generation)
);

/* A card relays a connection; there is one event for each of a pair. */
DEFINE_EVENT(acceltcp_spliced, acceltcp_splice,
	TP_PROTO(const struct acceltcp_ends *ends,
		 const struct acceltcp_spliced *spliced),
	TP_ARGS(ends, spliced)
);

/* A connection that a card has relayed is the host's again. */
DEFINE_EVENT(acceltcp_spliced, acceltcp_unsplice,
	TP_PROTO(const struct acceltcp_ends *ends,
		 const struct acceltcp_spliced *spliced),
	TP_ARGS(ends, spliced)
);

/*
 * A connection that a card has relayed is over; so many bytes came from its
 * peer, and went there. The reason is the name of a counter.
 */
TRACE_EVENT(acceltcp_splice_end,

	TP_PROTO(const struct acceltcp_ends *ends,
		 const struct acceltcp_spliced *spliced, u64 received,
		 u64 sent, const char *reason, unsigned int reason_len),

	TP_ARGS(ends, spliced, received, sent, reason, reason_len),

	TP_STRUCT__entry(
		__field(__u64, received)
		__field(__u64, sent)
		__field(int, ifindex)
		__field(__u32, pair)
		__field(__u32, generation)
		ACCELTCP_ENDS_FIELDS
		__string_len(reason, reason, reason_len)
	),

	TP_fast_assign(
		__entry->received = received;
		__entry->sent = sent;
		__entry->ifindex = spliced->ifindex;
		__entry->pair = spliced->pair;
		__entry->generation = spliced->generation;
		ACCELTCP_ENDS_ASSIGN(ends)
		__assign_str(reason);
	),

	TP_printk(ACCELTCP_ENDS_FORMAT "ifindex=%d pair=%u generation=%u received=%llu sent=%llu reason=%s",
		  ACCELTCP_ENDS_PRINT, __entry->ifindex, __entry->pair,
		  __entry->generation, __entry->received, __entry->sent,
		  __get_str(reason))
);

/* A card has got, or lost, the rule by which it sets connections up. */
TRACE_EVENT(acceltcp_listener,

	TP_PROTO(int ifindex, bool ipv4, const u8 *address, u16 port,
		 u16 vlan_outer, u16 vlan_inner, bool published),

	TP_ARGS(ifindex, ipv4, address, port, vlan_outer, vlan_inner,
		published),

	TP_STRUCT__entry(
		__field(int, ifindex)
		__field(__u16, sport)
		__field(__u16, family)
		__field(__u16, vlan_outer)
		__field(__u16, vlan_inner)
		__array(__u8, saddr, 4)
		__array(__u8, saddr_v6, 16)
		__field(bool, published)
	),

	TP_fast_assign(
		__entry->ifindex = ifindex;
		__entry->sport = port;
		__entry->family = ipv4 ? AF_INET : AF_INET6;
		__entry->vlan_outer = vlan_outer;
		__entry->vlan_inner = vlan_inner;
		acceltcp_store_address(__entry->saddr, __entry->saddr_v6,
				       address, ipv4);
		__entry->published = published;
	),

	TP_printk("family=%s sport=%hu saddr=%pI4 saddrv6=%pI6c ifindex=%d vlan=%hd,%hd state=%s",
		  __print_symbolic(__entry->family, { AF_INET, "AF_INET" },
				   { AF_INET6, "AF_INET6" }),
		  __entry->sport, __entry->saddr, __entry->saddr_v6,
		  __entry->ifindex, (short)__entry->vlan_outer,
		  (short)__entry->vlan_inner,
		  __entry->published ? "published" : "withdrawn")
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE acceltcp_trace
#include <trace/define_trace.h>
