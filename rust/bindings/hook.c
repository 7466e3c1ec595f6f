// SPDX-License-Identifier: GPL-2.0
/* See hook.h. */

#include "bindings.h"

/*
 * Disables softirqs unless they are off already, as they are for frames that come
 * from a device. True if the caller has to enable them again.
 */
bool acceltcp_softirqs_disable(void)
{
	if (in_softirq())
		return false;
	local_bh_disable();
	return true;
}

/*
 * Returns true if no rule of an administrator comes behind the hook of
 * NF_INET_LOCAL_IN that has @own as its private data: a frame that it accepts
 * then reaches the transport protocol within the same RCU read section. Rules of
 * priority INT_MAX that are older than the hook come behind it, and may queue the
 * frame to user space.
 *
 * Hooks without a type are those of conntrack, IPVS and iptables: all of these
 * have priorities of their own, and those that share ours queue nothing.
 *
 * Context: RCU read section.
 */
bool acceltcp_hook_ends_rules(const struct net *net, u8 pf, const void *own)
{
	const struct nf_hook_entries *hooks;
	struct nf_hook_ops **ops;
	unsigned int i;

	if (pf == NFPROTO_IPV4)
		hooks = rcu_dereference(net->nf.hooks_ipv4[NF_INET_LOCAL_IN]);
	else
		hooks = rcu_dereference(net->nf.hooks_ipv6[NF_INET_LOCAL_IN]);
	if (!hooks)
		return false;
	ops = nf_hook_entries_get_hook_ops(hooks);
	for (i = hooks->num_hook_entries; i-- > 0;) {
		if (hooks->hooks[i].priv == own)
			return true;
		if (READ_ONCE(ops[i])->hook_ops_type != NF_HOOK_OP_UNDEFINED)
			return false;
	}
	return false;
}
