// SPDX-License-Identifier: GPL-2.0

//! Paths of cgroups in the default hierarchy (cgroup v2).
//!
//! A path is a name, whether there is such a cgroup or not: a service that is started again has another cgroup of the same
//! path. Paths are kept as they are from the root of the hierarchy; a caller in a cgroup namespace says, and sees, them from
//! the root of that.
//!
//! C header: [`include/linux/cgroup.h`](srctree/include/linux/cgroup.h)

use super::sock::Socket;
use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Most bytes of a path.
const MAX: usize = 1023;
/// The longest that is written, with its NUL.
const ROOM: usize = MAX + 2;

/// The path of a cgroup from the root of the hierarchy.
///
/// # Invariants
///
/// It begins with `/`, ends with its only NUL, and has no empty component, nor `.` or `..`.
#[derive(PartialEq, Eq)]
pub(crate) struct Path(KVec<u8>);

impl Path {
    /// The path that the calling process names `name`, in its cgroup namespace.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it does not begin with `/`, or has empty components, `.` or `..`; `ENAMETOOLONG`.
    pub(crate) fn new(name: &[u8]) -> Result<Self> {
        let own = Namespace::current()?;
        Self::below(&own.root, name)
    }

    /// The path `name` below `root`, which is a path.
    fn below(root: &[u8], name: &[u8]) -> Result<Self> {
        let relative = name.strip_prefix(b"/").ok_or(EINVAL)?;
        let good = |part: &[u8]| ![&b""[..], b".", b".."].contains(&part) && !part.contains(&0);
        if !components(name).all(good) {
            return Err(EINVAL);
        }
        let root = root.strip_suffix(b"/").unwrap_or(root);
        let name = if relative.is_empty() { b"" } else { name };
        let name = if root.is_empty() && name.is_empty() {
            b"/"
        } else {
            name
        };
        if root.len() + name.len() > MAX {
            return Err(ENAMETOOLONG);
        }
        let mut path = KVec::with_capacity(root.len() + name.len() + 1, GFP_KERNEL_ACCOUNT)?;
        for part in [root, name, b"\0"] {
            path.extend_from_slice(part, GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: Both parts were looked at, here or in the kernel.
        Ok(Self(path))
    }

    /// Without its NUL.
    fn as_bytes(&self) -> &[u8] {
        self.0.strip_suffix(b"\0").unwrap_or(&self.0)
    }

    /// Whether the cgroup at `other`, without NUL, is this one, or below it. Of `other` as many bytes are needed as this
    /// has, and one.
    pub(crate) fn holds(&self, other: &[u8]) -> bool {
        match self.as_bytes() {
            b"/" => true,
            own => other
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
        }
    }
}

/// A cgroup namespace, as the paths of those in it are to be understood.
pub(crate) struct Namespace {
    /// Path of its root, without NUL.
    root: KVec<u8>,
}

impl Namespace {
    /// That of the calling process (process context).
    pub(crate) fn current() -> Result<Self> {
        let root = written(|to, room| {
            // SAFETY: So many bytes may be written.
            unsafe { bindings::acceltcp_cgroup_root(to, room) }
        })?;
        Ok(Self { root })
    }

    /// The name of `path` in this namespace, with NUL. As in the kernel, that of a path outside the root begins with `/..`.
    pub(crate) fn name(&self, path: &Path) -> Result<KVec<u8>> {
        let mut name = KVec::with_capacity(ROOM, GFP_KERNEL)?;
        let mut own = components(&self.root).peekable();
        let mut other = components(path.as_bytes()).peekable();
        while own.peek().is_some() && own.peek() == other.peek() {
            own.next();
            other.next();
        }
        let up = own.map(|_| &b".."[..]);
        // Not that of `pin_init`.
        for part in Iterator::chain(up, other) {
            name.push(b'/', GFP_KERNEL)?;
            name.extend_from_slice(part, GFP_KERNEL)?;
        }
        if name.is_empty() {
            name.push(b'/', GFP_KERNEL)?;
        }
        name.push(0, GFP_KERNEL)?;
        Ok(name)
    }

    /// Whether this namespace, which must be that of the calling process, has no cgroup at `path` (process context). False
    /// for a path outside the root, which cannot be looked up.
    pub(crate) fn lacks(&self, path: &Path) -> Result<bool> {
        let name = self.name(path)?;
        if name.starts_with(b"/../") || &*name == b"/..\0" {
            return Ok(false);
        }
        // SAFETY: The name ends with NUL.
        match to_result(unsafe { bindings::acceltcp_cgroup_exists(name.as_ptr().cast()) }) {
            Ok(()) => Ok(false),
            Err(err) if err == ENOENT => Ok(true),
            Err(err) => Err(err),
        }
    }
}

/// The components of a path; none of the root.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let split = |path| <[u8]>::split(path, |byte: &u8| *byte == b'/');
    (!path.is_empty())
        .then(|| split(path))
        .into_iter()
        .flatten()
}

/// What `f` writes, as a string.
fn written(f: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<KVec<u8>> {
    let mut room = KVec::from_elem(0u8, ROOM, GFP_KERNEL)?;
    to_result(f(room.as_mut_ptr().cast(), ROOM))?;
    let len = room.iter().position(|byte| *byte == 0).ok_or(EINVAL)?;
    room.truncate(len);
    Ok(room)
}

impl Socket<'_> {
    /// Path of the cgroup in which it was made, without NUL, cut behind the length of a [`Path`] (process context). `EINVAL` when
    /// the kernel does not know it.
    pub(crate) fn cgroup_path(self) -> Result<KVec<u8>> {
        written(|to, room| {
            // SAFETY: The socket is alive, and keeps its cgroup so; so many bytes may be written.
            unsafe { bindings::acceltcp_sk_cgroup_path(self.as_raw(), to, room) }
        })
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_cgroup)]
mod tests {
    use super::*;

