/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames that come to the host for a connection that a card has got since: they
 * are given back to the card.
 */
#ifndef ACCELTCP_LATE_H
#define ACCELTCP_LATE_H

#include <linux/skbuff.h>
#include <net/sock.h>

bool acceltcp_give_back(struct sk_buff *skb, const struct sock *sk,
			const void *mark, u8 mark_len);

#endif
