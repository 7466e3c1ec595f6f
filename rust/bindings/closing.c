// SPDX-License-Identifier: GPL-2.0
/* See closing.h. All functions want the socket locked by its process. */

#include "bindings.h"
#include <linux/bpf-cgroup.h>
#include <linux/if_vlan.h>
#include <linux/siphash.h>
#include <net/sch_generic.h>
#include <net/tcp_ecn.h>

/* As __tcp_close() looks for it. */
static bool acceltcp_has_unread(const struct sock *sk)
{
	const struct sk_buff *skb;
	u32 end_seq;

	skb_queue_walk(&sk->sk_receive_queue, skb) {
		end_seq = TCP_SKB_CB(skb)->end_seq;
		if (TCP_SKB_CB(skb)->tcp_flags & TCPHDR_FIN)
			end_seq--;
		if (after(end_seq, tcp_sk(sk)->copied_seq))
			return true;
	}
	return false;
}

static bool acceltcp_is_authenticated(const struct tcp_sock *tp)
{
	bool found = false;

#ifdef CONFIG_TCP_MD5SIG
	found |= rcu_access_pointer(tp->md5sig_info) != NULL;
#endif
#ifdef CONFIG_TCP_AO
	found |= rcu_access_pointer(tp->ao_info) != NULL;
#endif
	return found;
}

static bool acceltcp_has_ip_options(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 &&
	    rcu_access_pointer(inet6_sk(sk)->opt))
		return true;
#endif
	return rcu_access_pointer(inet_sk(sk)->inet_opt) != NULL;
}

/*
 * Whether BPF programs or filters see each segment of @sk: programs of its
 * cgroup, of either direction, and SO_ATTACH_FILTER. A device runs none of them.
 */
static bool acceltcp_has_programs(struct sock *sk)
{
	if (rcu_access_pointer(sk->sk_filter))
		return true;
#ifdef CONFIG_CGROUP_BPF
	return (cgroup_bpf_enabled(CGROUP_INET_INGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_INGRESS)) ||
	       (cgroup_bpf_enabled(CGROUP_INET_EGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_EGRESS));
#else
	return false;
#endif
}

static bool acceltcp_is_ipv4(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return ipv6_addr_v4mapped(&sk->sk_v6_daddr);
#endif
	return true;
}

/* One of no other connection at the same time, but for a small chance. */
u64 acceltcp_key(const struct net *net, bool ipv4, const void *local,
		 __be16 lport, const void *remote, __be16 rport)
{
	u64 ports = (u64)(__force u16)lport << 16 | (__force u16)rport;
	static siphash_aligned_key_t secret;
	struct {
		u64 net;
		u64 ports;
		u8 local[16];
		u8 remote[16];
	} __aligned(SIPHASH_ALIGNMENT) tuple;

	net_get_random_once(&secret, sizeof(secret));
	if (ipv4)
		return siphash_3u64((unsigned long)net, ports,
				    (u64)*(const u32 *)local << 32 |
				    *(const u32 *)remote, &secret);
	tuple.net = (unsigned long)net;
	tuple.ports = ports;
	memcpy(tuple.local, local, sizeof(tuple.local));
	memcpy(tuple.remote, remote, sizeof(tuple.remote));
	return siphash(&tuple, sizeof(tuple), &secret);
}

static u64 acceltcp_key_of(const struct sock *sk, bool ipv4)
{
	const struct inet_sock *inet = inet_sk(sk);

#if IS_ENABLED(CONFIG_IPV6)
	if (!ipv4)
		return acceltcp_key(sock_net(sk), false, &sk->sk_v6_rcv_saddr,
				    inet->inet_sport, &sk->sk_v6_daddr,
				    inet->inet_dport);
#endif
	return acceltcp_key(sock_net(sk), true, &inet->inet_rcv_saddr,
			    inet->inet_sport, &inet->inet_daddr,
			    inet->inet_dport);
}

/* Where frames come out, behind VLAN devices. */
static bool acceltcp_find_dev(const struct sock *sk,
			      const struct dst_entry *dst,
			      struct acceltcp_closing *to)
{
	struct net_device *dev = dst_dev_rcu(dst);

