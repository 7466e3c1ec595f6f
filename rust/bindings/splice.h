/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connections that a card joins: how the host's sockets come to rest, and what
 * becomes of them in the end. See closing.h for what a card needs to know.
 */
#ifndef ACCELTCP_SPLICE_H
#define ACCELTCP_SPLICE_H

#include <linux/skbuff.h>
#include <net/sock.h>

/* A connection that comes back, as it is now; see splice.rs of the ABI. */
struct acceltcp_returned {
	u32 snd_nxt;
	u32 rcv_nxt;
	u32 snd_wnd;
	u32 ts_recent;
	u32 ts_sent;
	bool connect_bind;	/* connect() had chosen its port */
};

struct socket *acceltcp_socket_of(int fd, int *err);
void acceltcp_socket_put(struct socket *socket);
struct sock *acceltcp_tcp_sock(const struct socket *socket);
void acceltcp_sock_hold(struct sock *sk);
void acceltcp_sock_put(struct sock *sk);
void acceltcp_lock_two(struct sock *a, struct sock *b);
void acceltcp_release_two(struct sock *a, struct sock *b);
int acceltcp_splice_move(struct sock *from, struct sock *to, void *buffer,
			 size_t size);
bool acceltcp_pause(void);
bool acceltcp_append(struct sk_buff *to, const struct sk_buff *from);
void acceltcp_stop_timers(struct sock *sk);
void acceltcp_splice_freeze(struct sock *sk,
			    int (*late)(struct sock *sk, struct sk_buff *skb));
int acceltcp_splice_thaw(struct sock *sk, const struct acceltcp_returned *now);
void acceltcp_splice_finish(struct sock *sk, int err, u64 received, u64 sent);
void acceltcp_undo_shutdown(struct sock *sk, int how);
int acceltcp_splice_wait(struct sock *sk, const struct proto *spliced,
			 int flags);

#endif
