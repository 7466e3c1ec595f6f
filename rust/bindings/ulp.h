/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A ULP that is put on sockets, and taken off again while they live.
 *
 * @sk is locked unless stated otherwise. @base is tcp_prot or tcpv6_prot, from
 * which all other operations are copied.
 */
#ifndef ACCELTCP_ULP_H
#define ACCELTCP_ULP_H

#include <linux/sockptr.h>
#include <net/sock.h>
#include <net/tcp.h>

const struct tcp_ulp_ops *acceltcp_ulp_ops(const struct sock *sk);
void *acceltcp_ulp_data(const struct sock *sk);
void *acceltcp_ulp_raw_data(const struct sock *sk);
void acceltcp_ulp_set_data(struct sock *sk, void *data);
void *acceltcp_ulp_peek(const struct sock *sk, const struct tcp_ulp_ops *ops);
bool acceltcp_ulp_put_on(struct sock *sk, const struct proto *base,
			 struct proto *to, const struct tcp_ulp_ops *ops,
			 void *data, bool expedite);
void *acceltcp_ulp_take_off(struct sock *sk, struct proto *base, bool expedite);

/* For the operations of the ULP. */
void *acceltcp_ulp_release(struct sock *sk, struct proto *base);
void acceltcp_ulp_inherit(struct sock *child, struct proto *to,
			  struct proto *base);
void acceltcp_ulp_strip(struct sock *child, struct proto *base);
void acceltcp_child_answers(struct sock *child);
bool acceltcp_reqsk_is_verified(const struct request_sock *req);

struct proto *acceltcp_prot(const struct sock *sk);
bool acceltcp_prot_change(struct sock *sk, const struct proto *from,
			  struct proto *to);
void acceltcp_prot_forget(const struct proto *copies, unsigned int count);

int acceltcp_ulp_name(char *name, sockptr_t value, unsigned int len);
int acceltcp_set_ulp(const struct proto *base, struct sock *sk, char *name);
int acceltcp_put_ulp_name(char __user *to, int __user *optlen,
			  const char *name);
int acceltcp_restart(void);

#endif
