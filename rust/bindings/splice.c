// SPDX-License-Identifier: GPL-2.0
/*
 * See splice.h. A spliced socket is established, but out of the table of
 * connections, without timers and data. A CPU that has found it before may give it
 * a frame yet: what comes of that is thrown away in the end, and the card lets
 * nothing out that the host says of the connection.
 *
 * Locks: two sockets are locked in the order of their addresses; the tables of local
 * ports within, that by ports before that by ports and addresses.
 */

#include "bindings.h"
#include <linux/file.h>
#include <linux/net.h>
#include <linux/ipv6.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>

/* The socket behind @fd, with a reference. */
struct socket *acceltcp_socket_of(int fd, int *err)
{
	return sockfd_lookup(fd, err);
}

void acceltcp_socket_put(struct socket *socket)
{
	sockfd_put(socket);
}

/* NULL when it is none of TCP. */
struct sock *acceltcp_tcp_sock(const struct socket *socket)
{
	struct sock *sk = socket->sk;

	return sk && sk_is_tcp(sk) && sk_fullsock(sk) ? sk : NULL;
}

void acceltcp_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

void acceltcp_sock_put(struct sock *sk)
{
	sock_put(sk);
}

void acceltcp_lock_two(struct sock *a, struct sock *b)
{
	if (a > b)
		swap(a, b);
	lock_sock(a);
	lock_sock_nested(b, SINGLE_DEPTH_NESTING);
}

void acceltcp_release_two(struct sock *a, struct sock *b)
{
	release_sock(a);
	release_sock(b);
}

/* Bytes that are passed on at a time: what a card takes over. */
#define ACCELTCP_MOVE_MOST	SZ_64K

/*
 * Passes on what @from has received, as far as @to takes it (neither locked; their
 * files are held). 0 when nothing is left, -EAGAIN when @to has no room or when there
 * is ever more.
 */
int acceltcp_splice_move(struct sock *from, struct sock *to, void *buffer,
			 size_t size)
{
	struct msghdr in, out;
	struct kvec vec;
	u32 moved = 0;
	int got, sent;

	/* What is peeked at must be what is taken then. */
	if (READ_ONCE(from->sk_peek_off) >= 0)
		return -EOPNOTSUPP;
	while (moved < ACCELTCP_MOVE_MOST) {
		/* Peeked at first: it must not be lost if @to does not take it. */
		vec = (struct kvec){ .iov_base = buffer, .iov_len = size };
		in = (struct msghdr){};
		got = kernel_recvmsg(from->sk_socket, &in, &vec, 1, size,
				     MSG_PEEK | MSG_DONTWAIT);
		if (got == -EAGAIN)
			return 0;
		if (got < 0)
			return got;
		/* The peer has closed. */
		if (!got)
			return -EBUSY;
		vec = (struct kvec){ .iov_base = buffer, .iov_len = got };
		out = (struct msghdr){ .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
		sent = kernel_sendmsg(to->sk_socket, &out, &vec, 1, got);
		if (sent < 0)
			return sent;
		vec = (struct kvec){ .iov_base = buffer, .iov_len = sent };
		in = (struct msghdr){};
		got = kernel_recvmsg(from->sk_socket, &in, &vec, 1, sent,
				     MSG_TRUNC | MSG_DONTWAIT);
		if (got != sent)
			return got < 0 ? got : -EBUSY;
		moved += sent;
	}
	return -EAGAIN;
}

/* Waits a moment for peers. False when a signal is pending. */
bool acceltcp_pause(void)
{
	schedule_timeout_interruptible(1);
	return !signal_pending(current);
}

/* Puts the frame @from behind the one of @to, both linear. */
bool acceltcp_append(struct sk_buff *to, const struct sk_buff *from)
{
	if (skb_is_nonlinear(to) || skb_is_nonlinear(from) ||
	    skb_tailroom(to) < from->len)
		return false;
	skb_put_data(to, from->data, from->len);
	return true;
}

static void acceltcp_purge_tree(struct rb_root *root)
{
	struct rb_node *node;

	while ((node = rb_first(root))) {
		rb_erase(node, root);
		kfree_skb(rb_to_skb(node));
	}
}

static void acceltcp_purge_received(struct sock *sk)
{
	skb_queue_purge(&sk->sk_receive_queue);
	acceltcp_purge_tree(&tcp_sk(sk)->out_of_order_queue);
}

/* As tcp_set_ca_state(). */
static void acceltcp_open_window(struct inet_connection_sock *icsk)
{
	if (icsk->icsk_ca_ops->set_state)
		icsk->icsk_ca_ops->set_state(&icsk->icsk_inet.sk, TCP_CA_Open);
	icsk->icsk_ca_state = TCP_CA_Open;
}

/* As tcp_write_queue_purge(). */
static void acceltcp_purge_sent(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb;
	struct rb_node *node;

	while ((skb = __skb_dequeue(&sk->sk_write_queue))) {
		tcp_skb_tsorted_anchor_cleanup(skb);
		tcp_wmem_free_skb(sk, skb);
	}
	tp->highest_sack = NULL;
	while ((node = rb_first(&sk->tcp_rtx_queue))) {
		skb = rb_to_skb(node);
		tcp_rtx_queue_unlink(skb, sk);
		tcp_wmem_free_skb(sk, skb);
	}
	INIT_LIST_HEAD(&tp->tsorted_sent_queue);
	tcp_clear_all_retrans_hints(tp);
	tp->packets_out = 0;
	tp->sacked_out = 0;
	tp->lost_out = 0;
	tp->retrans_out = 0;
	tp->undo_marker = 0;
	tp->undo_retrans = -1;
	tp->tlp_high_seq = 0;
	inet_csk(sk)->icsk_backoff = 0;
	WRITE_ONCE(inet_csk(sk)->icsk_probes_out, 0);
	inet_csk(sk)->icsk_retransmits = 0;
	acceltcp_open_window(inet_csk(sk));
}

/*
 * As tcp_clear_xmit_timers(), in process context with the socket locked. The
 * keepalive timer's handler starts its timer again when it finds the socket
 * locked, so one that runs on another CPU is waited for: it takes the spinlock
 * of the socket, which is not held here. The other handlers leave their work to
 * release_sock(), where they find nothing pending.
 */
void acceltcp_stop_timers(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);

	if (hrtimer_try_to_cancel(&tp->pacing_timer) == 1)
		__sock_put(sk);
	if (hrtimer_try_to_cancel(&tp->compressed_ack_timer) == 1)
		__sock_put(sk);
	smp_store_release(&icsk->icsk_pending, 0);
	smp_store_release(&icsk->icsk_ack.pending, 0);
	sk_stop_timer(sk, &sk->tcp_retransmit_timer);
	sk_stop_timer(sk, &icsk->icsk_delack_timer);
	sk_stop_timer_sync(sk, &icsk->icsk_keepalive_timer);
}

