/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A write that waits a little for the end of its connection, so that both leave
 * in one frame.
 */
#ifndef ACCELTCP_HELD_H
#define ACCELTCP_HELD_H

#include <net/tcp.h>

/* What became of a write. */
enum acceltcp_write {
	ACCELTCP_WRITE_PASSED,		/* it left, as ever */
	ACCELTCP_WRITE_HELD,		/* it waits */
	ACCELTCP_WRITE_HELD_TOO,	/* it waits with an earlier one, as long as that */
};

bool acceltcp_write_begin(struct sock *sk, const struct msghdr *msg);
enum acceltcp_write acceltcp_write(struct sock *sk, struct msghdr *msg,
				   size_t size, u32 wait_ns, int *result);
bool acceltcp_is_held(struct sock *sk);
void acceltcp_let_go(struct sock *sk);

#endif
