// SPDX-License-Identifier: GPL-2.0
/* See trace.h. Nothing is looked up unless somebody listens. */

#include "bindings.h"

#define CREATE_TRACE_POINTS
#include "acceltcp_trace.h"

void acceltcp_trace_child(struct sk_buff *skb, bool ipv4)
{
	struct acceltcp_ends ends;

	if (!trace_acceltcp_child_enabled() ||
	    !acceltcp_frame_ends(skb, ipv4, &ends))
		return;
	trace_acceltcp_child(&ends, skb->dev->ifindex);
}

void acceltcp_trace_handover(const struct sock *sk,
			     const struct acceltcp_closing *closing)
{
	struct acceltcp_ends ends;

	if (!trace_acceltcp_handover_enabled())
		return;
	acceltcp_sk_ends(sk, &ends);
	trace_acceltcp_handover(&ends, closing->ifindex, closing->len);
}

void acceltcp_trace_handover_refused(const struct sock *sk, const char *reason,
				     u32 reason_len)
{
	struct acceltcp_ends ends;

	if (!trace_acceltcp_handover_refused_enabled())
		return;
	acceltcp_sk_ends(sk, &ends);
	trace_acceltcp_handover_refused(&ends, reason, reason_len);
}

void acceltcp_trace_splice(const struct acceltcp_ends *ends,
			   const struct acceltcp_spliced *spliced)
{
	trace_acceltcp_splice(ends, spliced);
}

void acceltcp_trace_unsplice(const struct acceltcp_ends *ends,
			     const struct acceltcp_spliced *spliced)
{
	trace_acceltcp_unsplice(ends, spliced);
}

void acceltcp_trace_splice_end(const struct acceltcp_ends *ends,
			       const struct acceltcp_spliced *spliced,
			       u64 received, u64 sent, const char *reason,
			       u32 reason_len)
{
	trace_acceltcp_splice_end(ends, spliced, received, sent, reason,
				  reason_len);
}

void acceltcp_trace_listener(s32 ifindex, bool ipv4, const u8 *address,
			     u16 port, u16 vlan_outer, u16 vlan_inner,
			     bool published)
{
	trace_acceltcp_listener(ifindex, ipv4, address, port, vlan_outer,
				vlan_inner, published);
}
