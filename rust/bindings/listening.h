/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Listening sockets of applications that know nothing of offloads: to hear of
 * them, to find those that are there, and to know them by what rules of the policy
 * say.
 */
#ifndef ACCELTCP_LISTENING_H
#define ACCELTCP_LISTENING_H

#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "tcp.h"

/* Called with the socket locked, as it is about to listen; must not sleep. */
typedef void (*acceltcp_listens_t)(struct sock *sk);

int acceltcp_watch_listen(acceltcp_listens_t func);
void acceltcp_unwatch_listen(acceltcp_listens_t func);

/*
 * A listening socket of the kernel's hash table. The pointers are identifiers:
 * the objects may be gone.
 */
struct acceltcp_listen_entry {
	struct acceltcp_listener info;
	const void *sk;
	const void *group;	/* SO_REUSEPORT group, or NULL */
	const struct net *net;
	bool mptcp;
};

/* Bits of a bitmap of ports. */
#define ACCELTCP_PORTS	(1 << 16)

u32 acceltcp_dump_listeners(const u64 *ports,
			    struct acceltcp_listen_entry *to, u32 room);
u32 acceltcp_listeners(const struct net *net, struct sock **to, u32 room);

u32 acceltcp_sk_uid(const struct sock *sk);
int acceltcp_sk_cgroup_path(const struct sock *sk, char *to, size_t room);
int acceltcp_cgroup_root(char *to, size_t room);
int acceltcp_cgroup_exists(const char *path);

/* Called with the RTNL held. */
typedef void (*acceltcp_renamed_t)(struct net *net);

int acceltcp_watch_names(acceltcp_renamed_t func);
void acceltcp_unwatch_names(void);
u32 acceltcp_dev_named(const struct net *net, const char *name);

#endif
