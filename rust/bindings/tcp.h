/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions around TCP sockets whose kernel interface is made of macros: names
 * of fields in struct sock_common, header accessors, lock helpers.
 */
#ifndef ACCELTCP_TCP_H
#define ACCELTCP_TCP_H

#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/skbuff.h>
#include <linux/sockptr.h>
#include <linux/tcp.h>
#include <net/inet_hashtables.h>
#include <net/net_namespace.h>
#include <net/tcp.h>
#include <net/transp_v6.h>

/* What a listening socket is bound to, and what decides on its rule. */
struct acceltcp_listener {
	u8 address[16];
	u32 full_space;
	s32 bound_dev_if;
	u32 rmem_max;
	u16 family;
	u16 port;
	u8 ttl;
	u8 tos;
	bool any_address;
	bool v6only;
	bool listening;
	bool mptcp;
	bool authenticated;
	bool defer;
	bool window_clamped;
	bool sysctl_window_scaling;
	bool sysctl_sack;
	bool sysctl_timestamps;
	bool sysctl_syncookies;
	bool sysctl_ecn;
	bool forwarding;
};

/* What a request socket takes from the handshake on the card. */
struct acceltcp_reqsk_opts {
	u32 ts_recent;
	u32 ts_off;
	u16 mss;
	u8 snd_wscale;
	u8 rcv_wscale;
	bool wscale_ok;
	bool sack_ok;
	bool tstamp_ok;
	bool ecn_ok;
};

/* What the card says of a frame that ends a handshake. */
struct acceltcp_claim {
	u32 skipped;	/* bytes missing between the SYN and the frame */
	u32 tsval;
	bool tstamp;
};

/* What is there for the addresses and ports of a frame. */
enum acceltcp_owner {
	ACCELTCP_OWNER_NONE,
	ACCELTCP_OWNER_LISTENER,
	ACCELTCP_OWNER_CONNECTION,
	ACCELTCP_OWNER_TIME_WAIT,
	ACCELTCP_OWNER_MALFORMED,
	ACCELTCP_OWNER_BUSY,
	ACCELTCP_OWNER_INELIGIBLE,
};

/* Of a connection; 4 or 16 bytes of the addresses count. */
struct acceltcp_ends {
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	bool ipv4;
};

void acceltcp_sk_ends(const struct sock *sk, struct acceltcp_ends *to);
void acceltcp_listener_read(const struct sock *sk,
			    struct acceltcp_listener *to);
enum acceltcp_owner acceltcp_owner_of(struct sk_buff *skb,
				      const struct net *net, bool ipv4,
				      const struct acceltcp_claim *claim,
				      struct sock **listener,
				      bool *replaced);
const void *acceltcp_frame_device(const struct sk_buff *skb);
bool acceltcp_frame_key(struct sk_buff *skb, const struct net *net, bool ipv4,
			u64 *key, u32 *seq);
bool acceltcp_frame_ends(struct sk_buff *skb, bool ipv4,
			 struct acceltcp_ends *to);
bool acceltcp_frame_find_owner(struct sk_buff *skb, const struct net *net,
			       bool ipv4);
struct request_sock *acceltcp_reqsk_alloc(struct sock *listener, bool ipv4,
					  const struct acceltcp_reqsk_opts *opts);
void acceltcp_reqsk_attach(struct sk_buff *skb, struct request_sock *req);
bool acceltcp_acceptq_is_full(const struct sock *sk);
u32 acceltcp_clock_ms(void);
u32 acceltcp_coarse_ms(void);

u16 acceltcp_sk_family(const struct sock *sk);
u8 acceltcp_sk_state(const struct sock *sk);
bool acceltcp_sk_is_mptcp(const struct sock *sk);
bool acceltcp_sk_may_administer(const struct sock *sk);
const struct net *acceltcp_sk_net(const struct sock *sk);
void acceltcp_lock_sock(struct sock *sk);
bool acceltcp_trylock_sock(struct sock *sk);
int acceltcp_get_user_int(int *to, const char __user *from);
int acceltcp_put_user(char __user *to, int __user *optlen, const void *from,
		      int len);
const struct net *acceltcp_dev_net(const struct net_device *dev);
bool acceltcp_dev_is_registered(const struct net_device *dev);
bool acceltcp_dev_location(const struct net_device *dev,
			   const struct net **net, u32 *ifindex);
bool acceltcp_net_eq(const struct net *a, const struct net *b);
bool acceltcp_module_try_get(struct module *module);
void acceltcp_random(void *to, size_t len);

#endif
