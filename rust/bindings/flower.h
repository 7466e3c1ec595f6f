/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flower filters of tc, as far as a card's access list can do what they ask.
 */
#ifndef ACCELTCP_FLOWER_H
#define ACCELTCP_FLOWER_H

#include <linux/netdevice.h>
#include <linux/types.h>

enum acceltcp_flower_command {
	ACCELTCP_FLOWER_ADD,
	ACCELTCP_FLOWER_REMOVE,
	ACCELTCP_FLOWER_STATS,
};

struct acceltcp_flower {
	enum acceltcp_flower_command command;
	unsigned long cookie;	/* names the filter */

	/* What a new one matches, and its priority. */
	u16 priority;
	bool deny;
	u8 family;		/* 4 or 6 */
	bool has_protocol;
	u8 protocol;
	bool has_source_ports;
	bool has_destination_ports;
	u16 source_ports[2];	/* first and last */
	u16 destination_ports[2];
	u16 vlan;		/* or ACCELTCP_NO_VLAN */
	u8 source_len;
	u8 destination_len;
	u8 source[16];
	u8 destination[16];

	/* What it has decided about since it was asked last. */
	u64 frames;
	u64 bytes;
};

/*
 * For ndo_setup_tc: binds blocks of @dev at ingress to @block, which is to call
 * acceltcp_flower_run().
 */
int acceltcp_flower_setup(struct net_device *dev, enum tc_setup_type type,
			  void *data,
			  int (*block)(enum tc_setup_type type, void *data,
				       void *dev));

/* Calls @run for what it can do, under the RTNL, and says why it cannot. */
int acceltcp_flower_run(struct net_device *dev, enum tc_setup_type type,
			void *data,
			int (*run)(struct net_device *dev,
				   struct acceltcp_flower *flower));

#endif
