/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Listening sockets of applications that know nothing of offloads: to hear of
 * them, and to find those that are there.
 */
#ifndef ACCELTCP_LISTENING_H
#define ACCELTCP_LISTENING_H

#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

/* Called with the socket locked, as it is about to listen; must not sleep. */
typedef void (*acceltcp_listens_t)(struct sock *sk);

int acceltcp_watch_listen(acceltcp_listens_t func);
void acceltcp_unwatch_listen(acceltcp_listens_t func);

u32 acceltcp_listeners(const struct net *net, struct sock **to, u32 room);

u32 acceltcp_sk_uid(const struct sock *sk);
bool acceltcp_sk_in_cgroup(const struct sock *sk, u64 id);

#endif