/*
 * connect() takes a port for free if nothing in the table of connections goes from
 * there to the same peer. @sk leaves that table: its port becomes one that bind() has
 * given, which connect() leaves alone as long as @sk has it.
 */
static void acceltcp_keep_port(struct sock *sk)
{
	struct inet_hashinfo *hashinfo = tcp_get_hashinfo(sk);
	struct inet_bind2_bucket *bucket2;
	struct inet_bind_hashbucket *head;
	struct inet_bind_bucket *bucket;

	head = &hashinfo->bhash[inet_bhashfn(sock_net(sk),
					     inet_sk(sk)->inet_num,
					     hashinfo->bhash_size)];
	spin_lock_bh(&head->lock);
	bucket = inet_csk(sk)->icsk_bind_hash;
	bucket2 = inet_csk(sk)->icsk_bind2_hash;
	if (bucket && bucket2) {
		sk->sk_userlocks &= ~SOCK_CONNECT_BIND;
		bucket->fastreuse = max_t(int, bucket->fastreuse, 0);
		bucket->fastreuseport = max_t(int, bucket->fastreuseport, 0);
		bucket2->fastreuse = max_t(int, bucket2->fastreuse, 0);
		bucket2->fastreuseport = max_t(int, bucket2->fastreuseport, 0);
	}
	spin_unlock_bh(&head->lock);
}

/* As sk_is_connect_bind(). */
static bool acceltcp_is_connect_bind(const struct sock *sk)
{
	if (sk->sk_state == TCP_TIME_WAIT)
		return inet_twsk(sk)->tw_connect_bind;
	return sk->sk_userlocks & SOCK_CONNECT_BIND;
}

/*
 * Undoes acceltcp_keep_port() for @sk, whose port connect() had chosen and which
 * is in the table of connections again: others may share the port, if no socket
 * is left that bind() has given it, as after inet_put_port().
 */
