/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A connection that its owner closes: what a card needs to end it, and how the
 * host forgets it without a word.
 */
#ifndef ACCELTCP_CLOSING_H
#define ACCELTCP_CLOSING_H

#include <linux/skbuff.h>
#include <net/sock.h>

/* Why the host ends a connection. */
enum acceltcp_stays {
	ACCELTCP_STAYS_NOT,		/* it does not have to */
	ACCELTCP_STAYS_STATE,		/* both ends have closed, or it is not a connection */
	ACCELTCP_STAYS_SHUT,		/* one direction is closed, or both */
	ACCELTCP_STAYS_LINGER,		/* SO_LINGER, or TCP_LINGER2 below 0 */
	ACCELTCP_STAYS_UNREAD,		/* RFC 2525 wants an RST */
	ACCELTCP_STAYS_OUT_OF_ORDER,	/* data behind a hole */
	ACCELTCP_STAYS_AUTHENTICATED,	/* TCP-MD5 or TCP-AO */
	ACCELTCP_STAYS_OPTIONS,		/* something of TCP or IP that cards do not know */
	ACCELTCP_STAYS_URGENT,		/* urgent data is under way */
	ACCELTCP_STAYS_ROUTE,		/* it does not go straight to a card */
	ACCELTCP_STAYS_OTHER_PATH,	/* the peer's frames come in by another device */
	ACCELTCP_STAYS_LINK,		/* the link is down */
	ACCELTCP_STAYS_QUEUED,		/* frames may wait in a queueing discipline */
	ACCELTCP_STAYS_NEIGHBOUR,	/* nobody knows the next hop's address */
	ACCELTCP_STAYS_FILTERED,	/* netfilter has dropped or kept the frame */
	ACCELTCP_STAYS_PROGRAM,		/* a BPF program has its say, see acceltcp_has_programs() */
	ACCELTCP_STAYS_NO_MEMORY,
};

/* What is known of it; numbers as in RFC 9293, windows in bytes. */
struct acceltcp_closing {
	u64 key;		/* of its addresses and ports, see acceltcp_key() */
	const void *dev;	/* struct net_device at which its frames come out */
	s32 ifindex;		/* of dev */
	u32 rcv_isn;
	u32 len;		/* bytes from SND.UNA to the end of the stream */
	u32 snd_una;
	u32 snd_nxt;
	u32 snd_wnd;
	u32 snd_wl1;
	u32 max_wnd;
	u32 rcv_nxt;
	u32 rcv_wnd;
	u32 max_rcv_wnd;	/* to the right edge of the largest one */
	u32 cwnd;
	u32 rto_ms;
	u32 fin_wait_ms;
	u16 mss;
	u16 rto_max;		/* in hundredths of a second */
	u16 room;		/* bytes of data and options in a segment to the peer, at most */
	u16 peer_room;		/* the same in a segment from the peer */
	u16 vlans[2][2];	/* protocol and TCI, the outer one first; 0 for none */
	u8 snd_wscale;
	u8 rcv_wscale;
	u8 retries;
	bool ipv4;
	bool closes;		/* its owner closes it, it is not spliced */
	bool peer_fin;
	bool fin_sent;
	bool fin_acked;
	bool closing;
	bool wscale;
	bool sack;
	bool tstamp;
	bool ecn;
	bool ack_due;
	bool held;		/* an answer waits, see held.h */
	bool connect_bind;	/* connect() has chosen its port */
	bool first_answer;	/* all data that was sent, and that lately */
};

/* Bytes of all headers of a template at most: two VLANs, IPv6, TCP, timestamps. */
#define ACCELTCP_TEMPLATE_HEADERS	(14 + 2 * 4 + 40 + 20 + 12)

u64 acceltcp_key(const struct net *net, bool ipv4, const void *local,
		 __be16 lport, const void *remote, __be16 rport);
const struct net_device *acceltcp_real_dev(const struct net_device *dev);
const void *acceltcp_egress(const struct sock *sk);
const void *acceltcp_ingress(const struct sock *sk);

/* What the peer of a connection has asked for, and got, so far. */
enum acceltcp_request {
	ACCELTCP_REQUEST_NONE,		/* nothing, or no answer */
	ACCELTCP_REQUEST_ONE,		/* data in one segment, which was answered */
	ACCELTCP_REQUEST_MORE,		/* data in more segments */
};

enum acceltcp_request acceltcp_request_of(const struct sock *sk);
enum acceltcp_stays acceltcp_closing_look(struct sock *sk,
					  struct acceltcp_closing *to);
enum acceltcp_stays acceltcp_splicing_look(struct sock *sk,
					   struct acceltcp_closing *to);
enum acceltcp_stays acceltcp_closing_frame(struct sock *sk,
					   const struct acceltcp_closing *from,
					   unsigned int headroom,
					   unsigned int tailroom,
					   struct sk_buff **frame);
struct nf_conntrack *acceltcp_take_conntrack(struct sk_buff *skb);
void acceltcp_conntrack_end(struct nf_conntrack *nfct);
void acceltcp_closing_forget(struct sock *sk, const struct proto *base,
			     int (*late)(struct sock *sk, struct sk_buff *skb));

#endif