    fn path(root: &[u8], name: &[u8]) -> Result<KVec<u8>> {
        Path::below(root, name).map(|path| path.0)
    }

    #[test]
    fn names_are_taken_from_the_root_of_the_namespace() -> Result {
        assert_eq!(&*path(b"/", b"/")?, b"/\0");
        assert_eq!(&*path(b"/", b"/a/b")?, b"/a/b\0");
        assert_eq!(&*path(b"/x", b"/")?, b"/x\0");
        assert_eq!(&*path(b"/x", b"/a")?, b"/x/a\0");
        for wrong in [
            &b""[..],
            b"a",
            b"//",
            b"//a",
            b"/a/",
            b"/a//b",
            b"/.",
            b"/a/..",
            b"/a\0b",
        ] {
            assert!(path(b"/", wrong).err() == Some(EINVAL));
        }
        let mut long = KVec::from_elem(b'a', MAX, GFP_KERNEL)?;
        long[0] = b'/';
        assert!(path(b"/", &long).is_ok());
        assert!(path(b"/x", &long).err() == Some(ENAMETOOLONG));
        Ok(())
    }

    #[test]
    fn a_path_holds_what_is_below() -> Result {
        let service = Path::below(b"/", b"/system.slice/a.service")?;
        assert!(service.holds(b"/system.slice/a.service"));
        assert!(service.holds(b"/system.slice/a.service/worker"));
        for other in [
            &b"/"[..],
            b"/system.slice",
            b"/system.slice/a.service2",
            b"/x",
        ] {
            assert!(!service.holds(other));
        }
        assert!(Path::below(b"/", b"/")?.holds(b"/anything"));
        Ok(())
    }

    #[test]
    fn names_in_a_namespace_are_from_its_root() -> Result {
        let name = |root: &[u8], path: &[u8]| -> Result<KVec<u8>> {
            let mut own = KVec::new();
            own.extend_from_slice(root, GFP_KERNEL)?;
            Namespace { root: own }.name(&Path::below(b"/", path)?)
        };
        assert_eq!(&*name(b"/", b"/")?, b"/\0");
        assert_eq!(&*name(b"/", b"/a/b")?, b"/a/b\0");
        assert_eq!(&*name(b"/a", b"/a/b")?, b"/b\0");
        assert_eq!(&*name(b"/a/b", b"/a/b")?, b"/\0");
        assert_eq!(&*name(b"/a/b", b"/a/c")?, b"/../c\0");
        assert_eq!(&*name(b"/a/b", b"/ab")?, b"/../../ab\0");
        assert_eq!(&*name(b"/a/b", b"/")?, b"/../..\0");
        Ok(())
    }
}