	if (netif_is_l3_slave(dev))
		return false;
#if IS_ENABLED(CONFIG_VLAN_8021Q)
	if (is_vlan_dev(dev)) {
		const struct vlan_dev_priv *vlan;
		u16 found[2][2] = {};
		int count = 0, i;

		for (; is_vlan_dev(dev); dev = vlan->real_dev) {
			if (count == ARRAY_SIZE(found) || !netif_running(dev))
				return false;
			vlan = vlan_dev_priv(dev);
			found[count][0] = ntohs(vlan->vlan_proto);
			found[count++][1] = vlan->vlan_id |
				vlan_dev_get_egress_qos_mask(dev, READ_ONCE(sk->sk_priority));
		}
		for (i = 0; i < count; i++)
			memcpy(to->vlans[i], found[count - 1 - i], sizeof(found[0]));
	}
#endif
	to->dev = dev;
	to->ifindex = dev->ifindex;
	return true;
}

/*
 * The device behind VLAN devices (RCU read section). Not vlan_dev_real_dev(): the
 * module would need that of VLANs.
 */
const struct net_device *acceltcp_real_dev(const struct net_device *dev)
{
#if IS_ENABLED(CONFIG_VLAN_8021Q)
	while (dev && is_vlan_dev(dev))
		dev = vlan_dev_priv(dev)->real_dev;
#endif
	return dev;
}

/*
 * The device behind VLAN devices at which frames of @sk have come out lately, or
 * NULL if that is not known (not locked). It may be gone.
 */
const void *acceltcp_egress(const struct sock *sk)
{
	const struct net_device *dev = NULL;
	const struct dst_entry *dst;

	rcu_read_lock();
	dst = rcu_dereference(sk->sk_dst_cache);
	if (dst)
		dev = dst_dev_rcu(dst);
	dev = acceltcp_real_dev(dev);
	rcu_read_unlock();
	return dev;
}

/*
 * The device behind VLAN devices at which the last segment of @sk came in, as far
 * as that is known: of one that waited behind the lock it is not
 * (tcp_add_backlog()). It may be gone. NULL if it is not known of any. Any context.
 */
const void *acceltcp_ingress(const struct sock *sk)
{
	const struct net_device *dev;

	rcu_read_lock();
	dev = dev_get_by_index_rcu(sock_net(sk),
				   READ_ONCE(sk->sk_rx_dst_ifindex));
	dev = acceltcp_real_dev(dev);
	rcu_read_unlock();
	return dev;
}

/* What the peer of @sk has asked for (socket locked). */
enum acceltcp_request acceltcp_request_of(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	if (tp->data_segs_in > 1)
		return ACCELTCP_REQUEST_MORE;
	/* An answer that is held has not been sent. */
	if (tp->data_segs_in && (tp->data_segs_out || tp->write_seq != tp->snd_nxt))
		return ACCELTCP_REQUEST_ONE;
	return ACCELTCP_REQUEST_NONE;
}

/* Whether frames of @sk may be in a queue of @dev's, where others pass them. */
static bool acceltcp_is_queued(const struct sock *sk,
			       const struct net_device *dev)
{
	const struct netdev_queue *queue;
	struct Qdisc *qdisc;
	int index;

	/* Those on their way, and those that the card has not done with. */
	if (!sk_wmem_alloc_get(sk))
		return false;
	index = clamp_t(int, sk_tx_queue_get(sk), 0,
			READ_ONCE(dev->real_num_tx_queues) - 1);
	queue = netdev_get_tx_queue(dev, index);
	qdisc = rcu_dereference(queue->qdisc);
	return qdisc && (!qdisc_is_empty(qdisc) || qdisc_is_running(qdisc));
}

static enum acceltcp_stays acceltcp_route(struct sock *sk,
					  struct acceltcp_closing *to)
{
	enum acceltcp_stays stays = ACCELTCP_STAYS_ROUTE;
	const struct dst_entry *dst;
	const void *ingress;
	bool found;

	/* Routes anew if the route has gone. */
	if (inet_csk(sk)->icsk_af_ops->rebuild_header(sk))
		return stays;
	rcu_read_lock();
	dst = __sk_dst_get(sk);
	found = dst && !dst->lwtstate && !dst->error &&
#ifdef CONFIG_XFRM
		!dst->xfrm &&
#endif
		acceltcp_find_dev(sk, dst, to);
	ingress = acceltcp_ingress(sk);
	if (found && ingress && ingress != to->dev)
		/* The card would not see the peer's acknowledgements. */
		stays = ACCELTCP_STAYS_OTHER_PATH;
	else if (found && !netif_carrier_ok(to->dev))
		stays = ACCELTCP_STAYS_LINK;
	else if (found)
		stays = acceltcp_is_queued(sk, dst_dev_rcu(dst)) ||
			acceltcp_is_queued(sk, to->dev) ?
			ACCELTCP_STAYS_QUEUED : ACCELTCP_STAYS_NOT;
	rcu_read_unlock();
	return stays;
}

