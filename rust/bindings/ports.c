// SPDX-License-Identifier: GPL-2.0
/* See ports.h. */

#include "ports.h"
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <net/addrconf.h>
#include <net/l3mdev.h>
#include <net/net_namespace.h>

struct acceltcp_walk {
	struct net_device *dev;
	struct acceltcp_port *to;
	unsigned int room;
	unsigned int count;
};

static void acceltcp_add(struct acceltcp_walk *walk, struct net_device *dev,
			 u16 vlan_outer, u16 vlan_inner)
{
	const struct in_device *in_dev = __in_dev_get_rcu(dev);
	const struct net *net = dev_net_rcu(dev);
	struct acceltcp_port *to;

	if (!netif_running(dev) || rcu_access_pointer(dev->rx_handler))
		return;
	if (walk->count++ >= walk->room)
		return;
	to = &walk->to[walk->count - 1];
	memset(to, 0, sizeof(*to));
	to->net = net;
	to->ifindex = READ_ONCE(dev->ifindex);
	to->mtu = READ_ONCE(dev->mtu);
	to->vlan_outer = vlan_outer;
	to->vlan_inner = vlan_inner;
	to->takes_unbound = true;
	if (netif_is_l3_slave(dev)) {
		to->master = l3mdev_master_ifindex_rcu(dev);
#ifdef CONFIG_NET_L3_MASTER_DEV
		to->takes_unbound = READ_ONCE(net->ipv4.sysctl_tcp_l3mdev_accept);
#endif
	}
	to->forwards_v4 = in_dev && IN_DEV_FORWARD(in_dev);
#if IS_ENABLED(CONFIG_IPV6)
	{
		const struct inet6_dev *in6_dev = __in6_dev_get(dev);

		to->forwards_v6 = in6_dev && READ_ONCE(in6_dev->cnf.forwarding);
	}
#endif
}

#if IS_ENABLED(CONFIG_VLAN_8021Q)
/*
 * A VLAN id that the card can tell from others. Without REORDER_HDR the kernel
 * moves the frame away from what the driver has put in front of it.
 */
static bool acceltcp_is_vlan(const struct net_device *dev)
{
	return is_vlan_dev(dev) && vlan_dev_priv(dev)->vlan_id &&
	       (vlan_dev_priv(dev)->flags & VLAN_FLAG_REORDER_HDR) &&
	       netif_running(dev);
}

static int acceltcp_visit(struct net_device *upper,
			  struct netdev_nested_priv *priv)
{
	struct acceltcp_walk *walk = priv->data;
	const struct net_device *lower;

	if (!acceltcp_is_vlan(upper))
		return 0;
	lower = vlan_dev_priv(upper)->real_dev;
	if (lower == walk->dev)
		acceltcp_add(walk, upper, vlan_dev_priv(upper)->vlan_id,
			     ACCELTCP_NO_VLAN);
	else if (acceltcp_is_vlan(lower) &&
		 vlan_dev_priv(lower)->real_dev == walk->dev)
		acceltcp_add(walk, upper, vlan_dev_priv(lower)->vlan_id,
			     vlan_dev_priv(upper)->vlan_id);
	return 0;
}
#endif

unsigned int acceltcp_ports(struct net_device *dev, struct acceltcp_port *to,
			    unsigned int room)
{
	struct acceltcp_walk walk = { .dev = dev, .to = to, .room = room };

	rcu_read_lock();
	if (netif_running(dev)) {
		acceltcp_add(&walk, dev, ACCELTCP_NO_VLAN, ACCELTCP_NO_VLAN);
#if IS_ENABLED(CONFIG_VLAN_8021Q)
		struct netdev_nested_priv priv = { .data = &walk };

		netdev_walk_all_upper_dev_rcu(dev, acceltcp_visit, &priv);
#endif
	}
	rcu_read_unlock();
	return walk.count;
}
