// SPDX-License-Identifier: GPL-2.0
/*
 * See tcp.h. The request socket is made as bpf_sk_assign_tcp_reqsk() and
 * inet_reqsk_alloc() make it (net/core/filter.c, net/ipv4/tcp_input.c), which
 * modules cannot call.
 */

#include "bindings.h"
#include <linux/inetdevice.h>
#include <linux/random.h>
#include <net/addrconf.h>
#include <net/mptcp.h>

void acceltcp_listener_read(const struct sock *sk,
			    struct acceltcp_listener *to)
{
	const struct inet_sock *inet = inet_sk(sk);
	const struct tcp_sock *tp = tcp_sk(sk);
	const struct net *net = sock_net(sk);

	memset(to, 0, sizeof(*to));
	to->family = sk->sk_family;
	to->port = inet->inet_num;
	to->bound_dev_if = READ_ONCE(sk->sk_bound_dev_if);
	to->listening = sk->sk_state == TCP_LISTEN;
	to->mptcp = sk_is_mptcp(sk);
#ifdef CONFIG_TCP_MD5SIG
	to->authenticated |= rcu_access_pointer(tp->md5sig_info) != NULL;
#endif
#ifdef CONFIG_TCP_AO
	to->authenticated |= rcu_access_pointer(tp->ao_info) != NULL;
#endif
	to->defer = READ_ONCE(inet_csk(sk)->icsk_accept_queue.rskq_defer_accept) != 0;
	to->full_space = tcp_full_space(sk);
	to->window_clamped = READ_ONCE(tp->window_clamp) != 0 ||
			     (sk->sk_userlocks & SOCK_RCVBUF_LOCK);
	to->rmem_max = max_t(u32, READ_ONCE(net->ipv4.sysctl_tcp_rmem[2]),
			     READ_ONCE(sysctl_rmem_max));
	to->tos = READ_ONCE(inet->tos);
	to->sysctl_window_scaling = READ_ONCE(net->ipv4.sysctl_tcp_window_scaling);
	to->sysctl_sack = READ_ONCE(net->ipv4.sysctl_tcp_sack);
	to->sysctl_timestamps = READ_ONCE(net->ipv4.sysctl_tcp_timestamps);
	to->sysctl_syncookies = READ_ONCE(net->ipv4.sysctl_tcp_syncookies);
	to->sysctl_ecn = READ_ONCE(net->ipv4.sysctl_tcp_ecn) == 1 ||
			 READ_ONCE(net->ipv4.sysctl_tcp_ecn) == 2;
	to->ttl = READ_ONCE(inet->uc_ttl) >= 0 ? READ_ONCE(inet->uc_ttl) :
		  READ_ONCE(net->ipv4.sysctl_ip_default_ttl);
	to->forwarding = IPV4_DEVCONF_ALL_RO(net, FORWARDING);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		to->v6only = ipv6_only_sock(sk);
		to->any_address = ipv6_addr_any(&sk->sk_v6_rcv_saddr);
		memcpy(to->address, &sk->sk_v6_rcv_saddr, 16);
		to->forwarding |= READ_ONCE(net->ipv6.devconf_all->forwarding);
		to->tos = READ_ONCE(inet6_sk(sk)->tclass);
		return;
	}
#endif
	to->any_address = inet->inet_rcv_saddr == 0;
	memcpy(to->address, &inet->inet_rcv_saddr, 4);
}

void acceltcp_sk_ends(const struct sock *sk, struct acceltcp_ends *to)
{
	memset(to, 0, sizeof(*to));
	to->local_port = sk->sk_num;
	to->remote_port = ntohs(sk->sk_dport);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr)) {
		memcpy(to->local, &sk->sk_v6_rcv_saddr, 16);
		memcpy(to->remote, &sk->sk_v6_daddr, 16);
		return;
	}
#endif
	to->ipv4 = true;
	memcpy(to->local, &sk->sk_rcv_saddr, 4);
	memcpy(to->remote, &sk->sk_daddr, 4);
}

