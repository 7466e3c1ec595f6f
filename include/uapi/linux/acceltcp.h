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

#endif
