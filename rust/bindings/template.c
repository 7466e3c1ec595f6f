// SPDX-License-Identifier: GPL-2.0
/*
 * The frame of a hand-over, see closing.h: headers like those of the next
 * segment, and all data that is not acknowledged.
 *
 * It goes through netfilter like any segment, so that rules hold, addresses are
 * translated and conntrack sees the FIN of one that closes, and past the egress
 * programs of the socket's cgroup, but around the queueing discipline.
 */

#include "bindings.h"
#include <linux/bpf-cgroup.h>
#include <linux/if_vlan.h>
#include <linux/netfilter_ipv6.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/route.h>

/* Frames larger than this are worth it only if memory is at hand. */
#define ACCELTCP_SMALL	SZ_4K

/* Copies what @skb has of the stream from @seq on to its place behind @to. */
static bool acceltcp_copy(const struct sk_buff *skb, u32 seq, u8 *to, u32 len,
			  u32 *copied)
{
	u32 start = TCP_SKB_CB(skb)->seq, skip = 0, offset = 0, count;

	if (before(start, seq))
		skip = seq - start;
	else
		offset = start - seq;
	if (skip >= skb->len)
		return true;
	count = skb->len - skip;
	if (offset > len || count > len - offset || !skb_frags_readable(skb))
		return false;
	*copied += count;
	return !skb_copy_bits(skb, skip, to + offset, count);
}

/* Copies @len bytes of the stream from SND.UNA on. */
static bool acceltcp_copy_stream(struct sock *sk, u8 *to, u32 len)
{
	u32 una = tcp_sk(sk)->snd_una, copied = 0;
	const struct rb_node *node;
	const struct sk_buff *skb;

	for (node = rb_first(&sk->tcp_rtx_queue); node; node = rb_next(node))
		if (!acceltcp_copy(rb_to_skb(node), una, to, len, &copied))
			return false;
	skb_queue_walk(&sk->sk_write_queue, skb)
		if (!acceltcp_copy(skb, una, to, len, &copied))
			return false;
	return copied == len;
}

static void acceltcp_put_tcp(struct sock *sk, struct sk_buff *skb,
			     const struct acceltcp_closing *from)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	bool tstamp = tp->rx_opt.tstamp_ok;
	__be32 *option;
	struct tcphdr *th;

	skb_set_transport_header(skb, skb->len);
	th = skb_put_zero(skb, sizeof(*th));
	th->source = inet_sk(sk)->inet_sport;
	th->dest = inet_sk(sk)->inet_dport;
	th->seq = htonl(from->snd_una);
	th->ack_seq = htonl(from->rcv_nxt);
	th->doff = (sizeof(*th) + (tstamp ? TCPOLEN_TSTAMP_ALIGNED : 0)) / 4;
	th->ack = 1;
	th->fin = from->closes;
	th->window = htons(min_t(u32, from->rcv_wnd >> tp->rx_opt.rcv_wscale,
				 U16_MAX));
	if (!tstamp)
		return;
	option = skb_put(skb, TCPOLEN_TSTAMP_ALIGNED);
	option[0] = htonl((TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) |
			  (TCPOPT_TIMESTAMP << 8) | TCPOLEN_TIMESTAMP);
	option[1] = htonl(tcp_ns_to_ts(false, tcp_clock_ns()) + tp->tsoffset);
	option[2] = htonl(tp->rx_opt.ts_recent);
}

static void acceltcp_put_ipv4(struct sock *sk, struct sk_buff *skb,
			      const struct dst_entry *dst, u32 payload)
{
	struct inet_sock *inet = inet_sk(sk);
	struct iphdr *iph;
	int ttl;

	ttl = READ_ONCE(inet->uc_ttl);
	iph = skb_put_zero(skb, sizeof(*iph));
	iph->version = 4;
	iph->ihl = sizeof(*iph) / 4;
	iph->tos = READ_ONCE(inet->tos) & ~INET_ECN_MASK;
	iph->tot_len = htons(sizeof(*iph) + payload);
	iph->id = htons(atomic_inc_return(&inet->inet_id));
	iph->frag_off = htons(IP_DF);
	iph->ttl = ttl < 0 ? ip4_dst_hoplimit(dst) : ttl;
	iph->protocol = IPPROTO_TCP;
	iph->saddr = inet->inet_saddr;
	iph->daddr = inet->inet_daddr;
	ip_send_check(iph);
	skb->protocol = htons(ETH_P_IP);
}

#if IS_ENABLED(CONFIG_IPV6)
static void acceltcp_put_ipv6(struct sock *sk, struct sk_buff *skb,
			      struct dst_entry *dst, u32 payload)
{
	const struct ipv6_pinfo *np = inet6_sk(sk);
	int limit = READ_ONCE(np->hop_limit);
	struct net *net = sock_net(sk);
	struct flowi6 fl6 = {};
	struct ipv6hdr *hdr;
	__be32 label;
	bool autolabel;

