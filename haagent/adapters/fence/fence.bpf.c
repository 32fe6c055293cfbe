// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel's half of the fence: a guard that keeps virtual addresses silent unless the
 * agent is alive and has lately said so.
 *
 * haagent_ingress and haagent_egress stay attached to an interface when the agent dies.  A
 * packet that shows a guarded address passes only if
 *   1. the deadline of the address, which the agent writes through a shared page, lies ahead, and
 *   2. the tail call into the agent's own program succeeds: the kernel empties a program array
 *      when the last process that holds it is gone, and then the call falls through.
 *
 * Ingress judges whom a frame is for, egress in whose name it is sent:
 *              ingress                        egress
 *   ARP        target address                 sender address
 *   IPv4       destination                    source
 *   IPv6       destination                    source
 *   ICMPv6     target of a solicitation       target of an advertisement
 * What others say of the address (their announcements, their answers) passes, so that this host
 * finds the new holder.  Fragments carry their addresses like any packet.  VLAN tags are looked
 * through, because Linux answers for its addresses on tagged interfaces above as well.
 *
 * The agent compiles nothing: `make bpf` does, and a test holds the object against this file.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct address {
	__u32 interface;	/* index, because one address may be guarded on several */
	__u32 mapped[4];	/* IPv6, or IPv4 as ::ffff:a.b.c.d */
};

/* The agent sets the sizes before it loads: one slot for each address of each interface. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct address);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);	/* nanoseconds on CLOCK_BOOTTIME; 0: closed */
} deadlines SEC(".maps");

SEC("tc")
int haagent_open(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_UNSPEC;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} alive SEC(".maps") = { .values = { [0] = &haagent_open } };

enum verdict { NOT_GUARDED, OPEN, CLOSED };

static __always_inline enum verdict judge(const struct address *address)
{
	__u32 *slot = bpf_map_lookup_elem(&slots, address);
	__u64 *deadline;

	if (!slot)
		return NOT_GUARDED;
	deadline = bpf_map_lookup_elem(&deadlines, slot);
	return deadline && bpf_ktime_get_boot_ns() < *deadline ? OPEN : CLOSED;
}

static __always_inline enum verdict judge_ipv4(struct __sk_buff *skb, __u32 offset)
{
	struct address address = { .interface = skb->ifindex, .mapped = { 0, 0, bpf_htonl(0xffff) } };

	if (bpf_skb_load_bytes(skb, offset, &address.mapped[3], 4))
		return NOT_GUARDED;	/* too short to be accepted by anybody */
	return judge(&address);
}

static __always_inline enum verdict judge_ipv6(struct __sk_buff *skb, __u32 offset)
{
	struct address address = { .interface = skb->ifindex };

	if (bpf_skb_load_bytes(skb, offset, address.mapped, 16))
		return NOT_GUARDED;
	return judge(&address);
}

struct arp {
	__u8 fixed[8], sender_mac[6], sender[4], target_mac[6], target[4];
};

static __always_inline enum verdict judge_arp(struct __sk_buff *skb, __u32 offset, bool outbound)
{
	struct arp arp;

	if (bpf_skb_load_bytes(skb, offset, &arp, sizeof(arp)))
		return NOT_GUARDED;
	if (outbound)
		return judge_ipv4(skb, offset + offsetof(struct arp, sender));
	/* An announcement (RFC 5227 2.3) asks nothing and tells us where the address is now. */
	if (!__builtin_memcmp(arp.sender, arp.target, 4))
		return NOT_GUARDED;
	return judge_ipv4(skb, offset + offsetof(struct arp, target));
}

/*
 * The target of neighbour discovery behind up to eight extension headers.  A solicitation
 * behind more is answered by our kernel with the guarded address as the source, which egress
 * drops.
 */
static __always_inline enum verdict judge_target(struct __sk_buff *skb, __u32 offset, __u8 next,
						 bool outbound)
{
	for (int i = 0; i < 9; i++) {
		__u8 header[4];

		switch (next) {
		case 0:		/* hop-by-hop options */
		case 43:	/* routing */
		case 44:	/* fragment */
		case 60:	/* destination options */
		case 58:	/* ICMPv6 */
			break;
		default:
			return NOT_GUARDED;
		}
		if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
			return NOT_GUARDED;
		if (next == 58)
			return header[0] == (outbound ? 136 : 135) ?
				judge_ipv6(skb, offset + 8) : NOT_GUARDED;
		if (next == 44 && (header[2] || header[3] & 0xf8))
			return NOT_GUARDED;	/* not the first fragment */
		offset += next == 44 ? 8 : (header[1] + 1) * 8;
		next = header[0];
	}
	return NOT_GUARDED;
}

static __always_inline enum verdict judge_packet(struct __sk_buff *skb, bool outbound)
{
	__u32 offset = offsetof(struct ethhdr, h_proto);
	enum verdict verdict;
	__be16 protocol;
	__u8 next;

	for (int tags = 0; tags < 3; tags++, offset += 4) {
		if (bpf_skb_load_bytes(skb, offset, &protocol, sizeof(protocol)))
			return NOT_GUARDED;
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
	}
	offset += 2;
	switch (protocol) {
	case bpf_htons(ETH_P_ARP):
		return judge_arp(skb, offset, outbound);
	case bpf_htons(ETH_P_IP):
		return judge_ipv4(skb, offset + (outbound ? 12 : 16));
	case bpf_htons(ETH_P_IPV6):
		verdict = judge_ipv6(skb, offset + (outbound ? 8 : 24));
		if (verdict == CLOSED || bpf_skb_load_bytes(skb, offset + 6, &next, 1))
			return verdict;
		/* Both must be open, and the target seldom is another address. */
		enum verdict target = judge_target(skb, offset + 40, next, outbound);
		return target > verdict ? target : verdict;
	default:
		return NOT_GUARDED;
	}
}

static __always_inline int guard(struct __sk_buff *skb, bool outbound)
{
	switch (judge_packet(skb, outbound)) {
	case NOT_GUARDED:
		return TC_ACT_UNSPEC;	/* the next filter's, if there is one */
	case OPEN:
		bpf_tail_call(skb, &alive, 0);
		return TC_ACT_SHOT;	/* the agent is gone */
	default:
		return TC_ACT_SHOT;
	}
}

SEC("tc")
int haagent_ingress(struct __sk_buff *skb)
{
	return guard(skb, false);
}

SEC("tc")
int haagent_egress(struct __sk_buff *skb)
{
	return guard(skb, true);
}
