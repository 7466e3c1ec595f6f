// SPDX-License-Identifier: GPL-2.0
/*
 * See late.h. A frame is made what it was on the wire, and sent by the device by
 * which it came: its driver knows it by its metadata.
 */

#include "bindings.h"
#include <linux/if_vlan.h>
#include <linux/ipv6.h>
#include <net/ip6_checksum.h>

/*
 * GRO, and the backlog of a socket, have merged segments: makes it a frame that is
 * to be cut again. It begins like the first one.
 */
static bool acceltcp_unmerge(struct sk_buff *skb, const struct sock *sk)
{
	u32 len = skb->len - skb_transport_offset(skb);
	struct skb_shared_info *info = skb_shinfo(skb);
	struct tcphdr *th = tcp_hdr(skb);

	if (skb->len > GSO_LEGACY_MAX_SIZE)
		return false;
	if (skb->protocol == htons(ETH_P_IP)) {
		struct iphdr *iph = ip_hdr(skb);

		iph->tot_len = htons(len + ip_hdrlen(skb));
		ip_send_check(iph);
		th->check = ~tcp_v4_check(len, iph->saddr, iph->daddr, 0);
		info->gso_type = SKB_GSO_TCPV4;
	} else {
		struct ipv6hdr *hdr = ipv6_hdr(skb);

		if (skb_network_header_len(skb) != sizeof(*hdr))
			return false;
		hdr->payload_len = htons(len);
		th->check = ~tcp_v6_check(len, &hdr->saddr, &hdr->daddr, 0);
		info->gso_type = SKB_GSO_TCPV6;
	}
	/* Of the last one, as tcp_add_backlog() left it. */
	if (sk)
		th->ack_seq = htonl(TCP_SKB_CB(skb)->ack_seq);
	info->gso_segs = DIV_ROUND_UP(len - tcp_hdrlen(skb), info->gso_size);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct tcphdr, check);
	return true;
}

/* Makes the received frame @skb what it was on the wire. */
static bool acceltcp_unreceive(struct sk_buff *skb, const struct sock *sk)
{
	struct net_device *dev = skb->dev;
	const struct dst_entry *dst;

	if (sk) {
		dev = dev_get_by_index_rcu(sock_net(sk), skb->skb_iif);
		dst = __sk_dst_get(sk);
		/* It may have come by another device; and the tags are gone with a VLAN device. */
		if (dst && dst_dev_rcu(dst) != dev)
			return false;
	}
	if (!dev || is_vlan_dev(dev) || dev->ifindex != skb->skb_iif ||
	    !skb_mac_header_was_set(skb) || skb_has_frag_list(skb) ||
	    skb_mac_header(skb) > skb->data)
		return false;
	skb_orphan(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	skb_ext_reset(skb);
	skb_clear_tstamp(skb);
	__skb_push(skb, skb->data - skb_mac_header(skb));
	skb_reset_mac_header(skb);
	skb_metadata_clear(skb);
	skb->dev = dev;
	skb->mark = 0;
	if (skb_cow_head(skb, SZ_64))
		return false;
	if (skb_is_gso(skb))
		return skb_transport_header_was_set(skb) &&
		       acceltcp_unmerge(skb, sk);
	skb->ip_summed = CHECKSUM_NONE;
	return true;
}

/*
 * Gives the received frame @skb back to its card, with @mark as metadata that tells
 * the driver so; @sk is given when it waited behind the lock of that socket, or NULL.
 * False when that cannot be. The frame is gone in any case.
 */
bool acceltcp_give_back(struct sk_buff *skb, const struct sock *sk,
			const void *mark, u8 mark_len)
{
	bool done = false;
	u16 queue = 0;

	rcu_read_lock();
	if (!acceltcp_unreceive(skb, sk)) {
		kfree_skb(skb);
		goto out;
	}
	memcpy(skb->data - mark_len, mark, mark_len);
	skb_metadata_set(skb, mark_len);
	if (skb_rx_queue_recorded(skb))
		queue = skb_get_rx_queue(skb) %
			READ_ONCE(skb->dev->real_num_tx_queues);
	done = dev_direct_xmit(skb, queue) == NETDEV_TX_OK;
out:
	rcu_read_unlock();
	return done;
}
