/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Socket options of AccelTCP.
 *
 * A TCP socket, closed or listening, is given to AccelTCP by
 *	setsockopt(fd, SOL_TCP, TCP_ULP, "acceltcp", 8);
 * and has the options of level SOL_ACCELTCP from then on. Connections that it
 * accepts inherit them.
 */
#ifndef _UAPI_LINUX_ACCELTCP_H
#define _UAPI_LINUX_ACCELTCP_H

#include <linux/types.h>

/* Socket option level. */
#define SOL_ACCELTCP		300

/* __u32, get and set: what the socket asks for, bits ACCELTCP_OFFLOAD_*. */
#define ACCELTCP_OFFLOAD	1
/* struct acceltcp_status, get: what it has. */
#define ACCELTCP_STATUS		2
/*
 * struct acceltcp_splice, set: the card joins this connection and another one,
 * which has the ULP, too; struct acceltcp_splice_info, get.
 *
 * What the peers have sent so far is passed on; what the caller still has of one
 * to tell the other must be written before. From then on the card relays, and both
 * sockets are at rest: they can be polled, read (there is nothing until the end)
 * and closed; writes fail with EBUSY. When the connections end, recv() returns 0
 * or the error on both.
 *
 * EINVAL: bad flags, or twice the same socket; EBADF, ENOTSOCK: no socket;
 * ENOPROTOOPT: the other one has not the ULP; ENOTCONN: a connection is not
 * established; EBUSY: one is spliced already, or closed for one direction, or at work
 * in another thread; EOPNOTSUPP: options that a card cannot serve (TCP-MD5, TCP-AO, MPTCP, IP options,
 * AccECN, SO_PEEK_OFF), or that one connection has and the other has not (window scaling, SACK,
 * timestamps, ECN); EMSGSIZE: the one path takes larger segments than the other;
 * EXDEV: the connections do not go through the same card, or their namespaces
 * differ; ENODEV: no card that can do it; ENETDOWN: its link is down; ENOSPC: it
 * has no room; EAGAIN: data is still under way (only with NONBLOCK, or after a while);
 * EPERM: netfilter does not let them; EACCES: BPF programs of a cgroup at ingress or
 * egress, or a socket filter, are to see each segment; ENOBUFS: no memory; or the error of one of
 * the connections. Then nothing has changed but that data has been passed on.
 * Nobody else may read from or write to the sockets meanwhile.
 */
#define ACCELTCP_SPLICE		3
/*
 * __u32, set, 0: both connections of the pair come back and can be used as ever.
 * EINVAL: not spliced; EAGAIN: the peers do not acknowledge what they were sent, the
 * pair goes on; EALREADY: the pair is being closed by its peers, or has ended.
 */
#define ACCELTCP_UNSPLICE	4

/* The card sets connections up. Needs a card that can. */
#define ACCELTCP_OFFLOAD_SETUP		(1U << 0)
/* The card ends connections that are closed. */
#define ACCELTCP_OFFLOAD_TEARDOWN	(1U << 1)
/*
 * With SETUP: the client speaks first, and its connection comes with its first
 * data (as with TCP_DEFER_ACCEPT, which asks for the same).
 */
#define ACCELTCP_OFFLOAD_DEFER		(1U << 3)
/* With SETUP, not with DEFER: the server speaks first. */
#define ACCELTCP_OFFLOAD_SERVER_FIRST	(1U << 4)
/*
 * With TEARDOWN: no write waits for a close() shortly after it, with which it
 * would leave in one frame (see sysctl net.acceltcp.teardown_hold_us).
 */
#define ACCELTCP_OFFLOAD_NO_HOLD	(1U << 5)

/* In struct acceltcp_status. */
struct acceltcp_status {
	__u32 offload;		/* as ACCELTCP_OFFLOAD */
	__u32 reason;		/* ACCELTCP_REASON_* */
	__u32 rules;		/* rules for this listener on all cards */
	__u32 reserved;		/* zero */
};

/* For ACCELTCP_SPLICE. */
struct acceltcp_splice {
	__s32 fd;		/* the other connection */
	__u32 flags;		/* ACCELTCP_SPLICE_* */
	__u32 idle_ms;		/* reset after so long without a segment; 0: net.acceltcp.splice_idle */
	__u32 reserved;		/* zero */
};

/* Do not wait until the connections can be spliced. */
#define ACCELTCP_SPLICE_NONBLOCK	(1U << 0)
/* The pair goes on when its sockets are closed. Without this it is reset. */
#define ACCELTCP_SPLICE_DETACH		(1U << 1)

/* What has become of a splice; rx is from the peer of this socket, tx to it. */
struct acceltcp_splice_info {
	__u32 state;		/* ACCELTCP_SPLICE_STATE_* */
	__u32 reason;		/* of the end, ACCELTCP_SPLICE_REASON_*, or 0 */
	__u64 rx_bytes;		/* all numbers at the end only; modulo 2^32 if returned */
	__u64 tx_bytes;
	__u64 rx_segments;	/* 0 if returned */
	__u64 tx_segments;
};

#define ACCELTCP_SPLICE_STATE_NONE	0	/* never spliced */
#define ACCELTCP_SPLICE_STATE_ACTIVE	1	/* the card relays */
#define ACCELTCP_SPLICE_STATE_ENDED	2	/* the connections are over */
#define ACCELTCP_SPLICE_STATE_RETURNED	3	/* they are the host's again */

#define ACCELTCP_SPLICE_REASON_CLOSED	1	/* both peers have closed */
#define ACCELTCP_SPLICE_REASON_RESET	2	/* a peer has reset its connection */
#define ACCELTCP_SPLICE_REASON_IDLE	3	/* nothing was heard for idle_ms */
#define ACCELTCP_SPLICE_REASON_ABORTED	4	/* a socket was closed */
#define ACCELTCP_SPLICE_REASON_TIMEOUT	5	/* a peer did not acknowledge */
#define ACCELTCP_SPLICE_REASON_REFUSED	6	/* the card could not do it */
#define ACCELTCP_SPLICE_REASON_LOST	7	/* the card was lost */

/* Why connections are set up by the host. */
#define ACCELTCP_REASON_NONE		0	/* they are set up by the card */
#define ACCELTCP_REASON_NOT_ASKED	1	/* SETUP is not set */
#define ACCELTCP_REASON_NOT_LISTENING	2	/* the socket does not listen */
#define ACCELTCP_REASON_NO_DEVICE	3	/* no card is up that it can be reached by */
#define ACCELTCP_REASON_TABLE_FULL	4	/* a card has no room */
#define ACCELTCP_REASON_AUTHENTICATED	5	/* TCP-MD5 or TCP-AO */
#define ACCELTCP_REASON_MPTCP		6	/* multipath TCP */
#define ACCELTCP_REASON_SYNCOOKIES	7	/* net.ipv4.tcp_syncookies is 0 */
#define ACCELTCP_REASON_FORWARDING	8	/* any address, on a host that forwards */
#define ACCELTCP_REASON_PENDING		9	/* a card has not been told yet */
#define ACCELTCP_REASON_DISABLED	11	/* net.acceltcp.offloads does not have it */
#define ACCELTCP_REASON_QUOTA		13	/* net.acceltcp.quota_listeners is used up */
#define ACCELTCP_REASON_OTHER_LISTENER	14	/* another listener gets the SYNs */

#endif
