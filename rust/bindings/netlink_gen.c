// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/acceltcp.yaml */
/* YNL-GEN kernel source */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "netlink_gen.h"

#include <uapi/linux/acceltcp_netlink.h>

/* Common nested types */
const struct nla_policy acceltcp_policy_rule_nl_policy[ACCELTCP_A_POLICY_MAX_DATA + 1] = {
	[ACCELTCP_A_POLICY_PRIORITY] = { .type = NLA_U32, },
	[ACCELTCP_A_POLICY_PORT_FIRST] = NLA_POLICY_MIN(NLA_U16, 1),
	[ACCELTCP_A_POLICY_PORT_LAST] = NLA_POLICY_MIN(NLA_U16, 1),
	[ACCELTCP_A_POLICY_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[ACCELTCP_A_POLICY_PREFIX_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[ACCELTCP_A_POLICY_IFNAME] = { .type = NLA_NUL_STRING, .len = 15, },
	[ACCELTCP_A_POLICY_UID] = { .type = NLA_U32, },
	[ACCELTCP_A_POLICY_CGROUP] = { .type = NLA_NUL_STRING, .len = 1023, },
	[ACCELTCP_A_POLICY_OFFLOADS] = NLA_POLICY_MASK(NLA_U32, 0x3f),
	[ACCELTCP_A_POLICY_MAX_DATA] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_DEVICE_GET - do */
static const struct nla_policy acceltcp_device_get_nl_policy[ACCELTCP_A_DEVICE_IFINDEX + 1] = {
	[ACCELTCP_A_DEVICE_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_COUNTER_GET - dump */
static const struct nla_policy acceltcp_counter_get_nl_policy[ACCELTCP_A_COUNTER_IFINDEX + 1] = {
	[ACCELTCP_A_COUNTER_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_PAIR_GET - dump */
static const struct nla_policy acceltcp_pair_get_nl_policy[ACCELTCP_A_PAIR_IFINDEX + 1] = {
	[ACCELTCP_A_PAIR_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_POLICY_GET - do */
static const struct nla_policy acceltcp_policy_get_nl_policy[ACCELTCP_A_POLICY_ID + 1] = {
	[ACCELTCP_A_POLICY_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_POLICY_ADD - do */
static const struct nla_policy acceltcp_policy_add_nl_policy[ACCELTCP_A_POLICY_MAX_DATA + 1] = {
	[ACCELTCP_A_POLICY_PRIORITY] = { .type = NLA_U32, },
	[ACCELTCP_A_POLICY_PORT_FIRST] = NLA_POLICY_MIN(NLA_U16, 1),
	[ACCELTCP_A_POLICY_PORT_LAST] = NLA_POLICY_MIN(NLA_U16, 1),
	[ACCELTCP_A_POLICY_ADDRESS] = NLA_POLICY_MAX_LEN(16),
	[ACCELTCP_A_POLICY_PREFIX_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[ACCELTCP_A_POLICY_IFNAME] = { .type = NLA_NUL_STRING, .len = 15, },
	[ACCELTCP_A_POLICY_UID] = { .type = NLA_U32, },
	[ACCELTCP_A_POLICY_CGROUP] = { .type = NLA_NUL_STRING, .len = 1023, },
	[ACCELTCP_A_POLICY_OFFLOADS] = NLA_POLICY_MASK(NLA_U32, 0x3f),
	[ACCELTCP_A_POLICY_MAX_DATA] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_POLICY_DEL - do */
static const struct nla_policy acceltcp_policy_del_nl_policy[ACCELTCP_A_POLICY_ID + 1] = {
	[ACCELTCP_A_POLICY_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_ACL_GET - do */
static const struct nla_policy acceltcp_acl_get_do_nl_policy[ACCELTCP_A_ACL_HANDLE + 1] = {
	[ACCELTCP_A_ACL_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
	[ACCELTCP_A_ACL_HANDLE] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_ACL_GET - dump */
static const struct nla_policy acceltcp_acl_get_dump_nl_policy[ACCELTCP_A_ACL_IFINDEX + 1] = {
	[ACCELTCP_A_ACL_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_ACL_ADD - do */
static const struct nla_policy acceltcp_acl_add_nl_policy[ACCELTCP_A_ACL_UNTAGGED + 1] = {
	[ACCELTCP_A_ACL_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
	[ACCELTCP_A_ACL_PRIORITY] = { .type = NLA_U16, },
	[ACCELTCP_A_ACL_ACTION] = NLA_POLICY_RANGE(NLA_U32, 1, 2),
	[ACCELTCP_A_ACL_PROTOCOL] = { .type = NLA_U8, },
	[ACCELTCP_A_ACL_FAMILY] = { .type = NLA_U8, },
	[ACCELTCP_A_ACL_SOURCE] = NLA_POLICY_MAX_LEN(16),
	[ACCELTCP_A_ACL_SOURCE_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[ACCELTCP_A_ACL_DESTINATION] = NLA_POLICY_MAX_LEN(16),
	[ACCELTCP_A_ACL_DESTINATION_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[ACCELTCP_A_ACL_SOURCE_PORT_FIRST] = { .type = NLA_U16, },
	[ACCELTCP_A_ACL_SOURCE_PORT_LAST] = { .type = NLA_U16, },
	[ACCELTCP_A_ACL_DESTINATION_PORT_FIRST] = { .type = NLA_U16, },
	[ACCELTCP_A_ACL_DESTINATION_PORT_LAST] = { .type = NLA_U16, },
	[ACCELTCP_A_ACL_VLAN] = NLA_POLICY_RANGE(NLA_U16, 1, 4094),
	[ACCELTCP_A_ACL_UNTAGGED] = { .type = NLA_FLAG, },
};

/* ACCELTCP_CMD_ACL_DEL - do */
static const struct nla_policy acceltcp_acl_del_nl_policy[ACCELTCP_A_ACL_HANDLE + 1] = {
	[ACCELTCP_A_ACL_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
	[ACCELTCP_A_ACL_HANDLE] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_ACL_FLUSH - do */
static const struct nla_policy acceltcp_acl_flush_nl_policy[ACCELTCP_A_ACL_IFINDEX + 1] = {
	[ACCELTCP_A_ACL_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* ACCELTCP_CMD_FLOW_GET - dump */
static const struct nla_policy acceltcp_flow_get_nl_policy[ACCELTCP_A_FLOW_LOCAL_PORT + 1] = {
	[ACCELTCP_A_FLOW_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
	[ACCELTCP_A_FLOW_FAMILY] = NLA_POLICY_RANGE(NLA_U8, 4, 6),
	[ACCELTCP_A_FLOW_STATES] = NLA_POLICY_MASK(NLA_U32, 0x3e),
	[ACCELTCP_A_FLOW_PEER] = NLA_POLICY_MAX_LEN(16),
	[ACCELTCP_A_FLOW_PEER_PREFIX_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[ACCELTCP_A_FLOW_PEER_PORT] = { .type = NLA_U16, },
	[ACCELTCP_A_FLOW_LOCAL] = NLA_POLICY_MAX_LEN(16),
	[ACCELTCP_A_FLOW_LOCAL_PORT] = { .type = NLA_U16, },
};

/* ACCELTCP_CMD_LIMITS_SET - do */
static const struct nla_policy acceltcp_limits_set_nl_policy[ACCELTCP_A_LIMITS_SRAM_LOW + 1] = {
	[ACCELTCP_A_LIMITS_SRAM_HIGH] = NLA_POLICY_RANGE(NLA_U32, 1, 100),
	[ACCELTCP_A_LIMITS_SRAM_LOW] = NLA_POLICY_RANGE(NLA_U32, 1, 100),
};

/* ACCELTCP_CMD_POLICY_SET - do */
static const struct nla_policy acceltcp_policy_set_nl_policy[ACCELTCP_A_POLICY_SET_RULE + 1] = {
	[ACCELTCP_A_POLICY_SET_RULE] = NLA_POLICY_NESTED(acceltcp_policy_rule_nl_policy),
};

/* Ops table for acceltcp */
static const struct genl_split_ops acceltcp_nl_ops[] = {
	{
		.cmd		= ACCELTCP_CMD_DEVICE_GET,
		.doit		= acceltcp_nl_device_get_doit,
		.policy		= acceltcp_device_get_nl_policy,
		.maxattr	= ACCELTCP_A_DEVICE_IFINDEX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= ACCELTCP_CMD_DEVICE_GET,
		.dumpit	= acceltcp_nl_device_get_dumpit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= ACCELTCP_CMD_COUNTER_GET,
		.dumpit		= acceltcp_nl_counter_get_dumpit,
		.policy		= acceltcp_counter_get_nl_policy,
		.maxattr	= ACCELTCP_A_COUNTER_IFINDEX,
		.flags		= GENL_CMD_CAP_DUMP,
	},
	{
		.cmd	= ACCELTCP_CMD_COUNTER_RESET,
		.doit	= acceltcp_nl_counter_reset_doit,
		.flags	= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= ACCELTCP_CMD_LISTENER_GET,
		.dumpit	= acceltcp_nl_listener_get_dumpit,
		.flags	= GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= ACCELTCP_CMD_PAIR_GET,
		.dumpit		= acceltcp_nl_pair_get_dumpit,
		.policy		= acceltcp_pair_get_nl_policy,
		.maxattr	= ACCELTCP_A_PAIR_IFINDEX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= ACCELTCP_CMD_POLICY_GET,
		.doit		= acceltcp_nl_policy_get_doit,
		.policy		= acceltcp_policy_get_nl_policy,
		.maxattr	= ACCELTCP_A_POLICY_ID,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd	= ACCELTCP_CMD_POLICY_GET,
		.dumpit	= acceltcp_nl_policy_get_dumpit,
		.flags	= GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= ACCELTCP_CMD_POLICY_ADD,
		.doit		= acceltcp_nl_policy_add_doit,
		.policy		= acceltcp_policy_add_nl_policy,
		.maxattr	= ACCELTCP_A_POLICY_MAX_DATA,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_POLICY_DEL,
		.doit		= acceltcp_nl_policy_del_doit,
		.policy		= acceltcp_policy_del_nl_policy,
		.maxattr	= ACCELTCP_A_POLICY_ID,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= ACCELTCP_CMD_POLICY_FLUSH,
		.doit	= acceltcp_nl_policy_flush_doit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= ACCELTCP_CMD_KEY_ROTATE,
		.doit	= acceltcp_nl_key_rotate_doit,
		.flags	= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_ACL_GET,
		.doit		= acceltcp_nl_acl_get_doit,
		.policy		= acceltcp_acl_get_do_nl_policy,
		.maxattr	= ACCELTCP_A_ACL_HANDLE,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_ACL_GET,
		.dumpit		= acceltcp_nl_acl_get_dumpit,
		.policy		= acceltcp_acl_get_dump_nl_policy,
		.maxattr	= ACCELTCP_A_ACL_IFINDEX,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= ACCELTCP_CMD_ACL_ADD,
		.doit		= acceltcp_nl_acl_add_doit,
		.policy		= acceltcp_acl_add_nl_policy,
		.maxattr	= ACCELTCP_A_ACL_UNTAGGED,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_ACL_DEL,
		.doit		= acceltcp_nl_acl_del_doit,
		.policy		= acceltcp_acl_del_nl_policy,
		.maxattr	= ACCELTCP_A_ACL_HANDLE,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_ACL_FLUSH,
		.doit		= acceltcp_nl_acl_flush_doit,
		.policy		= acceltcp_acl_flush_nl_policy,
		.maxattr	= ACCELTCP_A_ACL_IFINDEX,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_FLOW_GET,
		.dumpit		= acceltcp_nl_flow_get_dumpit,
		.policy		= acceltcp_flow_get_nl_policy,
		.maxattr	= ACCELTCP_A_FLOW_LOCAL_PORT,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd	= ACCELTCP_CMD_LIMITS_GET,
		.doit	= acceltcp_nl_limits_get_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_LIMITS_SET,
		.doit		= acceltcp_nl_limits_set_doit,
		.policy		= acceltcp_limits_set_nl_policy,
		.maxattr	= ACCELTCP_A_LIMITS_SRAM_LOW,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= ACCELTCP_CMD_POLICY_SET,
		.doit		= acceltcp_nl_policy_set_doit,
		.policy		= acceltcp_policy_set_nl_policy,
		.maxattr	= ACCELTCP_A_POLICY_SET_RULE,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
};

static const struct genl_multicast_group acceltcp_nl_mcgrps[] = {
	[ACCELTCP_NLGRP_DEVICES] = { "devices", },
	[ACCELTCP_NLGRP_WATERMARKS] = { "watermarks", },
	[ACCELTCP_NLGRP_SPLICES] = { "splices", },
};

struct genl_family acceltcp_nl_family __ro_after_init = {
	.name		= ACCELTCP_FAMILY_NAME,
	.version	= ACCELTCP_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.split_ops	= acceltcp_nl_ops,
	.n_split_ops	= ARRAY_SIZE(acceltcp_nl_ops),
	.mcgrps		= acceltcp_nl_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(acceltcp_nl_mcgrps),
};
