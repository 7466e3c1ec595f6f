// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Guest memory, as the VMM maps it for DMA. The only place with `unsafe` in the device.
//!
//! The guest changes this memory at any time. Nothing here makes a reference to it: bytes are copied through raw
//! pointers, once, and callers judge the copy.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// An address range that is not mapped, or not for this kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress;

/// What the device may do with a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The device may read.
    pub read: bool,
    /// The device may write.
    pub write: bool,
}

/// Mapped regions, sorted by address, without overlap.
#[derive(Debug, Default)]
pub struct GuestMemory {
    regions: Vec<Region>,
}

#[derive(Debug)]
struct Region {
    start: u64,
    /// First address behind the region.
    end: u64,
    access: Access,
    mapping: Mapping,
}

impl GuestMemory {
    /// Maps `len` bytes of `file` from `offset` on at guest address `start`.
    ///
    /// Without a file (a ROM that only the VMM can read) nothing is mapped, and a DMA there is a bad one.
    ///
    /// # Errors
    ///
    /// When the range is empty or wraps, overlaps another one, or is larger than the file; or what mmap says.
    pub fn map(
        &mut self,
        start: u64,
        len: u64,
        access: Access,
        file: Option<(&File, u64)>,
    ) -> io::Result<()> {
        let end = start
            .checked_add(len)
            .filter(|_| len != 0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "range wraps"))?;
        let at = self.regions.partition_point(|region| region.end <= start);
        if self.regions.get(at).is_some_and(|next| next.start < end) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "overlap"));
        }
        let Some((file, offset)) = file else {
            return Ok(());
        };
        let mapping = Mapping::new(file, offset, len, access)?;
        self.regions.insert(
            at,
            Region {
                start,
                end,
                access,
                mapping,
            },
        );
        Ok(())
    }

    /// Takes away every region that has a byte in `start..start + len`.
    pub fn unmap(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len);
        self.regions
            .retain(|region| region.end <= start || region.start >= end);
    }

    /// Takes all regions away.
    pub fn clear(&mut self) {
        self.regions.clear();
    }

    /// Copies from guest memory at `addr`.
    pub fn read(&self, addr: u64, data: &mut [u8]) -> Result<(), BadAddress> {
        let mut done = 0;
        self.chunks(
            addr,
            data.len(),
            |access| access.read,
            |source, len| {
                // SAFETY: `chunks` yields `len` bytes inside a mapping that lives as long as `self`, and never more in
                // total than `data` has. The guest may write meanwhile; any mix of old and new bytes is fine.
                unsafe { source.copy_to_nonoverlapping(data[done..].as_mut_ptr(), len) };
                done += len;
            },
        )
    }

    /// Copies `data` to guest memory at `addr`.
    pub fn write(&self, addr: u64, data: &[u8]) -> Result<(), BadAddress> {
        let mut done = 0;
        self.chunks(
            addr,
            data.len(),
            |access| access.write,
            |target, len| {
                // SAFETY: as in `read`; the mapping is writable because the region's access says so.
                unsafe { target.copy_from_nonoverlapping(data[done..].as_ptr(), len) };
                done += len;
            },
        )
    }

    /// Stores `value`, little endian, at `addr` in one piece, behind everything written before (release).
    ///
    /// The address must be a multiple of 8.
    pub fn store_u64(&self, addr: u64, value: u64) -> Result<(), BadAddress> {
        let mut target = None;
        self.chunks(
            addr,
            8,
            |access| access.write,
            |at, len| {
                if len == 8 && at.cast::<u64>().is_aligned() {
                    target = Some(at.cast::<u64>());
                }
            },
        )?;
        let target = target.ok_or(BadAddress)?;
        // SAFETY: `chunks` yielded 8 writable bytes, aligned as checked, of a mapping that lives as long as `self`.
        unsafe { AtomicU64::from_ptr(target) }.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    /// Calls `each` for every contiguous piece of `addr..addr + len`, after all of it was found to be there.
    fn chunks(
        &self,
        addr: u64,
        len: usize,
        allowed: impl Fn(Access) -> bool,
        mut each: impl FnMut(*mut u8, usize),
    ) -> Result<(), BadAddress> {
        let end = addr.checked_add(len as u64).ok_or(BadAddress)?;
        let first = self.regions.partition_point(|region| region.end <= addr);
        let mut at = addr;
        let mut last = first;
        while at < end {
            let region = self.regions.get(last).ok_or(BadAddress)?;
            if at < region.start || !allowed(region.access) {
                return Err(BadAddress);
            }
            at = region.end;
            last += 1;
        }
        let mut at = addr;
        for region in &self.regions[first..last] {
            let len = end.min(region.end) - at;
            each(region.mapping.at(at - region.start), len as usize);
            at += len;
        }
        Ok(())
    }
}

