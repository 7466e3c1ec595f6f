// SPDX-License-Identifier: GPL-2.0
/* See netlink.h. */

#include <linux/sched/signal.h>
#include "bindings.h"

/* A message that answers @info; NULL for want of memory. */
struct sk_buff *acceltcp_nl_reply(struct genl_info *info, u8 command,
				  void **head)
{
	struct sk_buff *skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);

	if (!skb)
		return NULL;
	*head = genlmsg_put_reply(skb, info, &acceltcp_nl_family, 0, command);
	if (!*head) {
		nlmsg_free(skb);
		return NULL;
	}
	return skb;
}

int acceltcp_nl_send(struct sk_buff *skb, struct genl_info *info, void *head)
{
	genlmsg_end(skb, head);
	return genlmsg_reply(skb, info);
}

/* Begins an entry of a dump; NULL when the page is full. */
void *acceltcp_nl_page(struct sk_buff *skb, struct netlink_callback *cb,
		       u8 command, u32 generation)
{
	void *head = genlmsg_put(skb, NETLINK_CB(cb->skb).portid,
				 cb->nlh->nlmsg_seq, &acceltcp_nl_family,
				 NLM_F_MULTI, command);

	if (head) {
		cb->seq = generation;
		genl_dump_check_consistent(cb, head);
	}
	return head;
}

/* Bytes that there are yet on a page. */
u32 acceltcp_nl_room(const struct sk_buff *skb)
{
	return skb_tailroom(skb);
}

/* Whether nobody waits for the rest of a dump. */
bool acceltcp_nl_killed(void)
{
	return fatal_signal_pending(current);
}

void acceltcp_nl_end(struct sk_buff *skb, void *head)
{
	genlmsg_end(skb, head);
}

void acceltcp_nl_cancel(struct sk_buff *skb, void *head)
{
	genlmsg_cancel(skb, head);
}

void acceltcp_nl_free(struct sk_buff *skb)
{
	nlmsg_free(skb);
}

/* A message for all who listen. */
struct sk_buff *acceltcp_nl_event(u8 command, void **head)
{
	struct sk_buff *skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);

	if (!skb)
		return NULL;
	*head = genlmsg_put(skb, 0, 0, &acceltcp_nl_family, 0, command);
	if (!*head) {
		nlmsg_free(skb);
		return NULL;
	}
	return skb;
}

void acceltcp_nl_multicast(struct sk_buff *skb, void *head, struct net *net,
			   u32 group)
{
	genlmsg_end(skb, head);
	/* Nobody listens: that is no error. */
	genlmsg_multicast_netns(&acceltcp_nl_family, net, skb, 0, group,
				GFP_KERNEL);
}

/* Whether anybody listens, in any namespace. */
bool acceltcp_nl_is_heard(u32 group)
{
	bool heard = false;
	struct net *net;

	rcu_read_lock();
	for_each_net_rcu(net) {
		heard = genl_has_listeners(&acceltcp_nl_family, net, group);
		if (heard)
			break;
	}
	rcu_read_unlock();
	return heard;
}

int acceltcp_nl_put_uint(struct sk_buff *skb, u16 type, u64 value)
{
	return nla_put_uint(skb, type, value);
}

void *acceltcp_nl_nest(struct sk_buff *skb, u16 type)
{
	return nla_nest_start(skb, type);
}

void acceltcp_nl_nest_end(struct sk_buff *skb, void *nest)
{
	nla_nest_end(skb, nest);
}

void acceltcp_nl_nest_cancel(struct sk_buff *skb, void *nest)
{
	nla_nest_cancel(skb, nest);
}

/* @text is static. */
void acceltcp_nl_explain(struct genl_info *info, const char *text)
{
	if (info->extack)
		info->extack->_msg = text;
}

/* Tells the caller which attribute is meant. */
void acceltcp_nl_blame(struct genl_info *info, const struct nlattr *attr)
{
	NL_SET_BAD_ATTR(info->extack, attr);
}

/* All attributes of a request, as they came. */
const void *acceltcp_nl_payload(const struct genl_info *info, u32 *len)
{
	*len = genlmsg_len(info->genlhdr);
	return genlmsg_data(info->genlhdr);
}

void acceltcp_nl_missing(struct genl_info *info, u16 type)
{
	NL_SET_ERR_ATTR_MISS(info->extack, NULL, type);
}

const struct nlattr *acceltcp_nl_attr(const struct genl_info *info, u16 type)
{
	return info->attrs ? info->attrs[type] : NULL;
}

u32 acceltcp_nl_len(const struct nlattr *attr)
{
	return nla_len(attr);
}

const u8 *acceltcp_nl_data(const struct nlattr *attr)
{
	return nla_data(attr);
}

const struct genl_info *acceltcp_nl_dump_info(struct netlink_callback *cb)
{
	return genl_info_dump(cb);
}

struct net *acceltcp_nl_net(const struct genl_info *info)
{
	return genl_info_net(info);
}

/* Whether the caller may administer the network namespace that it asks in. */
bool acceltcp_nl_may_administer(struct sk_buff *skb, const struct genl_info *info)
{
	return netlink_ns_capable(skb, genl_info_net(info)->user_ns,
				  CAP_NET_ADMIN);
}

/* What the caller calls a user, as the initial namespace numbers it. */
bool acceltcp_nl_uid(const struct sk_buff *skb, u32 uid, u32 *kuid)
{
	kuid_t id = make_kuid(sk_user_ns(NETLINK_CB(skb).sk), uid);

	if (!uid_valid(id))
		return false;
	*kuid = from_kuid(&init_user_ns, id);
	return true;
}