static void acceltcp_share_port(struct sock *sk)
{
	struct inet_hashinfo *hashinfo = tcp_get_hashinfo(sk);
	struct inet_bind_hashbucket *head, *head2;
	u16 port = inet_sk(sk)->inet_num;
	struct inet_bind2_bucket *bucket2;
	struct inet_bind_bucket *bucket;
	const struct sock *other;

	head = &hashinfo->bhash[inet_bhashfn(sock_net(sk), port,
					     hashinfo->bhash_size)];
	head2 = inet_bhashfn_portaddr(hashinfo, sk, sock_net(sk), port);
	spin_lock_bh(&head->lock);
	spin_lock(&head2->lock);
	bucket = inet_csk(sk)->icsk_bind_hash;
	bucket2 = inet_csk(sk)->icsk_bind2_hash;
	if (!bucket || !bucket2)
		goto out;
	sk->sk_userlocks |= SOCK_CONNECT_BIND;
	sk_for_each_bound(other, &bucket2->owners)
		if (!acceltcp_is_connect_bind(other))
			goto out;
	bucket2->fastreuse = -1;
	bucket2->fastreuseport = -1;
	hlist_for_each_entry(bucket2, &bucket->bhash2, bhash_node)
		if (bucket2->fastreuse != -1 || bucket2->fastreuseport != -1)
			goto out;
	bucket->fastreuse = -1;
	bucket->fastreuseport = -1;
out:
	spin_unlock(&head2->lock);
	spin_unlock_bh(&head->lock);
}

/* Brings @sk, which a card has now, to rest. @late gets what waits behind the lock. */
void acceltcp_splice_freeze(struct sock *sk,
			    int (*late)(struct sock *sk, struct sk_buff *skb))
{
	struct tcp_sock *tp = tcp_sk(sk);

	acceltcp_keep_port(sk);
	sk->sk_prot->unhash(sk);
	acceltcp_purge_sent(sk);
	acceltcp_stop_timers(sk);
	tp->snd_una = tp->write_seq;
	WRITE_ONCE(tp->snd_nxt, tp->write_seq);
	sk->sk_backlog_rcv = late;
}

/* @sk, which was frozen, has operations again. Whether there is a connection still. */
static bool acceltcp_wake(struct sock *sk)
{
	sk->sk_backlog_rcv = sk->sk_prot->backlog_rcv;
	acceltcp_purge_received(sk);
	acceltcp_purge_sent(sk);
	acceltcp_stop_timers(sk);
	return sk->sk_state == TCP_ESTABLISHED;
}

/* Whether @other, of the same hash, has the addresses and ports of @sk. */
static bool acceltcp_has_place(const struct sock *other, const struct sock *sk)
{
	const __portpair ports = INET_COMBINED_PORTS(sk->sk_dport, sk->sk_num);
	const int dif = sk->sk_bound_dev_if;
	const struct net *net = sock_net(sk);

	INET_ADDR_COOKIE(cookie, sk->sk_daddr, sk->sk_rcv_saddr);

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr))
		return inet6_match(net, other, &sk->sk_v6_daddr,
				   &sk->sk_v6_rcv_saddr, ports, dif, 0);
#endif
	return inet_match(net, other, cookie, ports, dif, 0);
}

/*
 * Puts @sk back into the table of connections, unless another one has its
 * addresses and ports by now, as inet_ehash_nolisten() does. Its hash is known
 * from before.
 */
static bool acceltcp_rehash(struct sock *sk)
{
	struct inet_hashinfo *hashinfo = tcp_get_hashinfo(sk);
	struct inet_ehash_bucket *head = inet_ehash_bucket(hashinfo, sk->sk_hash);
	spinlock_t *lock = inet_ehash_lockp(hashinfo, sk->sk_hash);
	const struct hlist_nulls_node *node;
	bool free = true;
	struct sock *other;

	spin_lock_bh(lock);
	sk_nulls_for_each(other, node, &head->chain) {
		if (other->sk_hash != sk->sk_hash ||
		    !acceltcp_has_place(other, sk))
			continue;
		free = false;
		break;
	}
	if (free) {
		__sk_nulls_add_node_rcu(sk, &head->chain);
		sock_prot_inuse_add(sock_net(sk), sk->sk_prot, 1);
	}
	spin_unlock_bh(lock);
	return free;
}

/*
 * Makes @sk (locked), which was frozen, a connection of the host. Fails when
 * another one has its place; then it is as acceltcp_splice_finish() leaves it.
 */
