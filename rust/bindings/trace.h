/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tells tracepoints who owns a connection from now on (acceltcp_trace.h). Each
 * costs a call and a branch that is patched when somebody listens.
 */
#ifndef ACCELTCP_TRACE_H
#define ACCELTCP_TRACE_H

#include <linux/skbuff.h>
#include <net/sock.h>

struct acceltcp_closing;
struct acceltcp_ends;

/* A spliced connection: the card's device, and the name of the pair. */
struct acceltcp_spliced {
	s32 ifindex;
	u32 pair;
	u32 generation;
};

void acceltcp_trace_child(struct sk_buff *skb, bool ipv4);
void acceltcp_trace_handover(const struct sock *sk,
			     const struct acceltcp_closing *closing);
void acceltcp_trace_handover_refused(const struct sock *sk, const char *reason,
				     u32 reason_len);
void acceltcp_trace_splice(const struct acceltcp_ends *ends,
			   const struct acceltcp_spliced *spliced);
void acceltcp_trace_unsplice(const struct acceltcp_ends *ends,
			     const struct acceltcp_spliced *spliced);
void acceltcp_trace_splice_end(const struct acceltcp_ends *ends,
			       const struct acceltcp_spliced *spliced,
			       u64 received, u64 sent, const char *reason,
			       u32 reason_len);
/* @address has 4 or 16 bytes, zeros for any; VLAN ids as in ports.h. */
void acceltcp_trace_listener(s32 ifindex, bool ipv4, const u8 *address,
			     u16 port, u16 vlan_outer, u16 vlan_inner,
			     bool published);

#endif
