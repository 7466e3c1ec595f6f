// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How messages are declared.

/// A message, and how many bytes it has. The derives must be in scope.
macro_rules! wire {
    ($(#[$doc:meta])* $vis:vis struct $name:ident, $size:literal { $($body:tt)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        $vis struct $name { $($body)* }

        impl $name {
            /// Bytes on the wire.
            pub const SIZE: usize = $size;
        }

        const _: () = assert!(core::mem::size_of::<$name>() == $size);
    };
}
pub(crate) use wire;
