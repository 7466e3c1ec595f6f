// SPDX-License-Identifier: GPL-2.0
/*
 * To whom a frame belongs that ends a handshake on the card, see tcp.h.
 *
 * The card answers a SYN without knowing whether the host has a connection of
 * these addresses and ports. A stack without a card would challenge the client,
 * which would reset what is left of the old connection. Here the client has
 * gone on already, and takes a challenge for an old duplicate: the two would
 * disagree until one of them gives up. So the reset is made up for it.
 */

#include "bindings.h"
#include <linux/ipv6.h>
#include <net/inet6_hashtables.h>
#include <net/inet_timewait_sock.h>
#include <net/mptcp.h>
#include <net/protocol.h>
#include <net/sock_reuseport.h>

/* What is known of a frame. */
struct acceltcp_frame {
	struct sk_buff *skb;
	const struct net *net;
	bool ipv4;
	int thoff;
	struct tcphdr th;
	u32 rcv_isn;
	u32 snt_isn;
};

/* Finds the TCP header. */
static bool acceltcp_parse(struct acceltcp_frame *frame)
{
	struct sk_buff *skb = frame->skb;
	const struct tcphdr *th;
	struct tcphdr copy;
	__be16 frag_off;
	u8 nexthdr;

	if (frame->ipv4) {
		if (ip_hdr(skb)->protocol != IPPROTO_TCP ||
		    ip_is_fragment(ip_hdr(skb)))
			return false;
		frame->thoff = ip_hdrlen(skb);
	} else {
		nexthdr = ipv6_hdr(skb)->nexthdr;
		frame->thoff = ipv6_skip_exthdr(skb, sizeof(struct ipv6hdr),
						&nexthdr, &frag_off);
		if (frame->thoff < 0 || nexthdr != IPPROTO_TCP || frag_off)
			return false;
	}
	th = skb_header_pointer(skb, frame->thoff, sizeof(copy), &copy);
	if (!th)
		return false;
	frame->th = *th;
	return true;
}

/* A connection in TIME_WAIT makes way for a newer one (RFC 6191). */
static bool acceltcp_time_wait_yields(struct sock *sk, u32 isn,
				      const struct acceltcp_claim *claim)
{
	const struct tcp_timewait_sock *tw = tcp_twsk(sk);

	return after(isn, READ_ONCE(tw->tw_rcv_nxt)) ||
	       (claim->tstamp && READ_ONCE(tw->tw_ts_recent_stamp) &&
		(s32)(READ_ONCE(tw->tw_ts_recent) - claim->tsval) < 0);
}

/*
 * Whether the frame may be one of the connection @sk: it is when both came out
 * of the same handshake, and also when its numbers are near the connection's.
 * A segment of it that passes for a cookie by accident must not end it.
 */
static bool acceltcp_is_own(const struct sock *sk,
			    const struct acceltcp_frame *frame)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	u32 seq = ntohl(frame->th.seq), ack = ntohl(frame->th.ack_seq);
	u64 received = READ_ONCE(tp->bytes_received);
	u64 acked = READ_ONCE(tp->bytes_acked);
	u32 rcv_nxt, snd_una, in, out;

	smp_rmb();
	rcv_nxt = READ_ONCE(tp->rcv_nxt);
	snd_una = READ_ONCE(tp->snd_una);
	smp_rmb();
	/* It is alive when it changes just now. */
	if (sk->sk_state == TCP_SYN_SENT ||
	    received != READ_ONCE(tp->bytes_received) ||
	    acked != READ_ONCE(tp->bytes_acked))
		return true;
	if (rcv_nxt - (u32)received == frame->rcv_isn + 1 &&
	    snd_una - (u32)acked == frame->snt_isn + 1)
		return true;
	in = 2 * max_t(u32, READ_ONCE(tp->rcv_wnd), SZ_512K);
	out = 2 * max_t(u32, READ_ONCE(tp->max_window), SZ_512K);
	/* What was sent just now may be acknowledged before it is accounted for. */
	return between(seq, rcv_nxt - in, rcv_nxt + in) &&
	       between(ack, snd_una - out, READ_ONCE(tp->snd_nxt) + out);
}

/* The same for a handshake of the host's. */
static bool acceltcp_is_own_request(const struct sock *sk,
				    const struct acceltcp_frame *frame)
{
	const struct tcp_request_sock *treq = tcp_rsk(inet_reqsk(sk));

	return treq->rcv_isn == frame->rcv_isn &&
	       treq->snt_isn == frame->snt_isn;
}