	fl6.flowi6_proto = IPPROTO_TCP;
	fl6.saddr = np->saddr;
	fl6.daddr = sk->sk_v6_daddr;
	fl6.fl6_sport = inet_sk(sk)->inet_sport;
	fl6.fl6_dport = inet_sk(sk)->inet_dport;
	skb_set_hash_from_sk(skb, sk);
	/* As ip6_autoflowlabel(). */
	autolabel = inet6_test_bit(AUTOFLOWLABEL_SET, sk) ?
		inet6_test_bit(AUTOFLOWLABEL, sk) : ip6_default_np_autolabel(net);
	label = ip6_make_flowlabel(net, skb, np->flow_label, autolabel, &fl6);
	hdr = skb_put_zero(skb, sizeof(*hdr));
	ip6_flow_hdr(hdr, np->tclass & ~INET_ECN_MASK, label);
	hdr->payload_len = htons(payload);
	hdr->nexthdr = IPPROTO_TCP;
	hdr->hop_limit = limit < 0 ? ip6_dst_hoplimit(dst) : limit;
	hdr->saddr = np->saddr;
	hdr->daddr = sk->sk_v6_daddr;
	skb->protocol = htons(ETH_P_IPV6);
}
#endif

/* A checksum that the card has to fill in, as NAT expects one. */
static void acceltcp_put_checksum(struct sk_buff *skb, bool ipv4, u32 payload)
{
	struct tcphdr *th = tcp_hdr(skb);

	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct tcphdr, check);
	if (ipv4)
		th->check = ~tcp_v4_check(payload, ip_hdr(skb)->saddr,
					  ip_hdr(skb)->daddr, 0);
#if IS_ENABLED(CONFIG_IPV6)
	else
		th->check = ~tcp_v6_check(payload, &ipv6_hdr(skb)->saddr,
					  &ipv6_hdr(skb)->daddr, 0);
#endif
}

/*
 * Somebody has kept the frame for a while: the host has closed since. This is not
 * called once the module is gone: each namespace of such a socket has a hook of
 * ours, and netfilter drops what is queued there when that is taken out.
 */
static int acceltcp_too_late(struct net *net, struct sock *sk,
			     struct sk_buff *skb)
{
	kfree_skb(skb);
	return 0;
}

/* False when the frame is gone. */
static bool acceltcp_filter(struct sock *sk, struct sk_buff *skb,
			    struct net_device *dev, bool ipv4)
{
	struct net *net = sock_net(sk);

	if (ipv4)
		return nf_hook(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, sk, skb,
			       NULL, dev, acceltcp_too_late) == 1 &&
		       nf_hook(NFPROTO_IPV4, NF_INET_POST_ROUTING, net, sk,
			       skb, NULL, dev, acceltcp_too_late) == 1;
#if IS_ENABLED(CONFIG_IPV6)
	return nf_hook(NFPROTO_IPV6, NF_INET_LOCAL_OUT, net, sk, skb, NULL,
		       dev, acceltcp_too_late) == 1 &&
	       nf_hook(NFPROTO_IPV6, NF_INET_POST_ROUTING, net, sk, skb, NULL,
		       dev, acceltcp_too_late) == 1;
#else
	return false;
#endif
}

/*
 * Takes the conntrack entry off @skb, with its reference; or NULL. It is for
 * acceltcp_conntrack_end() once the device owns the connection: the offload may
 * fail yet, and then the host goes on with the connection.
 */
struct nf_conntrack *acceltcp_take_conntrack(struct sk_buff *skb)
{
	struct nf_conntrack *nfct = skb_nfct(skb);

	skb_set_nfct(skb, 0);
	return nfct;
}

/* No other segment comes by conntrack: its entry is over soon, as after RST. */
void acceltcp_conntrack_end(struct nf_conntrack *nfct)
{
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	struct nf_conn *ct;

	if (!nfct)
		return;
	ct = container_of(nfct, struct nf_conn, ct_general);
	nf_ct_set_closing(nfct);
	if (!test_bit(IPS_FIXED_TIMEOUT_BIT, &ct->status))
		WRITE_ONCE(ct->timeout, nfct_time_stamp + 10 * HZ);
#endif
}

static struct neighbour *acceltcp_neighbour(struct sk_buff *skb,
					    const struct dst_entry *dst,
					    struct net_device *dev, bool ipv4)
{
	struct neighbour *neigh = NULL;
	bool v6gw;

	if (ipv4)
		return ip_neigh_for_gw((struct rtable *)dst, skb, &v6gw);
#if IS_ENABLED(CONFIG_IPV6)
	{
		const struct in6_addr *hop;

		hop = rt6_nexthop(dst_rt6_info(dst), &ipv6_hdr(skb)->daddr);
		neigh = __ipv6_neigh_lookup_noref(dev, hop);
		if (!neigh)
			neigh = __neigh_create(&nd_tbl, hop, dev, false);
	}
#endif
	return neigh;
}

