// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Repeated string instructions, such as `rep movsb`.
//!
//! A processor retires a repeated string instruction once, however often it repeats. QEMU executes
//! it in a loop inside a translation block, except when it counts instructions itself (`-icount`):
//! then each iteration enters a block of its own. [`Entry`] carries what is needed to count both
//! alike.

/// The longest instruction of x86.
pub(crate) const MAX_INSN: usize = 15;

/// Whether `insn`, the bytes of one instruction in 64-bit mode, is a string instruction with a
/// repeat prefix.
pub(crate) fn is_repeated(insn: &[u8]) -> bool {
    let mut repeats = false;
    for &byte in insn {
        match byte {
            0xf2 | 0xf3 => repeats = true,
            // Operand size, address size, segments, lock; REX.
            0x66 | 0x67 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 | 0xf0 | 0x40..=0x4f => {}
            // ins, outs; movs, cmps; stos, lods, scas.
            0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf => return repeats,
            _ => return false,
        }
    }
    false
}

/// A translation block, packed into the word that QEMU passes to the callback of its execution.
///
/// # Invariants
///
/// The upper half is [`Entry::repeated`], the lower one [`Entry::value`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// A block with `value`, whatever the callback needs; `last` is the address and the bytes of its
    /// last instruction.
    pub(crate) fn new(value: u32, last: Option<(u64, &[u8])>) -> Self {
        let repeated = match last {
            Some((address, insn)) if is_repeated(insn) => address << 32,
            _ => 0,
        };
        Self(repeated | u64::from(value))
    }

    /// The value that it was made with.
    pub(crate) fn value(self) -> u32 {
        self.0 as u32
    }

    /// The lower half of the address of a repeated string instruction that ends the block; 0 if none
    /// does.
    pub(crate) fn repeated(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl From<Entry> for usize {
    fn from(entry: Entry) -> Self {
        const { assert!(size_of::<usize>() == size_of::<u64>()) };
        entry.0 as usize
    }
}

impl From<usize> for Entry {
    fn from(word: usize) -> Self {
        Self(word as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_instructions_with_a_prefix_repeat() {
        let repeated: [&[u8]; 6] = [
            &[0xf3, 0xa4],             // rep movsb
            &[0xf3, 0x48, 0xab],       // rep stosq
            &[0xf2, 0xae],             // repne scasb
            &[0xf3, 0xa6],             // repe cmpsb
            &[0x67, 0xf3, 0x66, 0xa5], // addr32 rep movsw
            &[0xf3, 0x6d],             // rep insl
        ];
        for insn in repeated {
            assert!(is_repeated(insn), "{insn:x?}");
        }
        let others: [&[u8]; 6] = [
            &[0xa4],                         // movsb
            &[0x48, 0xab],                   // stosq
            &[0xf3, 0x90],                   // pause
            &[0xf3, 0x0f, 0x1e, 0xfa],       // endbr64
            &[0xf3, 0x0f, 0xb8, 0xa4, 0xa4], // popcnt
            &[],
        ];
        for insn in others {
            assert!(!is_repeated(insn), "{insn:x?}");
        }
    }

    #[test]
    fn entries_are_packed() {
        let rep: &[u8] = &[0xf3, 0xa4];
        let address = 0xffff_ffff_8123_4567;
        let entry = Entry::new(u32::MAX, Some((address, rep)));
        assert_eq!(Entry::from(usize::from(entry)), entry);
        assert_eq!((entry.value(), entry.repeated()), (u32::MAX, 0x8123_4567));
        for last in [None, Some((address, &[0x90][..]))] {
            let entry = Entry::new(7, last);
            assert_eq!((entry.value(), entry.repeated()), (7, 0));
        }
    }
}