static bool acceltcp_state(const struct sock *sk, struct acceltcp_closing *to)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	bool fin = false;

	switch (sk->sk_state) {
	case TCP_ESTABLISHED:
		break;
	case TCP_CLOSE_WAIT:
		to->peer_fin = true;
		break;
	case TCP_FIN_WAIT1:
		fin = true;
		break;
	case TCP_FIN_WAIT2:
		fin = true;
		to->fin_acked = true;
		break;
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		fin = true;
		to->peer_fin = true;
		break;
	default:
		return false;
	}
	to->fin_sent = fin && tp->snd_nxt == tp->write_seq;
	to->closing = sk->sk_state == TCP_CLOSING && to->fin_sent;
	to->len = tp->write_seq - tp->snd_una;
	if (fin && !to->fin_acked)
		to->len--;
	return !to->fin_acked || to->len == 0;
}

static u32 acceltcp_ms(unsigned long jiffies_count)
{
	return clamp_t(u32, jiffies_to_msecs(jiffies_count), 1, 3600 * MSEC_PER_SEC);
}

/*
 * Has the device give up, as TCP_USER_TIMEOUT says, when data was not acknowledged
 * for so long, by the number of retransmissions that this takes: not before that
 * time, and before twice as long. As it does for a peer that answers the probes of
 * its closed window, once they do not get rarer.
 */
static void acceltcp_limit(const struct sock *sk, struct acceltcp_closing *to)
{
	u32 limit = READ_ONCE(inet_csk(sk)->icsk_user_timeout);
	u32 most = to->rto_max * 10, timeout = to->rto_ms, passed = 0;
	u64 sum = timeout;

	if (!limit)
		return;
	if (inet_csk(sk)->icsk_retransmits)
		passed = tcp_ns_to_ts(false, tcp_clock_ns()) -
			 tcp_sk(sk)->retrans_stamp;
	to->retries = 0;
	do {
		to->retries++;
		timeout = min(2 * timeout, most);
		sum += timeout;
	} while (passed + sum < limit && to->retries < U8_MAX);
	to->rto_max = clamp_t(u32, timeout / 10, 1, to->rto_max);
}

/* What splicing and closing need alike, of a connection whose state fits. */
static enum acceltcp_stays acceltcp_look(struct sock *sk,
					 struct acceltcp_closing *to)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	enum acceltcp_stays stays;

	if (!RB_EMPTY_ROOT(&tp->out_of_order_queue))
		return ACCELTCP_STAYS_OUT_OF_ORDER;
	if (acceltcp_is_authenticated(tp))
		return ACCELTCP_STAYS_AUTHENTICATED;
	if (tp->repair || tp->tcp_usec_ts || tcp_ecn_mode_accecn(tp) ||
	    sk_is_mptcp(sk) || acceltcp_has_ip_options(sk))
		return ACCELTCP_STAYS_OPTIONS;
	if (tp->snd_una != tp->snd_up)
		return ACCELTCP_STAYS_URGENT;
	stays = acceltcp_route(sk, to);
	if (stays != ACCELTCP_STAYS_NOT)
		return stays;

	to->ipv4 = acceltcp_is_ipv4(sk);
	to->key = acceltcp_key_of(sk, to->ipv4);
	to->rcv_isn = tp->rcv_nxt - (u32)tp->bytes_received - 1;
	to->snd_una = tp->snd_una;
	to->snd_nxt = tp->snd_nxt;
	to->snd_wnd = tp->snd_wnd;
	to->snd_wl1 = tp->snd_wl1;
	to->max_wnd = tp->max_window;
	to->rcv_nxt = tp->rcv_nxt;
	to->rcv_wnd = tcp_receive_window(tp);
	to->max_rcv_wnd = min_t(u32, tcp_max_receive_window(tp),
				U16_MAX << TCP_MAX_WSCALE);
	to->mss = clamp_t(u32, tp->mss_cache, 1, U16_MAX);
	to->cwnd = min_t(u64, (u64)tcp_snd_cwnd(tp) * to->mss, U32_MAX);
	to->rto_ms = acceltcp_ms(tp->srtt_us ? __tcp_set_rto(tp) :
				 TCP_TIMEOUT_INIT);
	to->rto_max = clamp_t(u32, jiffies_to_msecs(tcp_rto_max(sk)) / 10, 1,
			      TCP_RTO_MAX_SEC * 100);
	to->fin_wait_ms = acceltcp_ms(tcp_fin_time(sk));
	to->snd_wscale = tp->rx_opt.snd_wscale;
	to->ecn = tcp_ecn_mode_rfc3168(tp);
	return ACCELTCP_STAYS_NOT;
}

