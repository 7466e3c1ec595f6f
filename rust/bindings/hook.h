/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a netfilter hook must know before it gives a frame to the TCP stack: the
 * context that it runs in, and which hooks come behind it.
 */
#ifndef ACCELTCP_HOOK_H
#define ACCELTCP_HOOK_H

#include <linux/netfilter.h>
#include <net/net_namespace.h>

bool acceltcp_softirqs_disable(void);
bool acceltcp_hook_ends_rules(const struct net *net, u8 pf, const void *own);

#endif