struct request_sock *acceltcp_reqsk_alloc(struct sock *listener, bool ipv4,
					  const struct acceltcp_reqsk_opts *opts)
{
	const struct request_sock_ops *ops;
	struct inet_request_sock *ireq;
	struct request_sock *req;

	ops = ipv4 ? tcp_prot.rsk_prot : tcpv6_prot.rsk_prot;
	req = kmem_cache_alloc(ops->slab, GFP_ATOMIC | __GFP_NOWARN);
	if (!req)
		return NULL;
	/* The slab is SLAB_TYPESAFE_BY_RCU: sock_common may still be walked. */
	memset((char *)req + sizeof(struct sock_common), 0,
	       ops->obj_size - sizeof(struct sock_common));
	req->rsk_ops = ops;
	/* The listener's may be the module's. */
	req_to_sk(req)->sk_prot = listener->sk_family == AF_INET6 ?
				  &tcpv6_prot : &tcp_prot;
	sk_node_init(&req_to_sk(req)->sk_node);
	sk_tx_queue_clear(req_to_sk(req));
	refcount_set(&req->rsk_refcnt, 0);
	ireq = inet_rsk(req);
	atomic64_set(&ireq->ir_cookie, 0);
	ireq->ireq_state = TCP_NEW_SYN_RECV;
	write_pnet(&ireq->ireq_net, sock_net(listener));
	ireq->ireq_family = listener->sk_family;

	/* No reference: the listener is looked up and used in one RCU section. */
	req->rsk_listener = listener;
	req->syncookie = 1;
	req->mss = opts->mss;
	req->ts_recent = opts->ts_recent;
	ireq->snd_wscale = opts->snd_wscale;
	ireq->rcv_wscale = opts->rcv_wscale;
	ireq->wscale_ok = opts->wscale_ok;
	ireq->sack_ok = opts->sack_ok;
	ireq->tstamp_ok = opts->tstamp_ok;
	ireq->ecn_ok = opts->ecn_ok;
	tcp_rsk(req)->req_usec_ts = false;
	tcp_rsk(req)->ts_off = opts->ts_off;
	return req;
}

/* From here on the TCP stack or sock_pfree() frees @req. */
void acceltcp_reqsk_attach(struct sk_buff *skb, struct request_sock *req)
{
	skb_orphan(skb);
	skb->sk = req_to_sk(req);
	skb->destructor = sock_pfree;
}

bool acceltcp_acceptq_is_full(const struct sock *sk)
{
	return sk_acceptq_is_full(sk);
}

u32 acceltcp_clock_ms(void)
{
	return tcp_ns_to_ts(false, tcp_clock_ns());
}

/* Of another clock, which is cheap to read. */
u32 acceltcp_coarse_ms(void)
{
	return jiffies_to_msecs(jiffies);
}

u16 acceltcp_sk_family(const struct sock *sk)
{
	return sk->sk_family;
}

u8 acceltcp_sk_state(const struct sock *sk)
{
	return inet_sk_state_load(sk);
}

bool acceltcp_sk_is_mptcp(const struct sock *sk)
{
	return sk_is_mptcp(sk);
}

bool acceltcp_sk_may_administer(const struct sock *sk)
{
	return sockopt_ns_capable(sock_net(sk)->user_ns, CAP_NET_ADMIN);
}

const struct net *acceltcp_sk_net(const struct sock *sk)
{
	return sock_net(sk);
}

void acceltcp_lock_sock(struct sock *sk)
{
	lock_sock(sk);
}

/*
 * lock_sock() without waiting. Returns false if @sk is locked, which may be by a
 * user, for as long as that user likes. Undone by release_sock().
 *
 * Context: process.
 */
bool acceltcp_trylock_sock(struct sock *sk)
{
	bool locked;

	spin_lock_bh(&sk->sk_lock.slock);
	locked = !sk->sk_lock.owned;
	if (locked)
		sk->sk_lock.owned = 1;
	spin_unlock_bh(&sk->sk_lock.slock);
	if (locked)
		mutex_acquire(&sk->sk_lock.dep_map, 0, 1, _RET_IP_);
	return locked;
}

int acceltcp_get_user_int(int *to, const char __user *from)
{
	return get_user(*to, (const int __user *)from);
}

/* Copies an option's value of @len bytes out, as getsockopt() wants it. */
int acceltcp_put_user(char __user *to, int __user *optlen, const void *from,
		      int len)
{
	int room;

	if (get_user(room, optlen))
		return -EFAULT;
	if (room < len)
		return -EINVAL;
	if (put_user(len, optlen) || copy_to_user(to, from, len))
		return -EFAULT;
	return 0;
}

const struct net *acceltcp_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

bool acceltcp_dev_is_registered(const struct net_device *dev)
{
	return dev->reg_state == NETREG_REGISTERED;
}

/*
 * Namespace and number of @dev, which the caller keeps alive; false unless it is
 * registered. Without the RTNL it may move as soon as this returns.
 */
bool acceltcp_dev_location(const struct net_device *dev,
			   const struct net **net, u32 *ifindex)
{
	if (READ_ONCE(dev->reg_state) != NETREG_REGISTERED)
		return false;
	*net = dev_net(dev);
	*ifindex = READ_ONCE(dev->ifindex);
	return true;
}

bool acceltcp_net_eq(const struct net *a, const struct net *b)
{
	return net_eq(a, b);
}

/* False when it is about to go. */
bool acceltcp_module_try_get(struct module *module)
{
	return try_module_get(module);
}

void acceltcp_random(void *to, size_t len)
{
	get_random_bytes(to, len);
}