/// A piece of a file in our address space.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: The mapping is plain memory that is unmapped only when dropped; it is used through copies and atomics only.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, offset: u64, len: u64, access: Access) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        // A page behind the end of the file would be a SIGBUS at the first access.
        let file_end = offset
            .checked_add(len)
            .ok_or_else(|| invalid("offset wraps"))?;
        if file.metadata()?.len() < file_end {
            return Err(invalid("file is too short"));
        }
        let len = usize::try_from(len).map_err(|_| invalid("too long"))?;
        let offset = libc::off_t::try_from(offset).map_err(|_| invalid("offset too large"))?;
        let mut protection = libc::PROT_READ;
        if access.write {
            protection |= libc::PROT_WRITE;
        }
        // SAFETY: A new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| invalid("mapped at address 0"))?;
        Ok(Self { base, len })
    }

    /// Pointer to byte `offset`, which must be inside.
    fn at(&self, offset: u64) -> *mut u8 {
        let offset = offset as usize;
        assert!(offset < self.len);
        // SAFETY: Just checked to be inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours, and no pointer into it outlives a call that borrows the region.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RW: Access = Access {
        read: true,
        write: true,
    };
    const RO: Access = Access {
        read: true,
        write: false,
    };

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn copies_cross_adjacent_regions() {
        let mut memory = GuestMemory::default();
        memory
            .map(0x1_0000, 0x1000, RW, Some((&file(0x1000), 0)))
            .unwrap();
        memory
            .map(0x1_1000, 0x1000, RW, Some((&file(0x3000), 0x2000)))
            .unwrap();
        memory.write(0x1_0ffe, &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 4];
        memory.read(0x1_0ffe, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let mut memory = GuestMemory::default();
        memory
            .map(0x1_0000, 0x1000, RW, Some((&file(0x1000), 0)))
            .unwrap();
        assert_eq!(memory.write(0xffff, &[0; 2]), Err(BadAddress));
        assert_eq!(memory.write(0x1_0fff, &[0xaa; 2]), Err(BadAddress));
        assert_eq!(memory.write(u64::MAX, &[0; 2]), Err(BadAddress));
        let mut last = [1];
        memory.read(0x1_0fff, &mut last).unwrap();
        assert_eq!(last, [0], "a refused write leaves no part behind");
        memory.unmap(0x1_0000, 0x1000);
        assert_eq!(memory.read(0x1_0000, &mut [0]), Err(BadAddress));
    }

    #[test]
    fn read_only_and_fileless_regions() {
        let mut memory = GuestMemory::default();
        memory
            .map(0x1000, 0x1000, RO, Some((&file(0x1000), 0)))
            .unwrap();
        memory.map(0x2000, 0x1000, RO, None).unwrap();
        assert!(memory.read(0x1000, &mut [0; 8]).is_ok());
        assert_eq!(memory.write(0x1000, &[0]), Err(BadAddress));
        assert_eq!(memory.store_u64(0x1000, 0), Err(BadAddress));
        assert_eq!(memory.read(0x2000, &mut [0]), Err(BadAddress));
    }

    #[test]
    fn bad_mappings_are_refused() {
        let mut memory = GuestMemory::default();
        let backing = file(0x2000);
        memory.map(0x1000, 0x2000, RW, Some((&backing, 0))).unwrap();
        for (start, len, offset) in [
            (0x2000, 0x1000, 0),
            (0, 0x8000, 0),
            (0x8000, 0, 0),
            (u64::MAX, 2, 0),
            (0x8000, 0x1000, 0x2000),
            (0x8000, 0x1000, u64::MAX),
        ] {
            assert!(memory
                .map(start, len, RW, Some((&backing, offset)))
                .is_err());
        }
        assert!(memory.read(0x1000, &mut [0; 0x2000]).is_ok());
    }

    #[test]
    fn stores_are_aligned() {
        let mut memory = GuestMemory::default();
        memory
            .map(0x1000, 0x1000, RW, Some((&file(0x1000), 0)))
            .unwrap();
        memory.store_u64(0x1008, 0x0102_0304_0506_0708).unwrap();
        let mut back = [0; 8];
        memory.read(0x1008, &mut back).unwrap();
        assert_eq!(back, [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(memory.store_u64(0x1004, 0), Err(BadAddress));
    }

    proptest! {
        #[test]
        fn any_range_is_served_or_refused(addr in prop_oneof![0u64..0x8000, any::<u64>()], len in 0usize..0x3000) {
            let mut memory = GuestMemory::default();
            memory.map(0x1000, 0x1000, RW, Some((&file(0x1000), 0))).unwrap();
            memory.map(0x2000, 0x1000, RW, Some((&file(0x1000), 0))).unwrap();
            memory.map(0x5000, 0x1000, RW, Some((&file(0x1000), 0))).unwrap();
            let inside = |from: u64, to: u64| addr >= from && addr.checked_add(len as u64).is_some_and(|end| end <= to);
            let expected = len == 0 && addr < u64::MAX || inside(0x1000, 0x3000) || inside(0x5000, 0x6000);
            prop_assert_eq!(memory.read(addr, &mut vec![0; len]).is_ok(), expected || len == 0);
            prop_assert_eq!(memory.write(addr, &vec![1; len]).is_ok(), expected || len == 0);
        }
    }
}
