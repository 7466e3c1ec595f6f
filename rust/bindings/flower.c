// SPDX-License-Identifier: GPL-2.0
/* See flower.h. */

#include "flower.h"
#include "ports.h"
#include <linux/if_vlan.h>
#include <net/flow_offload.h>
#include <net/pkt_cls.h>

#define refuse(extack, text)				\
({							\
	NL_SET_ERR_MSG_MOD(extack, text);		\
	-EOPNOTSUPP;					\
})

/* Under the RTNL. */
static LIST_HEAD(acceltcp_blocks);

int acceltcp_flower_setup(struct net_device *dev, enum tc_setup_type type,
			  void *data,
			  int (*block)(enum tc_setup_type type, void *data,
				       void *dev))
{
	if (type != TC_SETUP_BLOCK)
		return -EOPNOTSUPP;
	return flow_block_cb_setup_simple(data, &acceltcp_blocks, block, dev,
					  dev, true);
}

/* How many bits of @mask lead, or an error when others are set, too. */
static int acceltcp_prefix(const void *mask, int size)
{
	const u8 *bytes = mask;
	int bits = 0, at;

	while (bits < size * 8 && bytes[bits / 8] & 0x80 >> bits % 8)
		bits++;
	for (at = bits; at < size * 8; at++)
		if (bytes[at / 8] & 0x80 >> at % 8)
			return -EINVAL;
	return bits;
}

static int acceltcp_read_addresses(const struct flow_rule *rule,
				   struct netlink_ext_ack *extack,
				   struct acceltcp_flower *to)
{
	const void *keys[2], *masks[2];
	int size, source_len, destination_len;

	if (flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_IPV4_ADDRS) &&
	    to->family == 4) {
		struct flow_match_ipv4_addrs match;

		flow_rule_match_ipv4_addrs(rule, &match);
		keys[0] = &match.key->src;
		keys[1] = &match.key->dst;
		masks[0] = &match.mask->src;
		masks[1] = &match.mask->dst;
		size = sizeof(match.key->src);
	} else if (flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_IPV6_ADDRS) &&
		   to->family == 6) {
		struct flow_match_ipv6_addrs match;

		flow_rule_match_ipv6_addrs(rule, &match);
		keys[0] = &match.key->src;
		keys[1] = &match.key->dst;
		masks[0] = &match.mask->src;
		masks[1] = &match.mask->dst;
		size = sizeof(match.key->src);
	} else {
		return 0;
	}
	source_len = acceltcp_prefix(masks[0], size);
	destination_len = acceltcp_prefix(masks[1], size);
	if (source_len < 0 || destination_len < 0)
		return refuse(extack, "addresses need masks that are prefixes");
	memcpy(to->source, keys[0], size);
	memcpy(to->destination, keys[1], size);
	to->source_len = source_len;
	to->destination_len = destination_len;
	return 0;
}

static int acceltcp_read_port(__be16 key, __be16 mask,
			      struct netlink_ext_ack *extack, bool *has, u16 *to)
{
	if (!mask)
		return 0;
	if (mask != htons(0xffff))
		return refuse(extack, "ports cannot have masks");
	*has = true;
	to[0] = ntohs(key);
	to[1] = ntohs(key);
	return 0;
}

static int acceltcp_read_ports(const struct flow_rule *rule,
			       struct netlink_ext_ack *extack,
			       struct acceltcp_flower *to)
{
	int err;

	if (flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_PORTS)) {
		struct flow_match_ports match;

		flow_rule_match_ports(rule, &match);
		err = acceltcp_read_port(match.key->src, match.mask->src,
					 extack, &to->has_source_ports,
					 to->source_ports);
		if (err)
			return err;
		err = acceltcp_read_port(match.key->dst, match.mask->dst,
					 extack, &to->has_destination_ports,
					 to->destination_ports);
		if (err)
			return err;
	}
	if (flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_PORTS_RANGE)) {
		struct flow_match_ports_range match;

		flow_rule_match_ports_range(rule, &match);
		if (match.mask->tp_min.src) {
			to->has_source_ports = true;
			to->source_ports[0] = ntohs(match.key->tp_min.src);
			to->source_ports[1] = ntohs(match.key->tp_max.src);
		}
		if (match.mask->tp_min.dst) {
			to->has_destination_ports = true;
			to->destination_ports[0] = ntohs(match.key->tp_min.dst);
			to->destination_ports[1] = ntohs(match.key->tp_max.dst);
		}
	}
	return 0;
}

/*
 * Without a VLAN in the filter, its protocol is that of frames without a tag.
 */
static int acceltcp_read_vlan(const struct flow_cls_offload *cls,
			      struct acceltcp_flower *to)
{
	struct netlink_ext_ack *extack = cls->common.extack;
	const struct flow_rule *rule = cls->rule;
	struct flow_match_vlan match;

