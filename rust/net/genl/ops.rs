// SPDX-License-Identifier: GPL-2.0

//! The functions of the generated table of operations (`rust/bindings/netlink_gen.c`).

use super::{
    handlers,
    Page,
    Reply,
    Request, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_result,
    prelude::*, //
};

/// # Safety
///
/// To be called by generic netlink only, for an operation whose policy ends with `max`.
unsafe fn doit(
    skb: *mut bindings::sk_buff,
    info: *mut bindings::genl_info,
    command: u32,
    max: u32,
) -> c_int {
    from_result(|| {
        let info = NonNull::new(info).ok_or(EINVAL)?;
        let (command, max) = (command as u8, max as u16);
        // SAFETY: The safety requirement.
        let (request, mut reply) =
            unsafe { (Request::new(info, skb, max), Reply::new(info, command)) };
        let handlers = handlers().ok_or(EOPNOTSUPP)?;
        handlers.run(command, &request, &mut reply)?;
        reply.send()?;
        Ok(0)
    })
}

/// # Safety
///
/// To be called by generic netlink only, for a dump whose policy ends with `max`.
unsafe fn dumpit(
    skb: *mut bindings::sk_buff,
    cb: *mut bindings::netlink_callback,
    command: u32,
    max: u32,
) -> c_int {
    from_result(|| {
        let (page, cb) = (
            NonNull::new(skb).ok_or(EINVAL)?,
            NonNull::new(cb).ok_or(EINVAL)?,
        );
        // SAFETY: The safety requirement; the information of a dump lives as long as the dump.
        let (request, mut page) = unsafe {
            let info = bindings::acceltcp_nl_dump_info(cb.as_ptr()).cast_mut();
            let info = NonNull::new(info).ok_or(EINVAL)?;
            (
                Request::new(info, (*cb.as_ptr()).skb, max as u16),
                Page::new(page, cb, command as u8),
            )
        };
        let handlers = handlers().ok_or(EOPNOTSUPP)?;
        handlers.dump(command as u8, &request, &mut page)?;
        // SAFETY: The page is valid.
        Ok(unsafe { (*skb).len } as c_int)
    })
}

macro_rules! operations {
    (do $($name:ident($command:ident, $max:expr),)*) => {$(
        /// # Safety
        ///
        /// To be called by generic netlink only.
        #[no_mangle]
        unsafe extern "C" fn $name(
            skb: *mut bindings::sk_buff,
            info: *mut bindings::genl_info,
        ) -> c_int {
            // SAFETY: The safety requirement; the generated policy has this end.
            unsafe { doit(skb, info, bindings::$command, $max) }
        }
    )*};
    (dump $($name:ident($command:ident, $max:expr),)*) => {$(
        /// # Safety
        ///
        /// To be called by generic netlink only.
        #[no_mangle]
        unsafe extern "C" fn $name(
            skb: *mut bindings::sk_buff,
            cb: *mut bindings::netlink_callback,
        ) -> c_int {
            // SAFETY: The safety requirement; the generated policy has this end.
            unsafe { dumpit(skb, cb, bindings::$command, $max) }
        }
    )*};
}

// The ends are those of the generated file; 0 where it has no policy, and there are no attributes.
operations! { do
    acceltcp_nl_device_get_doit(ACCELTCP_CMD_DEVICE_GET, bindings::ACCELTCP_A_DEVICE_IFINDEX),
    acceltcp_nl_counter_reset_doit(ACCELTCP_CMD_COUNTER_RESET, 0),
    acceltcp_nl_policy_get_doit(ACCELTCP_CMD_POLICY_GET, bindings::ACCELTCP_A_POLICY_ID),
    acceltcp_nl_policy_add_doit(ACCELTCP_CMD_POLICY_ADD, bindings::ACCELTCP_A_POLICY_MAX_DATA),
    acceltcp_nl_policy_del_doit(ACCELTCP_CMD_POLICY_DEL, bindings::ACCELTCP_A_POLICY_ID),
    acceltcp_nl_policy_flush_doit(ACCELTCP_CMD_POLICY_FLUSH, 0),
    acceltcp_nl_policy_set_doit(ACCELTCP_CMD_POLICY_SET, bindings::ACCELTCP_A_POLICY_SET_RULE),
    acceltcp_nl_key_rotate_doit(ACCELTCP_CMD_KEY_ROTATE, 0),
    acceltcp_nl_acl_get_doit(ACCELTCP_CMD_ACL_GET, bindings::ACCELTCP_A_ACL_HANDLE),
    acceltcp_nl_acl_add_doit(ACCELTCP_CMD_ACL_ADD, bindings::ACCELTCP_A_ACL_UNTAGGED),
    acceltcp_nl_acl_del_doit(ACCELTCP_CMD_ACL_DEL, bindings::ACCELTCP_A_ACL_HANDLE),
    acceltcp_nl_acl_flush_doit(ACCELTCP_CMD_ACL_FLUSH, bindings::ACCELTCP_A_ACL_IFINDEX),
    acceltcp_nl_limits_get_doit(ACCELTCP_CMD_LIMITS_GET, 0),
    acceltcp_nl_limits_set_doit(ACCELTCP_CMD_LIMITS_SET, bindings::ACCELTCP_A_LIMITS_SRAM_LOW),
}
operations! { dump
    acceltcp_nl_device_get_dumpit(ACCELTCP_CMD_DEVICE_GET, 0),
    acceltcp_nl_counter_get_dumpit(ACCELTCP_CMD_COUNTER_GET, bindings::ACCELTCP_A_COUNTER_IFINDEX),
    acceltcp_nl_listener_get_dumpit(ACCELTCP_CMD_LISTENER_GET, 0),
    acceltcp_nl_pair_get_dumpit(ACCELTCP_CMD_PAIR_GET, bindings::ACCELTCP_A_PAIR_IFINDEX),
    acceltcp_nl_policy_get_dumpit(ACCELTCP_CMD_POLICY_GET, 0),
    acceltcp_nl_acl_get_dumpit(ACCELTCP_CMD_ACL_GET, bindings::ACCELTCP_A_ACL_IFINDEX),
    acceltcp_nl_flow_get_dumpit(ACCELTCP_CMD_FLOW_GET, bindings::ACCELTCP_A_FLOW_LOCAL_PORT),
}
