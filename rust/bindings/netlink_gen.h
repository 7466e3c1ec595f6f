/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/acceltcp.yaml */
/* YNL-GEN kernel header */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#ifndef _LINUX_ACCELTCP_GEN_H
#define _LINUX_ACCELTCP_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/acceltcp_netlink.h>

/* Common nested types */
extern const struct nla_policy acceltcp_policy_rule_nl_policy[ACCELTCP_A_POLICY_MAX_DATA + 1];

int acceltcp_nl_device_get_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_device_get_dumpit(struct sk_buff *skb,
				  struct netlink_callback *cb);
int acceltcp_nl_counter_get_dumpit(struct sk_buff *skb,
				   struct netlink_callback *cb);
int acceltcp_nl_counter_reset_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_listener_get_dumpit(struct sk_buff *skb,
				    struct netlink_callback *cb);
int acceltcp_nl_pair_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb);
int acceltcp_nl_policy_get_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_policy_get_dumpit(struct sk_buff *skb,
				  struct netlink_callback *cb);
int acceltcp_nl_policy_add_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_policy_del_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_policy_flush_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_key_rotate_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_acl_get_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_acl_get_dumpit(struct sk_buff *skb,
			       struct netlink_callback *cb);
int acceltcp_nl_acl_add_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_acl_del_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_acl_flush_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_flow_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb);
int acceltcp_nl_limits_get_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_limits_set_doit(struct sk_buff *skb, struct genl_info *info);
int acceltcp_nl_policy_set_doit(struct sk_buff *skb, struct genl_info *info);

enum {
	ACCELTCP_NLGRP_DEVICES,
	ACCELTCP_NLGRP_WATERMARKS,
	ACCELTCP_NLGRP_SPLICES,
};

extern struct genl_family acceltcp_nl_family;

#endif /* _LINUX_ACCELTCP_GEN_H */