	to->vlan = ACCELTCP_NO_VLAN;
	if (!flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_VLAN)) {
		if (cls->common.protocol != htons(ETH_P_IP) &&
		    cls->common.protocol != htons(ETH_P_IPV6))
			return refuse(extack, "a filter for tagged frames needs a VLAN id");
		return 0;
	}
	flow_rule_match_vlan(rule, &match);
	if (cls->common.protocol != htons(ETH_P_8021Q))
		return refuse(extack, "VLANs other than those of 802.1Q are not looked at");
	if (match.mask->vlan_priority || match.mask->vlan_dei)
		return refuse(extack, "of a VLAN only the id is looked at");
	if (match.mask->vlan_id != VLAN_VID_MASK || !match.key->vlan_id ||
	    match.key->vlan_id == VLAN_VID_MASK)
		return refuse(extack, "a filter for tagged frames needs a VLAN id");
	to->vlan = match.key->vlan_id;
	return 0;
}

static int acceltcp_read_basic(const struct flow_rule *rule,
			       struct netlink_ext_ack *extack,
			       struct acceltcp_flower *to)
{
	struct flow_match_basic match;

	if (!flow_rule_match_key(rule, FLOW_DISSECTOR_KEY_BASIC))
		return refuse(extack, "only IPv4 and IPv6 are looked at");
	flow_rule_match_basic(rule, &match);
	if (match.mask->n_proto != htons(0xffff))
		return refuse(extack, "only IPv4 and IPv6 are looked at");
	if (match.key->n_proto == htons(ETH_P_IP))
		to->family = 4;
	else if (match.key->n_proto == htons(ETH_P_IPV6))
		to->family = 6;
	else
		return refuse(extack, "only IPv4 and IPv6 are looked at");
	if (match.mask->ip_proto) {
		to->has_protocol = true;
		to->protocol = match.key->ip_proto;
	}
	return 0;
}

static int acceltcp_read_action(const struct flow_action *action,
				struct netlink_ext_ack *extack,
				struct acceltcp_flower *to)
{
	if (!flow_offload_has_one_action(action))
		return refuse(extack, "a filter needs one action, drop or pass");
	switch (action->entries[0].id) {
	case FLOW_ACTION_ACCEPT:
		to->deny = false;
		break;
	case FLOW_ACTION_DROP:
		to->deny = true;
		break;
	default:
		return refuse(extack, "the only actions are drop and pass");
	}
	if (!flow_action_hw_stats_check(action, extack,
					FLOW_ACTION_HW_STATS_IMMEDIATE_BIT))
		return -EOPNOTSUPP;
	return 0;
}

static int acceltcp_flower_read(const struct flow_cls_offload *cls,
				struct acceltcp_flower *to)
{
	const u64 known = BIT_ULL(FLOW_DISSECTOR_KEY_CONTROL) |
			  BIT_ULL(FLOW_DISSECTOR_KEY_BASIC) |
			  BIT_ULL(FLOW_DISSECTOR_KEY_IPV4_ADDRS) |
			  BIT_ULL(FLOW_DISSECTOR_KEY_IPV6_ADDRS) |
			  BIT_ULL(FLOW_DISSECTOR_KEY_PORTS) |
			  BIT_ULL(FLOW_DISSECTOR_KEY_PORTS_RANGE) |
			  BIT_ULL(FLOW_DISSECTOR_KEY_VLAN);
	struct netlink_ext_ack *extack = cls->common.extack;
	const struct flow_rule *rule = cls->rule;
	int err;

	if (rule->match.dissector->used_keys & ~known)
		return refuse(extack, "the card looks at addresses, protocol, ports and VLAN id only");
	if (flow_rule_match_has_control_flags(rule, extack))
		return -EOPNOTSUPP;
	err = acceltcp_read_basic(rule, extack, to);
	if (!err)
		err = acceltcp_read_vlan(cls, to);
	if (!err)
		err = acceltcp_read_addresses(rule, extack, to);
	if (!err)
		err = acceltcp_read_ports(rule, extack, to);
	if (!err)
		err = acceltcp_read_action(&rule->action, extack, to);
	to->priority = cls->common.prio;
	return err;
}

int acceltcp_flower_run(struct net_device *dev, enum tc_setup_type type,
			void *data,
			int (*run)(struct net_device *dev,
				   struct acceltcp_flower *flower))
{
	struct flow_cls_offload *cls = data;
	struct acceltcp_flower flower = {};
	int err;

	if (type != TC_SETUP_CLSFLOWER)
		return -EOPNOTSUPP;
	flower.cookie = cls->cookie;
	switch (cls->command) {
	case FLOW_CLS_REPLACE:
		if (!tc_cls_can_offload_and_chain0(dev, &cls->common))
			return -EOPNOTSUPP;
		err = acceltcp_flower_read(cls, &flower);
		if (err)
			return err;
		flower.command = ACCELTCP_FLOWER_ADD;
		err = run(dev, &flower);
		if (err == -ENOSPC)
			NL_SET_ERR_MSG_MOD(cls->common.extack, "the card has no room for more rules");
		else if (err)
			NL_SET_ERR_MSG_MOD(cls->common.extack, "the card does not take the rule");
		return err;
	case FLOW_CLS_DESTROY:
		flower.command = ACCELTCP_FLOWER_REMOVE;
		return run(dev, &flower);
	case FLOW_CLS_STATS:
		flower.command = ACCELTCP_FLOWER_STATS;
		err = run(dev, &flower);
		if (err)
			return err;
		flow_stats_update(&cls->stats, flower.bytes, flower.frames, 0,
				  flower.frames ? jiffies : 0,
				  FLOW_ACTION_HW_STATS_IMMEDIATE);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}
