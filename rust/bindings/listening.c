// SPDX-License-Identifier: GPL-2.0
/* See listening.h. */

#include "bindings.h"
#include <linux/cgroup.h>
#include <linux/netdevice.h>
#include <linux/string.h>
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
 * Calls @visit for all listening sockets, with the lock of their bucket. All
 * namespaces share the table. Process context; may sleep in between.
 */
static void acceltcp_for_each_listener(void (*visit)(struct sock *sk, void *arg),
				       void *arg)
{
	struct inet_hashinfo *hashinfo = init_net.ipv4.tcp_death_row.hashinfo;
	u32 slot;

	for (slot = 0; slot <= hashinfo->lhash2_mask; slot++) {
		struct inet_listen_hashbucket *bucket = &hashinfo->lhash2[slot];
		struct hlist_nulls_node *node;
		struct sock *sk;

		if (hlist_nulls_empty(&bucket->nulls_head))
			continue;
		spin_lock(&bucket->lock);
		sk_nulls_for_each(sk, node, &bucket->nulls_head)
			visit(sk, arg);
		spin_unlock(&bucket->lock);
		cond_resched();
	}
}

struct acceltcp_holding {
	const struct net *net;
	struct sock **to;
	u32 room;
	u32 found;
};

static void acceltcp_hold_listener(struct sock *sk, void *arg)
{
	struct acceltcp_holding *all = arg;

	if (!acceltcp_is_applications(sk) ||
	    (all->net && !net_eq(sock_net(sk), all->net)))
		return;
	if (all->found < all->room) {
		if (!refcount_inc_not_zero(&sk->sk_refcnt))
			return;
		all->to[all->found] = sk;
	}
	all->found++;
}

/*
 * Takes a reference to applications' listening sockets of @net, or of all if that
 * is NULL. Returns how many there are, which may be more than there was @room
 * for.
 */
u32 acceltcp_listeners(const struct net *net, struct sock **to, u32 room)
{
	struct acceltcp_holding all = { .net = net, .to = to, .room = room };

	acceltcp_for_each_listener(acceltcp_hold_listener, &all);
	return all.found;
}

struct acceltcp_dump {
	const u64 *ports;
	struct acceltcp_listen_entry *to;
	u32 room;
	u32 found;
};

static void acceltcp_dump_listener(struct sock *sk, void *arg)
{
	struct acceltcp_dump *dump = arg;
	u16 port = inet_sk(sk)->inet_num;
	struct acceltcp_listen_entry *to;

	if (!(dump->ports[port / 64] & BIT_ULL(port % 64)))
		return;
	if (dump->found < dump->room) {
		to = &dump->to[dump->found];
		acceltcp_listener_read(sk, &to->info);
		to->sk = sk;
		to->group = rcu_access_pointer(sk->sk_reuseport_cb);
		to->net = sock_net(sk);
		to->mptcp = sk_is_mptcp(sk);
	}
	dump->found++;
}

/*
 * Dumps the listening sockets of all namespaces whose port is in @ports, a bitmap
 * of ACCELTCP_PORTS bits; the kernel's own servers are among them. Sockets of one
 * address and port come in the order in which __inet_lookup_listener() scores
 * them. Returns the number of sockets, of which the first @room were written.
 * Process context; may sleep.
 */
u32 acceltcp_dump_listeners(const u64 *ports,
			    struct acceltcp_listen_entry *to, u32 room)
{
	struct acceltcp_dump dump = { .ports = ports, .to = to, .room = room };

	acceltcp_for_each_listener(acceltcp_dump_listener, &dump);
	return dump.found;
}

/* As the initial user namespace numbers it. */
u32 acceltcp_sk_uid(const struct sock *sk)
{
	return from_kuid_munged(&init_user_ns, sk_uid(sk));
}

#ifdef CONFIG_SOCK_CGROUP_DATA
static int acceltcp_cgroup_path(struct cgroup *cgroup, char *to, size_t room)
{
	int len = cgroup_path(cgroup, to, room);

	return min(len, 0);
}

/*
 * Path of the cgroup that the socket was made in, from the root of the default
 * hierarchy. What there is no room for is cut.
 */
int acceltcp_sk_cgroup_path(const struct sock *sk, char *to, size_t room)
{
	struct cgroup *cgroup = sock_cgroup_ptr((struct sock_cgroup_data *)
						&sk->sk_cgrp_data);
	int err = acceltcp_cgroup_path(cgroup, to, room);

	return err == -E2BIG ? 0 : err;
}

/* The same of the root of the caller's cgroup namespace. */
int acceltcp_cgroup_root(char *to, size_t room)
{
	struct cgroup *cgroup = cgroup_get_from_path("/");
	int err;

	if (IS_ERR(cgroup))
		return PTR_ERR(cgroup);
	err = acceltcp_cgroup_path(cgroup, to, room);
	cgroup_put(cgroup);
	return err;
}

/* Whether there is a cgroup of this path in the caller's cgroup namespace. */
int acceltcp_cgroup_exists(const char *path)
{
	struct cgroup *cgroup = cgroup_get_from_path(path);

	if (IS_ERR(cgroup))
		return PTR_ERR(cgroup);
	cgroup_put(cgroup);
	return 0;
}
#else
int acceltcp_sk_cgroup_path(const struct sock *sk, char *to, size_t room)
{
	return -EOPNOTSUPP;
}

int acceltcp_cgroup_root(char *to, size_t room)
{
	return strscpy(to, "/", room) < 0 ? -EINVAL : 0;
}

int acceltcp_cgroup_exists(const char *path)
{
	return -ENOENT;
}
#endif

/* Number of the device with this name, or with this alternative one. */
u32 acceltcp_dev_named(const struct net *net, const char *name)
{
	struct net_device *dev;
	u32 ifindex = 0;

	rcu_read_lock();
	dev = dev_get_by_name_rcu((struct net *)net, name);
	if (dev)
		ifindex = READ_ONCE(dev->ifindex);
	rcu_read_unlock();
	return ifindex;
}

static acceltcp_renamed_t acceltcp_renamed;

static int acceltcp_names_change(struct notifier_block *block,
				 unsigned long event, void *info)
{
	if (event == NETDEV_REGISTER || event == NETDEV_CHANGENAME)
		acceltcp_renamed(dev_net(netdev_notifier_info_to_dev(info)));
	return NOTIFY_DONE;
}

static struct notifier_block acceltcp_names = {
	.notifier_call = acceltcp_names_change,
};

/* One at a time. */
int acceltcp_watch_names(acceltcp_renamed_t func)
{
	acceltcp_renamed = func;
	return register_netdevice_notifier(&acceltcp_names);
}

void acceltcp_unwatch_names(void)
{
	unregister_netdevice_notifier(&acceltcp_names);
}