/* Gives the TCP stack an RST as the client would have sent it. */
static void acceltcp_reset(const struct acceltcp_frame *frame, u32 seq)
{
	const struct inet6_protocol *v6;
	const struct net_protocol *v4;
	struct sk_buff *rst;
	struct tcphdr *th;

	rst = skb_copy(frame->skb, GFP_ATOMIC);
	if (!rst)
		return;
	skb_metadata_clear(rst);
	nf_reset_ct(rst);
	skb_trim(rst, frame->thoff + sizeof(*th));
	__skb_pull(rst, frame->thoff);
	skb_reset_transport_header(rst);
	th = tcp_hdr(rst);
	th->seq = htonl(seq);
	th->ack_seq = 0;
	tcp_flag_word(th) = TCP_FLAG_RST;
	th->doff = sizeof(*th) / 4;
	rst->ip_summed = CHECKSUM_UNNECESSARY;
	if (frame->ipv4) {
		v4 = rcu_dereference(inet_protos[IPPROTO_TCP]);
		v4->handler(rst);
	} else {
		v6 = rcu_dereference(inet6_protos[IPPROTO_TCP]);
		v6->handler(rst);
	}
}

static struct sock *acceltcp_established(const struct acceltcp_frame *frame)
{
	struct sk_buff *skb = frame->skb;

	if (frame->ipv4)
		return __inet_lookup_established(frame->net, ip_hdr(skb)->saddr,
						 frame->th.source,
						 ip_hdr(skb)->daddr,
						 ntohs(frame->th.dest),
						 inet_iif(skb), inet_sdif(skb));
	return __inet6_lookup_established(frame->net, &ipv6_hdr(skb)->saddr,
					  frame->th.source,
					  &ipv6_hdr(skb)->daddr,
					  ntohs(frame->th.dest),
					  inet6_iif(skb), inet6_sdif(skb));
}

static struct sock *acceltcp_listener(const struct acceltcp_frame *frame)
{
	struct sk_buff *skb = frame->skb;
	int doff = __tcp_hdrlen(&frame->th);
	struct sock *sk;

	/* Programs that choose among listeners expect the TCP header first. */
	__skb_pull(skb, frame->thoff);
	if (frame->ipv4)
		sk = __inet_lookup_listener(frame->net, skb, doff,
					    ip_hdr(skb)->saddr,
					    frame->th.source,
					    ip_hdr(skb)->daddr,
					    ntohs(frame->th.dest),
					    inet_iif(skb), inet_sdif(skb));
	else
		sk = inet6_lookup_listener(frame->net, skb, doff,
					   &ipv6_hdr(skb)->saddr,
					   frame->th.source,
					   &ipv6_hdr(skb)->daddr,
					   ntohs(frame->th.dest),
					   inet6_iif(skb), inet6_sdif(skb));
	__skb_push(skb, frame->thoff);
	return sk;
}

/*
 * Whether @sk can take a handshake that the card has verified. It needs no ULP:
 * the TCP stack creates the child as for a SYN cookie. A multipath TCP listener
 * needs the MPTCP options of the SYN, which the card has not kept.
 */
static bool acceltcp_is_eligible(const struct sock *sk)
{
	return inet_sk_state_load(sk) == TCP_LISTEN && !sk_is_mptcp(sk);
}

/*
 * Returns true if @sk and each member of its SO_REUSEPORT group can take the
 * handshake of @frame: whichever of them has the request socket, inet_steal_sock()
 * chooses among them again, by a hash that need not be that of the lookup before.
 * A multipath TCP listener would take the request socket for one of its own,
 * which is larger. Called in an RCU read section.
 */
static bool acceltcp_all_eligible(const struct sock *sk,
				  const struct acceltcp_frame *frame)
{
	const struct sock_reuseport *group;
	const struct sock *member;
	unsigned int count, i;

	/* cookie_v4_check() and cookie_v6_check() refuse the frame then. */
	if (!READ_ONCE(frame->net->ipv4.sysctl_tcp_syncookies))
		return false;
	if (!acceltcp_is_eligible(sk))
		return false;
	group = rcu_dereference(sk->sk_reuseport_cb);
	count = group ? READ_ONCE(group->num_socks) : 0;
	/* Pairs with smp_wmb() in __reuseport_add_sock(). */
	smp_rmb();
	for (i = 0; i < count; i++) {
		member = READ_ONCE(group->socks[i]);
		if (member && sk_is_mptcp(member))
			return false;
	}
	return true;
}

/*
 * Whether @sk, whose reference is given up, makes way for the frame's connection.
 * NONE says that it has; *@seq, where an RST is to be made up for that, is set.
 */
static enum acceltcp_owner acceltcp_yields(struct sock *sk,
					   const struct acceltcp_frame *frame,
					   const struct acceltcp_claim *claim,
					   bool *reset, u32 *seq)
{
	bool own;

	if (sk->sk_state == TCP_TIME_WAIT) {
		if (!acceltcp_time_wait_yields(sk, frame->rcv_isn, claim)) {
			inet_twsk_put(inet_twsk(sk));
			return ACCELTCP_OWNER_TIME_WAIT;
		}
		inet_twsk_deschedule_put(inet_twsk(sk));
		return ACCELTCP_OWNER_NONE;
	}
	if (sk->sk_state == TCP_NEW_SYN_RECV) {
		own = acceltcp_is_own_request(sk, frame);
		*seq = tcp_rsk(inet_reqsk(sk))->rcv_nxt;
	} else {
		own = acceltcp_is_own(sk, frame);
		*seq = READ_ONCE(tcp_sk(sk)->rcv_nxt);
	}
	sock_gen_put(sk);
	*reset = !own;
	return own ? ACCELTCP_OWNER_CONNECTION : ACCELTCP_OWNER_NONE;
}

