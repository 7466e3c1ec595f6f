// SPDX-License-Identifier: GPL-2.0
/*
 * See ulp.h.
 *
 * A child is a copy of a listening socket that a softirq makes, in an RCU read
 * section and without the listener's lock: first sk_prot is read
 * (sk_prot_creator of the child), then the listener is copied from its beginning
 * on, with sk_prot and then the ULP's operations and data. So a socket that
 * listens, or did (SOCK_RCU_FREE), changes these in steps, a grace period apart:
 *
 *	put on		data and ULP; grace period; sk_prot
 *	take off	sk_prot; grace period; ULP and data; grace period
 *
 * and a child with our sk_prot has the ULP, too. Behind the last grace period no
 * reader takes the data of another ULP for ours. When a listener dies, the TCP
 * stack takes the ULP off by itself: sk_prot stays until a grace period later. A
 * child without the ULP that was copied in between is made of a socket that does
 * not listen any more; the TCP stack ends it within the same RCU read section, by
 * way of unhash(), which gives it the protocol of the others.
 */

#include "bindings.h"
#include "ulp.h"
#include <linux/sched/signal.h>
#include <net/inet_hashtables.h>
#include <net/net_namespace.h>

static bool acceltcp_has_listened(const struct sock *sk)
{
	return sock_flag(sk, SOCK_RCU_FREE);
}

static void acceltcp_grace_period(bool expedite)
{
	if (expedite)
		synchronize_rcu_expedited();
	else
		synchronize_rcu();
}

/* Also without the lock. */
const struct tcp_ulp_ops *acceltcp_ulp_ops(const struct sock *sk)
{
	return READ_ONCE(inet_csk(sk)->icsk_ulp_ops);
}

void *acceltcp_ulp_data(const struct sock *sk)
{
	return rcu_dereference_protected(inet_csk(sk)->icsk_ulp_data,
					 lockdep_sock_is_held(sk));
}

/* Where nobody else changes it: of a child that nobody knows yet, or of a dead socket. */
void *acceltcp_ulp_raw_data(const struct sock *sk)
{
	return rcu_dereference_raw(inet_csk(sk)->icsk_ulp_data);
}

/* The data before may be in use until a grace period later. */
void acceltcp_ulp_set_data(struct sock *sk, void *data)
{
	rcu_assign_pointer(inet_csk(sk)->icsk_ulp_data, data);
}

/*
 * The data of the ULP @ops, in an RCU read section and without the lock; NULL if
 * @sk has none. Another ULP sets its data behind the end of this one
 * (rcu_assign_pointer()), and goes with the socket only: with its data this would
 * see that end, too.
 */
void *acceltcp_ulp_peek(const struct sock *sk, const struct tcp_ulp_ops *ops)
{
	void *data = rcu_dereference(inet_csk(sk)->icsk_ulp_data);

	smp_rmb();
	return acceltcp_ulp_ops(sk) == ops ? data : NULL;
}

/*
 * False, and nothing has changed, when @sk has a ULP or another protocol. Sleeps
 * if @sk listens or has listened; @expedite makes that short.
 */
bool acceltcp_ulp_put_on(struct sock *sk, const struct proto *base,
			 struct proto *to, const struct tcp_ulp_ops *ops,
			 void *data, bool expedite)
{
	struct inet_connection_sock *icsk = inet_csk(sk);

	/* Only who has the lock changes them. */
	if (icsk->icsk_ulp_ops || sk->sk_prot != base)
		return false;
	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(icsk->icsk_ulp_data, data);
	WRITE_ONCE(icsk->icsk_ulp_ops, ops);
	write_unlock_bh(&sk->sk_callback_lock);
	if (acceltcp_has_listened(sk))
		acceltcp_grace_period(expedite);
	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_prot, to);
	write_unlock_bh(&sk->sk_callback_lock);
	/* __tcp_set_ulp() takes it away from every socket with a ULP. */
	if (sk->sk_socket)
		set_bit(SOCK_SUPPORT_ZC, &sk->sk_socket->flags);
	return true;
}

/* The contrary. Returns the data. */
void *acceltcp_ulp_take_off(struct sock *sk, struct proto *base, bool expedite)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	void *data = acceltcp_ulp_data(sk);

	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_prot, base);
	write_unlock_bh(&sk->sk_callback_lock);
	if (acceltcp_has_listened(sk))
		acceltcp_grace_period(expedite);
	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(icsk->icsk_ulp_ops, NULL);
	RCU_INIT_POINTER(icsk->icsk_ulp_data, NULL);
	write_unlock_bh(&sk->sk_callback_lock);
	if (acceltcp_has_listened(sk))
		acceltcp_grace_period(expedite);
	return data;
}

static struct proto *acceltcp_base_of(const struct sock *sk)
{
	return sk->sk_family == AF_INET6 ? &tcpv6_prot : &tcp_prot;
}

static void acceltcp_ulp_released(struct rcu_head *head)
{
	struct sock *sk = container_of(head, struct sock, sk_rcu);

	WRITE_ONCE(sk->sk_prot, acceltcp_base_of(sk));
	sock_put(sk);
}

/*
 * Any context, @sk is dead. Returns the data. sk_rcu is not in use before the
 * last reference is gone, and ours goes when the callback has it back.
 */
