// SPDX-License-Identifier: GPL-2.0
/*
 * See held.h.
 *
 * A write is held as if more were announced (MSG_MORE). What lets it go is the
 * timer that TCP paces by where no queueing discipline does: it transmits what
 * the connection may send, under the right locks, and the TCP stack takes it
 * away with the connection. Sockets that are paced by it do not hold anything.
 * A segment that comes in, another write that does not wait, and the end of the
 * stream let it go, too, as anything that waits for MSG_MORE.
 */

#include "bindings.h"

/* Flags that say nothing of when data is to leave. */
#define ACCELTCP_PLAIN_FLAGS \
	(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_SPLICE_PAGES)

/* Whether something waits for us; asked without the lock, a hint. */
bool acceltcp_is_held(struct sock *sk)
{
	return READ_ONCE(sk->sk_pacing_status) != SK_PACING_NEEDED &&
	       hrtimer_is_queued(&tcp_sk(sk)->pacing_timer);
}

/* Only the first answer of a connection waits. */
static bool acceltcp_may_wait(struct sock *sk, size_t size)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	u32 unsent = tp->write_seq - tp->snd_nxt;

	return (1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT) &&
	       READ_ONCE(sk->sk_pacing_status) != SK_PACING_NEEDED &&
	       !(tp->nonagle & TCP_NAGLE_CORK) && !tp->repair &&
	       !tp->packets_out && !tp->bytes_sent &&
	       (!unsent || acceltcp_is_held(sk)) &&
	       size && size < tp->mss_cache && unsent < tp->mss_cache - size;
}

/*
 * Lets go what is held, if anything is (socket not locked, process context). To
 * be called before a socket is corked, so that nothing is where the timer runs.
 */
void acceltcp_let_go(struct sock *sk)
{
	if (!acceltcp_is_held(sk))
		return;
	if (hrtimer_try_to_cancel(&tcp_sk(sk)->pacing_timer) == 1)
		sock_put(sk);
	/* Pushes, too. */
	tcp_sock_set_cork(sk, false);
}

static enum acceltcp_write acceltcp_hold(struct sock *sk, u32 wait_ns)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb = tcp_write_queue_tail(sk);

	/* The window may have been small enough to have it pushed. */
	if (!skb || tp->packets_out)
		return ACCELTCP_WRITE_PASSED;
	/* As tcp_mark_push(): the peer is to see no difference. */
	TCP_SKB_CB(skb)->tcp_flags |= TCPHDR_PSH;
	tp->pushed_seq = tp->write_seq;
	if (hrtimer_is_queued(&tp->pacing_timer))
		return ACCELTCP_WRITE_HELD_TOO;
	/* With a reference, as in tcp_pacing_check(). */
	sock_hold(sk);
	hrtimer_start(&tp->pacing_timer, ns_to_ktime(wait_ns),
		      HRTIMER_MODE_REL_PINNED_SOFT);
	return ACCELTCP_WRITE_HELD;
}

/*
 * Whether @msg may wait (socket not locked). What has been written before must not
 * wait for one that may not.
 */
bool acceltcp_write_begin(struct sock *sk, const struct msghdr *msg)
{
	if (!(msg->msg_flags & ~ACCELTCP_PLAIN_FLAGS) && !msg->msg_controllen)
		return true;
	acceltcp_let_go(sk);
	return false;
}

/*
 * tcp_sendmsg_locked() with a @result that waits up to @wait_ns for more, or
 * passes if that is 0, or if the data is not the small first answer of its
 * connection. May give up the lock for a while.
 */
enum acceltcp_write acceltcp_write(struct sock *sk, struct msghdr *msg,
				   size_t size, u32 wait_ns, int *result)
{
	if (!wait_ns || !acceltcp_may_wait(sk, size)) {
		*result = tcp_sendmsg_locked(sk, msg, size);
		return ACCELTCP_WRITE_PASSED;
	}
	msg->msg_flags |= MSG_MORE;
	*result = tcp_sendmsg_locked(sk, msg, size);
	msg->msg_flags &= ~MSG_MORE;
	return acceltcp_hold(sk, wait_ns);
}