/*
 * Finds out to whom a frame belongs that ends a handshake on the card, with
 * skb->data at the network header, in an RCU read section. The listener is not
 * referenced. *@replaced says whether an old connection was reset for it.
 */
enum acceltcp_owner acceltcp_owner_of(struct sk_buff *skb,
				      const struct net *net, bool ipv4,
				      const struct acceltcp_claim *claim,
				      struct sock **listener,
				      bool *replaced)
{
	struct acceltcp_frame frame = { .skb = skb, .net = net, .ipv4 = ipv4 };
	enum acceltcp_owner owner;
	struct sock *sk;
	u32 seq;

	*replaced = false;
	/* A program or rule has chosen the socket. */
	if (skb_sk_is_prefetched(skb))
		return ACCELTCP_OWNER_CONNECTION;
	if (!acceltcp_parse(&frame) || !frame.th.ack || frame.th.syn ||
	    frame.th.rst)
		return ACCELTCP_OWNER_MALFORMED;
	frame.rcv_isn = ntohl(frame.th.seq) - claim->skipped - 1;
	frame.snt_isn = ntohl(frame.th.ack_seq) - 1;

	sk = acceltcp_established(&frame);
	if (sk) {
		owner = acceltcp_yields(sk, &frame, claim, replaced, &seq);
		if (owner != ACCELTCP_OWNER_NONE)
			return owner;
	}
	/* Early demux may have found the connection. */
	skb_orphan(skb);
	if (*replaced) {
		acceltcp_reset(&frame, seq);
		sk = acceltcp_established(&frame);
		if (sk) {
			/* In use by its process, which will see the RST. */
			sock_gen_put(sk);
			*replaced = false;
			return ACCELTCP_OWNER_BUSY;
		}
	}
	sk = acceltcp_listener(&frame);
	if (!sk)
		return ACCELTCP_OWNER_NONE;
	if (!acceltcp_all_eligible(sk, &frame))
		return ACCELTCP_OWNER_INELIGIBLE;
	*listener = sk;
	return ACCELTCP_OWNER_LISTENER;
}

/* Of the connection that a frame belongs to, whose data starts at the network header. */
bool acceltcp_frame_ends(struct sk_buff *skb, bool ipv4,
			 struct acceltcp_ends *to)
{
	struct acceltcp_frame frame = { .skb = skb, .ipv4 = ipv4 };

	if (!acceltcp_parse(&frame))
		return false;
	memset(to, 0, sizeof(*to));
	to->ipv4 = ipv4;
	to->local_port = ntohs(frame.th.dest);
	to->remote_port = ntohs(frame.th.source);
	if (ipv4) {
		memcpy(to->local, &ip_hdr(skb)->daddr, 4);
		memcpy(to->remote, &ip_hdr(skb)->saddr, 4);
	} else {
		memcpy(to->local, &ipv6_hdr(skb)->daddr, 16);
		memcpy(to->remote, &ipv6_hdr(skb)->saddr, 16);
	}
	return true;
}

/* The device by which @skb came in, behind VLAN devices (RCU read section). */
const void *acceltcp_frame_device(const struct sk_buff *skb)
{
	return acceltcp_real_dev(skb->dev);
}

/*
 * Reads what tells of the connection of a frame with skb->data at the network
 * header. False when the frame is none that a connection could have left over.
 */
bool acceltcp_frame_key(struct sk_buff *skb, const struct net *net, bool ipv4,
			u64 *key, u32 *seq)
{
	struct acceltcp_frame frame = { .skb = skb, .net = net, .ipv4 = ipv4 };

	if (!acceltcp_parse(&frame) || frame.th.syn)
		return false;
	*seq = ntohl(frame.th.seq);
	if (ipv4)
		*key = acceltcp_key(net, true, &ip_hdr(skb)->daddr,
				    frame.th.dest, &ip_hdr(skb)->saddr,
				    frame.th.source);
	else
		*key = acceltcp_key(net, false, &ipv6_hdr(skb)->daddr,
				    frame.th.dest, &ipv6_hdr(skb)->saddr,
				    frame.th.source);
	return true;
}

/*
 * Whether the host has a connection of the frame's addresses and ports. The TCP
 * stack finds it with the frame then, as after early demux.
 */
bool acceltcp_frame_find_owner(struct sk_buff *skb, const struct net *net,
			       bool ipv4)
{
	struct acceltcp_frame frame = { .skb = skb, .net = net, .ipv4 = ipv4 };
	struct sock *sk;

	if (skb->sk)
		return true;
	if (!acceltcp_parse(&frame))
		return false;
	sk = acceltcp_established(&frame);
	if (!sk)
		return false;
	skb->sk = sk;
	skb->destructor = sock_edemux;
	return true;
}