void *acceltcp_ulp_release(struct sock *sk, struct proto *base)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	void *data = acceltcp_ulp_raw_data(sk);

	write_lock_bh(&sk->sk_callback_lock);
	if (!acceltcp_has_listened(sk))
		WRITE_ONCE(sk->sk_prot, base);
	RCU_INIT_POINTER(icsk->icsk_ulp_data, NULL);
	write_unlock_bh(&sk->sk_callback_lock);
	if (acceltcp_has_listened(sk)) {
		sock_hold(sk);
		call_rcu(&sk->sk_rcu, acceltcp_ulp_released);
	}
	return data;
}

/* The memory of @child is the base protocol's, see also inet_twsk_alloc(). */
void acceltcp_ulp_inherit(struct sock *child, struct proto *to,
			  struct proto *base)
{
	WRITE_ONCE(child->sk_prot, to);
	child->sk_prot_creator = base;
}

/* Leaves @child, which nobody else knows (yet, or any more), without the ULP. */
void acceltcp_ulp_strip(struct sock *child, struct proto *base)
{
	acceltcp_ulp_inherit(child, base, base);
	WRITE_ONCE(inet_csk(child)->icsk_ulp_ops, NULL);
	RCU_INIT_POINTER(inet_csk(child)->icsk_ulp_data, NULL);
}

/* As TCP_QUICKACK 0: an acknowledgement waits for an answer, within limits. */
void acceltcp_child_answers(struct sock *child)
{
	inet_csk_enter_pingpong_mode(child);
}

/*
 * Whether a device has verified the handshake of @req: the flag is set for
 * handshakes that were not the stack's, and not for its own SYN cookies.
 */
bool acceltcp_reqsk_is_verified(const struct request_sock *req)
{
	return req->syncookie;
}

/* Also without the lock. */
struct proto *acceltcp_prot(const struct sock *sk)
{
	return READ_ONCE(sk->sk_prot);
}

/* Other operations, of the same base. */
bool acceltcp_prot_change(struct sock *sk, const struct proto *from,
			  struct proto *to)
{
	bool changed = false;

	write_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_prot == from) {
		WRITE_ONCE(sk->sk_prot, to);
		changed = true;
	}
	write_unlock_bh(&sk->sk_callback_lock);
	return changed;
}

static void acceltcp_forget_in(struct inet_hashinfo *hashinfo,
			       const struct proto *copies, unsigned int count)
{
	unsigned int slot;

	for (slot = 0; slot <= hashinfo->ehash_mask; slot++) {
		struct inet_ehash_bucket *head = &hashinfo->ehash[slot];
		spinlock_t *lock = inet_ehash_lockp(hashinfo, slot);
		const struct hlist_nulls_node *node;
		struct sock *sk;

		if (hlist_nulls_empty(&head->chain))
			continue;
		spin_lock_bh(lock);
		sk_nulls_for_each(sk, node, &head->chain)
			if (sk->sk_state == TCP_NEW_SYN_RECV &&
			    sk->sk_prot >= copies &&
			    sk->sk_prot < copies + count)
				WRITE_ONCE(sk->sk_prot, acceltcp_base_of(sk));
		spin_unlock_bh(lock);
		cond_resched();
	}
}

/*
 * Requests have the sk_prot of the listener that they were made for, and keep
 * neither it nor the module. When no socket has one of the @count @copies any
 * more, this takes them from the requests, too (process context).
 */
void acceltcp_prot_forget(const struct proto *copies, unsigned int count)
{
	struct inet_hashinfo *shared = init_net.ipv4.tcp_death_row.hashinfo;
	struct inet_hashinfo *own;
	struct net *net;

	acceltcp_forget_in(shared, copies, count);
	down_read(&net_rwsem);
	for_each_net(net) {
		/* See the sysctl net.ipv4.tcp_child_ehash_entries. */
		own = net->ipv4.tcp_death_row.hashinfo;
		if (own && own != shared)
			acceltcp_forget_in(own, copies, count);
	}
	up_read(&net_rwsem);
}

/* Copies what setsockopt(TCP_ULP) was given, as do_tcp_setsockopt() does. */
int acceltcp_ulp_name(char *name, sockptr_t value, unsigned int len)
{
	long copied;

	if (len < 1)
		return -EINVAL;
	copied = strncpy_from_sockptr(name, value,
				      min_t(long, TCP_ULP_NAME_MAX - 1, len));
	if (copied < 0)
		return -EFAULT;
	name[copied] = 0;
	return 0;
}

/* setsockopt(TCP_ULP) of @base, for a @name in the kernel (not locked). */
int acceltcp_set_ulp(const struct proto *base, struct sock *sk, char *name)
{
	return base->setsockopt(sk, SOL_TCP, TCP_ULP, KERNEL_SOCKPTR(name),
				strlen(name) + 1);
}

/* What getsockopt(TCP_ULP) has to tell, as do_tcp_getsockopt() does. */
int acceltcp_put_ulp_name(char __user *to, int __user *optlen,
			  const char *name)
{
	int len;

	if (get_user(len, optlen))
		return -EFAULT;
	if (len < 0)
		return -EINVAL;
	len = min(len, TCP_ULP_NAME_MAX);
	if (put_user(len, optlen) || copy_to_user(to, name, len))
		return -EFAULT;
	return 0;
}

/* Has the system call begin anew. */
int acceltcp_restart(void)
{
	restart_syscall();
	/* As callers in the kernel know it. */
	return -ERESTARTSYS;
}
