// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suites for what is done to sockets, with sockets of the kernel's own.
 * Only in a module that is built for them, see Kbuild.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/module.h>
#include <linux/net.h>

#include "tcp.h"
#include "ulp.h"

#define SOL_ACCELTCP 300
#define ACCELTCP_OFFLOAD 1

static struct socket *tcp_socket(struct kunit *test, int family)
{
	struct socket *sock = NULL;

	KUNIT_ASSERT_EQ(test, 0, sock_create_kern(&init_net, family, SOCK_STREAM,
						  IPPROTO_TCP, &sock));
	return sock;
}

static int set_ulp(struct socket *sock, char *name)
{
	return sock->ops->setsockopt(sock, SOL_TCP, TCP_ULP,
				     KERNEL_SOCKPTR(name), strlen(name));
}

static int set_offload(struct socket *sock, u32 flags, unsigned int len)
{
	return sock->ops->setsockopt(sock, SOL_ACCELTCP, ACCELTCP_OFFLOAD,
				     KERNEL_SOCKPTR(&flags), len);
}

static const struct proto *base_of(int family)
{
	return family == AF_INET ? &tcp_prot : &tcpv6_prot;
}

/* The socket that dies last may do so in a softirq. */
static void expect_references(struct kunit *test, int wanted)
{
	int tries;

	for (tries = 0; tries < 500; tries++) {
		if (module_refcount(THIS_MODULE) == wanted)
			break;
		msleep(10);
	}
	KUNIT_EXPECT_EQ(test, wanted, module_refcount(THIS_MODULE));
}

static void reqsk_takes_the_options(struct kunit *test)
{
	const struct acceltcp_reqsk_opts opts = {
		.ts_recent = 0x01020304,
		.ts_off = 0xa0b0c0d0,
		.mss = 1400,
		.snd_wscale = 8,
		.rcv_wscale = 7,
		.wscale_ok = true,
		.tstamp_ok = true,
		.ecn_ok = true,
	};
	struct socket *sock = tcp_socket(test, AF_INET);
	struct inet_request_sock *ireq;
	struct request_sock *req;
	struct sk_buff *skb;

	req = acceltcp_reqsk_alloc(sock->sk, true, &opts);
	KUNIT_ASSERT_NOT_NULL(test, req);
	ireq = inet_rsk(req);
	KUNIT_EXPECT_EQ(test, 1400, req->mss);
	KUNIT_EXPECT_EQ(test, opts.ts_recent, req->ts_recent);
	KUNIT_EXPECT_EQ(test, opts.ts_off, tcp_rsk(req)->ts_off);
	KUNIT_EXPECT_EQ(test, 8, (int)ireq->snd_wscale);
	KUNIT_EXPECT_EQ(test, 7, (int)ireq->rcv_wscale);
	KUNIT_EXPECT_TRUE(test, ireq->wscale_ok);
	KUNIT_EXPECT_TRUE(test, ireq->tstamp_ok);
	KUNIT_EXPECT_TRUE(test, ireq->ecn_ok);
	KUNIT_EXPECT_FALSE(test, ireq->sack_ok);
	KUNIT_EXPECT_EQ(test, TCP_NEW_SYN_RECV, ireq->ireq_state);
	KUNIT_EXPECT_EQ(test, AF_INET, ireq->ireq_family);
	KUNIT_EXPECT_TRUE(test, req->syncookie);
	KUNIT_EXPECT_EQ(test, 0, refcount_read(&req->rsk_refcnt));
	KUNIT_EXPECT_PTR_EQ(test, sock->sk, req->rsk_listener);
	KUNIT_EXPECT_PTR_EQ(test, &init_net, read_pnet(&ireq->ireq_net));

	/* The frame takes it over, and frees it. */
	skb = alloc_skb(64, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	acceltcp_reqsk_attach(skb, req);
	KUNIT_EXPECT_PTR_EQ(test, req_to_sk(req), skb->sk);
	kfree_skb(skb);
	sock_release(sock);
}

/* A listener for IPv6 gets requests of both families. */
static void reqsk_is_of_the_frame(struct kunit *test)
{
	const struct acceltcp_reqsk_opts opts = { .mss = 1220 };
	struct socket *sock = tcp_socket(test, AF_INET6);
	bool ipv4[] = { true, false };
	int i;

	for (i = 0; i < ARRAY_SIZE(ipv4); i++) {
		const struct proto *prot = base_of(ipv4[i] ? AF_INET : AF_INET6);
		struct request_sock *req;
		struct sk_buff *skb;

		req = acceltcp_reqsk_alloc(sock->sk, ipv4[i], &opts);
		KUNIT_ASSERT_NOT_NULL(test, req);
		KUNIT_EXPECT_PTR_EQ(test, prot->rsk_prot, req->rsk_ops);
		KUNIT_EXPECT_EQ(test, AF_INET6, inet_rsk(req)->ireq_family);
		KUNIT_EXPECT_FALSE(test, inet_rsk(req)->tstamp_ok);
		skb = alloc_skb(64, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, skb);
		acceltcp_reqsk_attach(skb, req);
		kfree_skb(skb);
	}
	sock_release(sock);
}

static void ulp_comes_and_goes(struct kunit *test)
{
	int before = module_refcount(THIS_MODULE);
	int families[] = { AF_INET, AF_INET6 };
	int i;

	for (i = 0; i < ARRAY_SIZE(families); i++) {
		struct socket *sock = tcp_socket(test, families[i]);
		struct sock *sk = sock->sk;

		KUNIT_EXPECT_PTR_EQ(test, base_of(families[i]), sk->sk_prot);
		KUNIT_ASSERT_EQ(test, 0, set_ulp(sock, "acceltcp"));
		KUNIT_EXPECT_PTR_NE(test, base_of(families[i]), sk->sk_prot);
		KUNIT_EXPECT_PTR_EQ(test, base_of(families[i]), sk->sk_prot_creator);
		KUNIT_EXPECT_NOT_NULL(test, acceltcp_ulp_raw_data(sk));
		KUNIT_EXPECT_EQ(test, before + 1, module_refcount(THIS_MODULE));
		KUNIT_EXPECT_EQ(test, -EEXIST, set_ulp(sock, "acceltcp"));
		sock_release(sock);
		expect_references(test, before);
	}
}

static void ulp_checks_its_option(struct kunit *test)
{
	struct socket *sock = tcp_socket(test, AF_INET);
	const void *data;

	KUNIT_EXPECT_EQ(test, -ENOPROTOOPT, set_offload(sock, 0, 4));
	KUNIT_ASSERT_EQ(test, 0, set_ulp(sock, "acceltcp"));
	data = acceltcp_ulp_raw_data(sock->sk);
	KUNIT_EXPECT_EQ(test, -EINVAL, set_offload(sock, ~0u, 4));
	KUNIT_EXPECT_EQ(test, -EINVAL, set_offload(sock, 0, 2));
	KUNIT_EXPECT_EQ(test, -EINVAL, set_offload(sock, 0, 0));
	/* What was refused has changed nothing. */
	KUNIT_EXPECT_PTR_EQ(test, data, acceltcp_ulp_raw_data(sock->sk));
	KUNIT_EXPECT_EQ(test, 0, set_offload(sock, 0, 4));
	KUNIT_EXPECT_PTR_NE(test, data, acceltcp_ulp_raw_data(sock->sk));
	sock_release(sock);
}

/* A connection through the loopback: the child has what its listener has. */
static void child_has_its_listeners_ulp(struct kunit *test)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_unsized *any = (struct sockaddr_unsized *)&address;
	struct socket *listener = tcp_socket(test, AF_INET);
	struct socket *client = tcp_socket(test, AF_INET);
	int before = module_refcount(THIS_MODULE);
	struct socket *child = NULL;

	KUNIT_ASSERT_EQ(test, 0, set_ulp(listener, "acceltcp"));
	KUNIT_ASSERT_EQ(test, 0, kernel_bind(listener, any, sizeof(address)));
	KUNIT_ASSERT_EQ(test, 0, kernel_listen(listener, 1));
	KUNIT_ASSERT_GT(test, kernel_getsockname(listener,
						 (struct sockaddr *)&address), 0);
	KUNIT_ASSERT_EQ(test, 0, kernel_connect(client, any, sizeof(address), 0));
	KUNIT_ASSERT_EQ(test, 0, kernel_accept(listener, &child, 0));

	KUNIT_EXPECT_PTR_EQ(test, listener->sk->sk_prot, child->sk->sk_prot);
	KUNIT_EXPECT_PTR_EQ(test, &tcp_prot, child->sk->sk_prot_creator);
	KUNIT_EXPECT_PTR_EQ(test, acceltcp_ulp_ops(listener->sk),
			    acceltcp_ulp_ops(child->sk));
	KUNIT_EXPECT_PTR_EQ(test, acceltcp_ulp_raw_data(listener->sk),
			    acceltcp_ulp_raw_data(child->sk));
	KUNIT_EXPECT_EQ(test, before + 2, module_refcount(THIS_MODULE));

	/* An option of its own does not change the listener's. */
	KUNIT_EXPECT_EQ(test, 0, set_offload(child, 0, 4));
	KUNIT_EXPECT_PTR_NE(test, acceltcp_ulp_raw_data(listener->sk),
			    acceltcp_ulp_raw_data(child->sk));

	sock_release(listener);
	/* Whoever closes first has the TIME_WAIT, which must not hold the module. */
	sock_release(child);
	sock_release(client);
	expect_references(test, before);
}