int acceltcp_splice_thaw(struct sock *sk, const struct acceltcp_returned *now)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 clock;

	if (!acceltcp_wake(sk))
		return -ENOTCONN;
	/* What comes in from here on waits for the lock. */
	if (!acceltcp_rehash(sk)) {
		acceltcp_splice_finish(sk, ECONNABORTED, 0, 0);
		return -EADDRINUSE;
	}
	if (now->connect_bind)
		acceltcp_share_port(sk);
	tp->bytes_acked += now->snd_nxt - tp->snd_una;
	tp->bytes_received += now->rcv_nxt - tp->copied_seq;
	tp->snd_una = now->snd_nxt;
	WRITE_ONCE(tp->snd_nxt, now->snd_nxt);
	WRITE_ONCE(tp->write_seq, now->snd_nxt);
	tp->pushed_seq = now->snd_nxt;
	tp->snd_sml = now->snd_nxt;
	tp->snd_up = now->snd_nxt;
	/* No window is larger. */
	tp->snd_wnd = min_t(u32, now->snd_wnd, U16_MAX << TCP_MAX_WSCALE);
	tp->snd_wl1 = now->rcv_nxt - 1;
	tp->max_window = max(tp->max_window, tp->snd_wnd);
	WRITE_ONCE(tp->rcv_nxt, now->rcv_nxt);
	WRITE_ONCE(tp->copied_seq, now->rcv_nxt);
	tp->rcv_wup = now->rcv_nxt;
	tp->rcv_mwnd_seq = tp->rcv_wup + tp->rcv_wnd;
	tp->rcv_rtt_est.seq = now->rcv_nxt;
	tp->rcvq_space.seq = now->rcv_nxt;
	tp->pred_flags = 0;
	tp->rcv_tstamp = tcp_jiffies32;
	tp->lsndtime = tcp_jiffies32;
	if (tp->rx_opt.tstamp_ok) {
		tp->rx_opt.ts_recent = now->ts_recent;
		tp->rx_opt.ts_recent_stamp = ktime_get_seconds();
		/* The clock of the other connection may have been ahead of ours. */
		clock = tcp_ns_to_ts(false, tcp_clock_ns()) + tp->tsoffset;
		if (!after(clock, now->ts_sent))
			tp->tsoffset += now->ts_sent - clock + 1;
	}
	/* What was known of the path is old. */
	tp->srtt_us = 0;
	tp->mdev_us = jiffies_to_usecs(TCP_TIMEOUT_INIT);
	tp->rcv_rtt_last_tsecr = 0;
	inet_csk(sk)->icsk_rto = TCP_TIMEOUT_INIT;
	if (sock_flag(sk, SOCK_KEEPOPEN))
		sk_reset_timer(sk, &inet_csk(sk)->icsk_keepalive_timer,
			       jiffies + keepalive_time_when(tp));
	/* The window that the peer knows is the other peer's. */
	__tcp_send_ack(sk, tp->rcv_nxt, 0);
	/* It can be written to again. */
	sk->sk_write_space(sk);
	return 0;
}

/* Ends @sk (locked), which was frozen, as tcp_done() does; @err is 0 for EOF. */
void acceltcp_splice_finish(struct sock *sk, int err, u64 received, u64 sent)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (!acceltcp_wake(sk))
		return;
	tp->bytes_received += received;
	tp->bytes_acked += sent;
	WRITE_ONCE(tp->copied_seq, tp->rcv_nxt);
	TCP_DEC_STATS(sock_net(sk), TCP_MIB_CURRESTAB);
	sk->sk_prot->unhash(sk);
	if (inet_csk(sk)->icsk_bind_hash &&
	    !(sk->sk_userlocks & SOCK_BINDPORT_LOCK))
		sk->sk_prot->put_port(sk);
	inet_sk_set_state(sk, TCP_CLOSE);
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	if (err)
		WRITE_ONCE(sk->sk_err, err);
	else
		sock_set_flag(sk, SOCK_DONE);
	if (sock_flag(sk, SOCK_DEAD))
		return;
	sk->sk_state_change(sk);
	if (err)
		sk_error_report(sk);
}

/* Forgets what inet_shutdown(), which has the lock, has noted of @how. */
void acceltcp_undo_shutdown(struct sock *sk, int how)
{
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown & ~how);
}

/* Waits until the operations of @sk are not @spliced any more. */
int acceltcp_splice_wait(struct sock *sk, const struct proto *spliced,
			 int flags)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	long timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT);
	int err = 0;

	lock_sock(sk);
	add_wait_queue(sk_sleep(sk), &wait);
	while (READ_ONCE(sk->sk_prot) == spliced) {
		if (!timeo)
			err = -EAGAIN;
		else if (signal_pending(current))
			err = sock_intr_errno(timeo);
		if (err)
			break;
		sk_wait_event(sk, &timeo, READ_ONCE(sk->sk_prot) != spliced,
			      &wait);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	release_sock(sk);
	return err;
}