static bool acceltcp_put_ethernet(struct sk_buff *skb,
				  const struct dst_entry *dst,
				  struct net_device *dev,
				  const struct acceltcp_closing *from)
{
	u8 address[MAX_ADDR_LEN];
	struct neighbour *neigh;
	__be16 *tag;
	int i;

	neigh = acceltcp_neighbour(skb, dst, dev, from->ipv4);
	if (IS_ERR_OR_NULL(neigh) || dev->addr_len != ETH_ALEN ||
	    neigh_event_send(neigh, NULL))
		return false;
	neigh_ha_snapshot(address, neigh, dev);
	tag = skb_push(skb, sizeof(*tag));
	*tag = skb->protocol;
	for (i = ARRAY_SIZE(from->vlans) - 1; i >= 0; i--) {
		if (!from->vlans[i][0])
			continue;
		tag = skb_push(skb, VLAN_HLEN);
		tag[0] = htons(from->vlans[i][0]);
		tag[1] = htons(from->vlans[i][1]);
	}
	ether_addr_copy(skb_push(skb, ETH_ALEN), dev->dev_addr);
	ether_addr_copy(skb_push(skb, ETH_ALEN), address);
	return true;
}

/* Has the frame filtered and gives it its way. Always takes it over. */
static enum acceltcp_stays acceltcp_send_off(struct sock *sk,
					     struct sk_buff *skb,
					     struct dst_entry *dst,
					     const struct acceltcp_closing *from)
{
	struct net_device *dev = dst_dev_rcu(dst);
	enum acceltcp_stays stays = ACCELTCP_STAYS_ROUTE;

	skb_dst_set_noref(skb, dst);
	skb->dev = dev;
	if (!acceltcp_filter(sk, skb, dev, from->ipv4))
		return ACCELTCP_STAYS_FILTERED;
	if (skb_dst(skb) != dst || skb->dev != dev)
		goto drop;
	/*
	 * As in ip_finish_output(). A program that wants the connection to slow
	 * down (NET_XMIT_CN) keeps it with the host, where it can.
	 */
	if (BPF_CGROUP_RUN_PROG_INET_EGRESS(sk, skb) != NET_XMIT_SUCCESS) {
		stays = ACCELTCP_STAYS_PROGRAM;
		goto drop;
	}
	if (!acceltcp_put_ethernet(skb, dst, dev, from)) {
		stays = ACCELTCP_STAYS_NEIGHBOUR;
		goto drop;
	}
	skb_dst_drop(skb);
	skb_orphan(skb);
	/* The card makes the checksums of what it sends. */
	skb->ip_summed = CHECKSUM_NONE;
	return ACCELTCP_STAYS_NOT;
drop:
	kfree_skb(skb);
	return stays;
}

/* Makes the frame, with @headroom bytes in front of it and @tailroom behind. */
enum acceltcp_stays acceltcp_closing_frame(struct sock *sk,
					   const struct acceltcp_closing *from,
					   unsigned int headroom,
					   unsigned int tailroom,
					   struct sk_buff **frame)
{
	enum acceltcp_stays stays = ACCELTCP_STAYS_ROUTE;
	u32 headers = ETH_HLEN + 2 * VLAN_HLEN;
	struct dst_entry *dst;
	struct sk_buff *skb;
	gfp_t gfp;
	u32 tcp;

	gfp = GFP_KERNEL | __GFP_NOWARN;
	if (from->len + tailroom > ACCELTCP_SMALL)
		gfp |= __GFP_NORETRY;
	tcp = sizeof(struct tcphdr) + from->len;
	if (tcp_sk(sk)->rx_opt.tstamp_ok)
		tcp += TCPOLEN_TSTAMP_ALIGNED;
	skb = alloc_skb(headroom + ACCELTCP_TEMPLATE_HEADERS + from->len +
			tailroom, gfp);
	if (!skb)
		return ACCELTCP_STAYS_NO_MEMORY;
	skb_reserve(skb, headroom + headers);

	rcu_read_lock();
	dst = __sk_dst_get(sk);
	if (!dst)
		goto drop;
	skb_reset_network_header(skb);
	if (from->ipv4)
		acceltcp_put_ipv4(sk, skb, dst, tcp);
#if IS_ENABLED(CONFIG_IPV6)
	else
		acceltcp_put_ipv6(sk, skb, dst, tcp);
#endif
	acceltcp_put_tcp(sk, skb, from);
	acceltcp_put_checksum(skb, from->ipv4, tcp);
	if (!acceltcp_copy_stream(sk, skb_put(skb, from->len), from->len)) {
		stays = ACCELTCP_STAYS_STATE;
		goto drop;
	}
	skb->priority = READ_ONCE(sk->sk_priority);
	skb->mark = READ_ONCE(sk->sk_mark);
	skb_set_queue_mapping(skb, max(sk_tx_queue_get(sk), 0));
	skb_set_owner_w(skb, sk);
	stays = acceltcp_send_off(sk, skb, dst, from);
	rcu_read_unlock();
	if (stays == ACCELTCP_STAYS_NOT)
		*frame = skb;
	return stays;
drop:
	rcu_read_unlock();
	kfree_skb(skb);
	return stays;
}