/* Whether @sk, which its owner closes, can be given away. Fills @to in if so. */
enum acceltcp_stays acceltcp_closing_look(struct sock *sk,
					  struct acceltcp_closing *to)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	struct net *net = sock_net(sk);
	enum acceltcp_stays stays;

	memset(to, 0, sizeof(*to));
	to->closes = true;
	/* What the peer has sent may change everything. */
	sk_flush_backlog(sk);
	if (!acceltcp_state(sk, to) || rcu_access_pointer(tp->fastopen_rsk) ||
	    !check_net(net))
		return ACCELTCP_STAYS_STATE;
	if (acceltcp_has_unread(sk))
		return ACCELTCP_STAYS_UNREAD;
	if (sock_flag(sk, SOCK_LINGER) || READ_ONCE(tp->linger2) < 0)
		return ACCELTCP_STAYS_LINGER;
	stays = acceltcp_look(sk, to);
	if (stays != ACCELTCP_STAYS_NOT)
		return stays;
	/* As tcp_orphan_retries() has it for a peer that answers. */
	to->retries = READ_ONCE(net->ipv4.sysctl_tcp_orphan_retries) ?: 8;
	acceltcp_limit(sk, to);
	to->ack_due = inet_csk_ack_scheduled(sk);
	to->held = !tp->packets_out && acceltcp_is_held(sk);
	/* The SYN may be among what is acknowledged. */
	to->first_answer = to->len && tp->bytes_acked <= 1 &&
		(!tp->bytes_sent || tcp_jiffies32 - tp->lsndtime <= 1);
	return ACCELTCP_STAYS_NOT;
}

/* Whether @sk can be joined with another connection. Fills @to in if so. */
enum acceltcp_stays acceltcp_splicing_look(struct sock *sk,
					   struct acceltcp_closing *to)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	struct net *net = sock_net(sk);
	enum acceltcp_stays stays;

	memset(to, 0, sizeof(*to));
	sk_flush_backlog(sk);
	if ((1 << sk->sk_state) & (TCPF_CLOSE_WAIT | TCPF_FIN_WAIT1 |
				   TCPF_FIN_WAIT2 | TCPF_CLOSING |
				   TCPF_LAST_ACK) ||
	    (sk->sk_state == TCP_ESTABLISHED && sk->sk_shutdown))
		return ACCELTCP_STAYS_SHUT;
	if (sk->sk_state != TCP_ESTABLISHED ||
	    rcu_access_pointer(tp->fastopen_rsk) || !check_net(net))
		return ACCELTCP_STAYS_STATE;
	if (acceltcp_has_unread(sk))
		return ACCELTCP_STAYS_UNREAD;
	if (acceltcp_has_programs(sk))
		return ACCELTCP_STAYS_PROGRAM;
	to->len = tp->write_seq - tp->snd_una;
	stays = acceltcp_look(sk, to);
	if (stays != ACCELTCP_STAYS_NOT)
		return stays;
	to->connect_bind = sk->sk_userlocks & SOCK_CONNECT_BIND;
	to->rcv_wscale = tp->rx_opt.rcv_wscale;
	to->wscale = tp->rx_opt.wscale_ok;
	to->sack = tcp_is_sack(tp);
	to->tstamp = tp->rx_opt.tstamp_ok;
	to->room = min_t(u32, tp->mss_cache + tp->tcp_header_len -
			 sizeof(struct tcphdr), U16_MAX);
	to->peer_room = tp->advmss;
	to->retries = clamp_t(int, READ_ONCE(net->ipv4.sysctl_tcp_retries2), 1,
			      U8_MAX);
	acceltcp_limit(sk, to);
	return ACCELTCP_STAYS_NOT;
}

/*
 * Ends @sk without a word to the peer. @late gets what waits behind the lock; the
 * stack would drop it without counting, as the socket is closed.
 */
void acceltcp_closing_forget(struct sock *sk, const struct proto *base,
			     int (*late)(struct sock *sk, struct sk_buff *skb))
{
	/* A reset is what tcp_set_state() takes it for. */
	if ((1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT))
		TCP_DEC_STATS(sock_net(sk), TCP_MIB_ESTABRESETS);
	tcp_sk(sk)->repair = 1;
	base->disconnect(sk, 0);
	/* Read only by who has the lock: us, until the socket is gone. */
	sk->sk_backlog_rcv = late;
}
