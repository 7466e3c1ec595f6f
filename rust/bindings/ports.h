/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where frames of a network device come out: at itself, and at the VLAN devices
 * on top of it, each in a namespace of its own.
 */
#ifndef ACCELTCP_PORTS_H
#define ACCELTCP_PORTS_H

#include <linux/netdevice.h>
#include <linux/types.h>

/* A VLAN field that stands for "no tag". */
#define ACCELTCP_NO_VLAN 0xffff

struct acceltcp_port {
	const struct net *net;
	s32 ifindex;
	s32 master;		/* of a VRF, 0 for none */
	u32 mtu;
	u16 vlan_outer;
	u16 vlan_inner;
	bool takes_unbound;	/* also sockets that are not bound to a device */
	bool forwards_v4;
	bool forwards_v6;
};

/*
 * Writes at most @room ports of @dev to @to, and returns how many there are.
 * Devices that are down, or whose frames someone else takes (a bridge, a bond,
 * macvlan), are none.
 */
unsigned int acceltcp_ports(struct net_device *dev, struct acceltcp_port *to,
			    unsigned int room);

#endif