/* A child that nobody has accepted dies with its listener. */
static void child_dies_unaccepted(struct kunit *test)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_unsized *any = (struct sockaddr_unsized *)&address;
	struct socket *listener = tcp_socket(test, AF_INET);
	struct socket *client = tcp_socket(test, AF_INET);
	int before = module_refcount(THIS_MODULE);

	KUNIT_ASSERT_EQ(test, 0, set_ulp(listener, "acceltcp"));
	KUNIT_ASSERT_EQ(test, 0, kernel_bind(listener, any, sizeof(address)));
	KUNIT_ASSERT_EQ(test, 0, kernel_listen(listener, 1));
	KUNIT_ASSERT_GT(test, kernel_getsockname(listener,
						 (struct sockaddr *)&address), 0);
	KUNIT_ASSERT_EQ(test, 0, kernel_connect(client, any, sizeof(address), 0));
	sock_release(listener);
	sock_release(client);
	expect_references(test, before);
}

static struct kunit_case reqsk_cases[] = {
	KUNIT_CASE(reqsk_takes_the_options),
	KUNIT_CASE(reqsk_is_of_the_frame),
	{}
};

static struct kunit_suite reqsk_suite = {
	.name = "acceltcp-reqsk",
	.test_cases = reqsk_cases,
};

static struct kunit_case ulp_cases[] = {
	KUNIT_CASE(ulp_comes_and_goes),
	KUNIT_CASE(ulp_checks_its_option),
	KUNIT_CASE(child_has_its_listeners_ulp),
	KUNIT_CASE(child_dies_unaccepted),
	{}
};

static struct kunit_suite ulp_suite = {
	.name = "acceltcp-ulp",
	.test_cases = ulp_cases,
};

kunit_test_suites(&reqsk_suite, &ulp_suite);
