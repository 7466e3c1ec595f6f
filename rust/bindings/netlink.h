/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Generic netlink, as far as its interface is made of inlines and macros. The
 * family and its operations are generated, see
 * Documentation/netlink/specs/acceltcp.yaml.
 */
#ifndef ACCELTCP_NETLINK_H
#define ACCELTCP_NETLINK_H

#include "netlink_gen.h"

/* Values that bindgen cannot read off function-like macros. */
static const u16 ACCELTCP_NLA_TYPE_MASK = (u16)NLA_TYPE_MASK;

struct sk_buff *acceltcp_nl_reply(struct genl_info *info, u8 command,
				  void **head);
int acceltcp_nl_send(struct sk_buff *skb, struct genl_info *info, void *head);
void *acceltcp_nl_page(struct sk_buff *skb, struct netlink_callback *cb,
		       u8 command, u32 generation);
u32 acceltcp_nl_room(const struct sk_buff *skb);
bool acceltcp_nl_killed(void);
void acceltcp_nl_end(struct sk_buff *skb, void *head);
void acceltcp_nl_cancel(struct sk_buff *skb, void *head);
void acceltcp_nl_free(struct sk_buff *skb);
struct sk_buff *acceltcp_nl_event(u8 command, void **head);
void acceltcp_nl_multicast(struct sk_buff *skb, void *head, struct net *net,
			   u32 group);
bool acceltcp_nl_is_heard(u32 group);
int acceltcp_nl_put_uint(struct sk_buff *skb, u16 type, u64 value);
void *acceltcp_nl_nest(struct sk_buff *skb, u16 type);
void acceltcp_nl_nest_end(struct sk_buff *skb, void *nest);
void acceltcp_nl_nest_cancel(struct sk_buff *skb, void *nest);
void acceltcp_nl_explain(struct genl_info *info, const char *text);
void acceltcp_nl_blame(struct genl_info *info, const struct nlattr *attr);
const void *acceltcp_nl_payload(const struct genl_info *info, u32 *len);
void acceltcp_nl_missing(struct genl_info *info, u16 type);
const struct nlattr *acceltcp_nl_attr(const struct genl_info *info, u16 type);
u32 acceltcp_nl_len(const struct nlattr *attr);
const u8 *acceltcp_nl_data(const struct nlattr *attr);
const struct genl_info *acceltcp_nl_dump_info(struct netlink_callback *cb);
struct net *acceltcp_nl_net(const struct genl_info *info);
bool acceltcp_nl_may_administer(struct sk_buff *skb,
				const struct genl_info *info);
bool acceltcp_nl_uid(const struct sk_buff *skb, u32 uid, u32 *kuid);

#endif
