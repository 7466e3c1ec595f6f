// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a function is for, as far as its name tells.

use super::symbols::Function;

/// Groups of the kernel's own functions, with beginnings of their names. A name belongs to the first
/// group that has one of it; leading underscores do not count.
const GROUPS: &[(&str, &str)] = &[
    ("helpers of Rust code", "rust_helper_"),
    ("security modules", "aa_ apparmor_ bpf_lsm_ cap_ common_file_perm security_ tomoyo_"),
    ("netfilter", "ipt_ nf_ nft_ xt_"),
    (
        "system calls and files",
        "alloc_empty_file alloc_fd alloc_file alloc_inode check_heap check_object_size check_stack \
         copy_from copy_iovec copy_to copy_user d_ dentry destroy_inode do_accept do_epoll do_iter \
         do_sys do_writev dput entry_SYSCALL ep_ epoll eventpoll evict exit_to_user fd file_ filp \
         fput fsnotify get_unused_fd get_user import_ init_file inode iov iput ksys lockref locks_ \
         mnt move_addr new_inode path_ poll_select put_unused_fd put_user rep_movs rw_verify \
         sockfs sys_ syscall task_work vfs_ virt_addr_valid x64_sys xa_ xas_",
    ),
    (
        "sockets",
        "bpf_sk_ do_sock inet_accept inet_create inet_recvmsg inet_release inet_sendmsg lock_sock \
         release_sock sk_ sock",
    ),
    (
        "TCP",
        "bictcp bpf_skops cookie_ cubictcp do_tcp inet mptcp reqsk secure_tcp tcp",
    ),
    (
        "IP and routes",
        "arp dst_ fib find_exception icmp in_dev ip4 ip6 ip_ ipv4 ipv6 l3mdev neigh raw_local \
         raw_v4 rt_ udp xfrm",
    ),
    (
        "packet buffers",
        "alloc_skb build_skb consume_skb copy_skb csum kfree_skb napi_alloc napi_build_skb \
         napi_skb page_frag page_pool pskb skb",
    ),
    (
        "hashes and random numbers",
        "add_interrupt_randomness chacha fast_mix get_random jhash prandom siphash",
    ),
    (
        "memory",
        "alloc_ drain_obj folio free_ get_free get_obj get_page kfree kmalloc kmem kvfree lruvec \
         memcg memcmp memcpy memmove memset mod_memcg mod_node mod_zone obj_ page put_page \
         rcu_free refill rmqueue slab try_charge vm",
    ),
    (
        "network core and DMA",
        "dev_ dma_ dql_ eth_ flow_dissect force_dma fq_ gro_ iommu napi net packet_ pfifo qdisc \
         sch_ swiotlb validate_ xps",
    ),
    (
        "locks, lists and RCU",
        "call_rcu down_ list_ local_bh migrate_ mutex native_queued note_gp percpu \
         poll_state_synchronize queued_ raw_read raw_spin raw_write rcu_ refcount rwsem spin_ srcu \
         up_",
    ),
    (
        "interrupts and timers",
        "account_ ack_ add_timer apic asm_ calc_wheel call_timer clockevents common_interrupt \
         detach_if do_softirq enqueue_timer error_entry error_return expire_timers generic_handle \
         get_next_timer get_nohz handle_ hrtick hrtimer irq ktime lapic local_clock lock_timer \
         mod_timer msi native_apic next_timer note_interrupt raise_ read_tsc remove_hrtimer \
         round_jiffies run_posix run_timer softirq sysvec tick timekeeping timer tk_ tmigr tsc \
         update_process update_wall usecs_to x2apic",
    ),
    (
        "scheduler",
        "acct_ activate_ add_wait_queue arch_cpu autoremove_wake avg_ cgroup_ cpu_ cpuacct cpuidle \
         deactivate_ default_ dequeue_ dl_ do_idle enqueue_ find_first_bit find_next_bit finish_ \
         idle_cpu insert_work kthread menu_ native_load native_sched pick_ place_ prepare_ \
         process_one propagate_ psi put_prev queue_work rb_ record_times remove_wait_queue \
         resched reweight sched select_ set_next switch_ task_ try_to_wake ttwu update_ vruntime \
         wake worker wq_",
    ),
];

/// What the others are.
const OTHER: &str = "other";

/// The group of a function; each module is one of its own.
pub(super) fn group(function: &Function) -> String {
    if let Some(module) = &function.module {
        return format!("module {module}");
    }
    let name = function.name.trim_start_matches('_');
    let has = |starts: &str| {
        starts
            .split_ascii_whitespace()
            .any(|start| name.starts_with(start))
    };
    let found = GROUPS.iter().find(|(_, starts)| has(starts));
    found.map_or(OTHER, |(group, _)| group).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_group() {
        for (name, expected) in [
            ("tcp_v4_rcv", "TCP"),
            ("__inet_lookup_established", "TCP"),
            ("inet_release", "sockets"),
            ("__x64_sys_close", "system calls and files"),
            ("do_syscall_64", "system calls and files"),
            ("_raw_spin_lock_irqsave", "locks, lists and RCU"),
            ("raw_local_deliver", "IP and routes"),
            ("nf_hook_slow", "netfilter"),
            ("kmem_cache_free", "memory"),
            ("napi_build_skb", "packet buffers"),
            ("napi_gro_receive", "network core and DMA"),
            ("__mod_timer", "interrupts and timers"),
            ("__siphash_unaligned", "hashes and random numbers"),
            ("(no symbol)", "other"),
        ] {
            let function = Function {
                module: None,
                name: name.into(),
            };
            assert_eq!(group(&function), expected, "{name}");
        }
    }

    #[test]
    fn modules_are_groups() {
        let function = Function {
            module: Some("acceltcp".into()),
            name: "tcp_something".into(),
        };
        assert_eq!(group(&function), "module acceltcp");
    }

    #[test]
    fn no_beginning_hides_another() {
        // A later group's word that an earlier one has the beginning of would never be found.
        let words = |starts: &'static str| starts.split_ascii_whitespace();
        for (index, (group, starts)) in GROUPS.iter().enumerate() {
            for start in words(starts) {
                let earlier = GROUPS[..index].iter().flat_map(|(_, starts)| words(starts));
                let hides = earlier.filter(|earlier| start.starts_with(earlier));
                assert_eq!(hides.collect::<Vec<_>>(), [""; 0], "{group}: {start}");
            }
        }
    }
}
