// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where a frame from the wire is put.

use std::ops::Range;

/// Bytes in front of the frame, for what a port gets together with it.
const HEADROOM: usize = 16;

/// Room for one frame, and then for the next one.
#[derive(Debug)]
pub struct FrameBuf {
    bytes: Vec<u8>,
    frame: Range<usize>,
}

/// What [`FrameBuf::fill`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// A frame, which is in the buffer.
    Frame,
    /// A frame that is too long.
    TooLong,
    /// Less than a header.
    NoHeader,
}

impl FrameBuf {
    /// Room for a frame of at most `room` bytes.
    pub fn new(room: usize) -> Self {
        Self {
            // A byte more than fits shows that something was cut.
            bytes: vec![0; HEADROOM + room + 1],
            frame: HEADROOM..HEADROOM,
        }
    }

    /// Most bytes of a frame.
    pub fn room(&self) -> usize {
        self.bytes.len() - HEADROOM - 1
    }

    /// The frame.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(self.frame.clone()).unwrap_or_default()
    }

    /// Puts a copy of `frame` into the buffer; false when it has no room.
    pub fn copy(&mut self, frame: &[u8]) -> bool {
        if frame.len() > self.room() {
            return false;
        }
        self.frame = HEADROOM..HEADROOM + frame.len();
        self.bytes[self.frame.clone()].copy_from_slice(frame);
        true
    }

    /// Has `read` fill the buffer with a header of `header` bytes, at most [`HEADROOM`], and a frame behind it.
    /// It returns how many bytes there were, which may be more than what it was given room for.
    pub(super) fn fill<E>(
        &mut self,
        header: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Filled, E> {
        self.frame = HEADROOM..HEADROOM;
        let len = read(&mut self.bytes[HEADROOM - header..])?;
        Ok(match len.checked_sub(header) {
            None => Filled::NoHeader,
            Some(len) if len > self.room() => Filled::TooLong,
            Some(len) => {
                self.frame.end += len;
                Filled::Frame
            }
        })
    }

    /// The header of `len` bytes in front of the frame.
    pub(super) fn header(&self, len: usize) -> &[u8] {
        &self.bytes[HEADROOM - len..HEADROOM]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut FrameBuf, header: usize, bytes: &[u8]) -> Filled {
        let read = |room: &mut [u8]| {
            let fits = room.len().min(bytes.len());
            room[..fits].copy_from_slice(&bytes[..fits]);
            Ok::<_, ()>(bytes.len())
        };
        buffer.fill(header, read).unwrap()
    }

    #[test]
    fn header_and_frame_are_told_apart() {
        let mut buffer = FrameBuf::new(4);
        assert!(buffer.frame().is_empty());
        assert_eq!(fill(&mut buffer, 2, b"hhfram"), Filled::Frame);
        assert_eq!(
            (buffer.header(2), buffer.frame()),
            (&b"hh"[..], &b"fram"[..])
        );
        assert_eq!(fill(&mut buffer, 0, b"f"), Filled::Frame);
        assert_eq!(buffer.frame(), b"f");
    }

    #[test]
    fn what_does_not_fit_is_no_frame() {
        let mut buffer = FrameBuf::new(4);
        assert_eq!(fill(&mut buffer, 2, b"hhframe"), Filled::TooLong);
        assert!(buffer.frame().is_empty());
        assert_eq!(fill(&mut buffer, 2, b"h"), Filled::NoHeader);
        assert!(buffer.copy(b"four") && !buffer.copy(b"5five"));
        assert_eq!(buffer.frame(), b"four");
        assert_eq!(buffer.fill(0, |_| Err(())), Err(()));
        assert!(buffer.frame().is_empty(), "the old frame is gone");
    }
}
