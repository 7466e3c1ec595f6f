// SPDX-License-Identifier: GPL-2.0
/* See listening.h. */

#include "bindings.h"
#include <linux/cgroup.h>
#include <linux/tracepoint.h>
#include <net/inet_hashtables.h>
#include <net/mptcp.h>

static struct tracepoint *acceltcp_state_change;

/*
 * The kernel's own servers are none; what is below multipath TCP is. The former
 * do not keep their namespace, and must not be kept themselves.
 */
static bool acceltcp_is_applications(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP &&
	       (!sk->sk_kern_sock || sk_is_mptcp(sk));
}

static void acceltcp_state_changes(void *data, const struct sock *sk,
				   const int oldstate, const int newstate)
{
	acceltcp_listens_t func = (acceltcp_listens_t)data;

	if (newstate == TCP_LISTEN && acceltcp_is_applications(sk))
		func((struct sock *)sk);
}

static void acceltcp_look_at(struct tracepoint *tp, void *priv)
{
	if (!strcmp(tp->name, "inet_sock_set_state"))
		acceltcp_state_change = tp;
}

/* The tracepoint itself is not exported. One at a time. */
int acceltcp_watch_listen(acceltcp_listens_t func)
{
	acceltcp_state_change = NULL;
	for_each_kernel_tracepoint(acceltcp_look_at, NULL);
	if (!acceltcp_state_change)
		return -ENOENT;
	return tracepoint_probe_register(acceltcp_state_change,
					 (void *)acceltcp_state_changes,
					 (void *)func);
}

void acceltcp_unwatch_listen(acceltcp_listens_t func)
{
	tracepoint_probe_unregister(acceltcp_state_change,
				    (void *)acceltcp_state_changes,
				    (void *)func);
	tracepoint_synchronize_unregister();
}

/*
 * Takes a reference to applications' listening sockets of @net, or of all if that
 * is NULL. Returns how many there are, which may be more than there was @room
 * for. All namespaces share the table.
 */
u32 acceltcp_listeners(const struct net *net, struct sock **to, u32 room)
{
	struct inet_hashinfo *hashinfo = init_net.ipv4.tcp_death_row.hashinfo;
	u32 found = 0;
	u32 slot;

	for (slot = 0; slot <= hashinfo->lhash2_mask; slot++) {
		struct inet_listen_hashbucket *bucket = &hashinfo->lhash2[slot];
		struct hlist_nulls_node *node;
		struct sock *sk;

		if (hlist_nulls_empty(&bucket->nulls_head))
			continue;
		spin_lock(&bucket->lock);
		sk_nulls_for_each(sk, node, &bucket->nulls_head) {
			if (!acceltcp_is_applications(sk) ||
			    (net && !net_eq(sock_net(sk), net)))
				continue;
			if (found < room) {
				if (!refcount_inc_not_zero(&sk->sk_refcnt))
					continue;
				to[found] = sk;
			}
			found++;
		}
		spin_unlock(&bucket->lock);
		cond_resched();
	}
	return found;
}

/* As the initial user namespace numbers it. */
u32 acceltcp_sk_uid(const struct sock *sk)
{
	return from_kuid_munged(&init_user_ns, sk_uid(sk));
}

/* Whether the socket was made in the cgroup, or below. */
bool acceltcp_sk_in_cgroup(const struct sock *sk, u64 id)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	struct cgroup *cgroup = sock_cgroup_ptr((struct sock_cgroup_data *)
						&sk->sk_cgrp_data);

	for (; cgroup; cgroup = cgroup_parent(cgroup))
		if (cgroup_id(cgroup) == id)
			return true;
#endif
	return false;
}
