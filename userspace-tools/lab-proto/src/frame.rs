// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames: a length, then a message.

use std::{
    error, fmt,
    io::{self, ErrorKind, Read, Write},
};

use serde::{de::DeserializeOwned, Serialize};

/// Longest message in bytes. A longer length can only be a stream out of step.
pub const MAX_FRAME: usize = 16 << 20;

/// Why a message could not be sent or received.
#[derive(Debug)]
pub enum FrameError {
    /// The stream failed or ended within a frame.
    Io(io::Error),
    /// The length is above [`MAX_FRAME`].
    TooLong(usize),
    /// The bytes are no message.
    Malformed(postcard::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooLong(length) => write!(f, "frame of {length} bytes, at most {MAX_FRAME}"),
            Self::Malformed(error) => write!(f, "malformed message: {error}"),
        }
    }
}

impl error::Error for FrameError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::TooLong(_) => None,
            Self::Malformed(error) => Some(error),
        }
    }
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<postcard::Error> for FrameError {
    fn from(error: postcard::Error) -> Self {
        Self::Malformed(error)
    }
}

/// Reads one message; `None` at the end of the stream.
///
/// # Errors
///
/// The stream fails, ends within a frame, or carries something else than messages.
pub fn read_frame<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    if !read_or_end(stream, &mut length)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(Some(postcard::from_bytes(&bytes)?))
}

/// Writes one message with a single write, so that frames of several writers need only a lock.
///
/// # Errors
///
/// The stream fails, or the message is longer than [`MAX_FRAME`].
pub fn write_frame(stream: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; 4])?;
    let length = frame.len() - 4;
    match u32::try_from(length) {
        Ok(header) if length <= MAX_FRAME => frame[..4].copy_from_slice(&header.to_le_bytes()),
        _ => return Err(FrameError::TooLong(length)),
    }
    stream.write_all(&frame)?;
    Ok(stream.flush()?)
}

/// Fills `buf`; `false` if the stream ends before its first byte.
fn read_or_end(stream: &mut impl Read, buf: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buf.len() {
        match stream.read(&mut buf[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Answer, Event, Request};

    proptest! {
        #[test]
        fn what_is_written_is_read(pieces: Vec<Vec<u8>>) {
            let events: Vec<_> = pieces
                .into_iter()
                .enumerate()
                .map(|(id, piece)| Event::Answer { id: id as u32, answer: Answer::Stdout(piece) })
                .collect();
            let mut stream = Vec::new();
            for event in &events {
                write_frame(&mut stream, event).unwrap();
            }
            let mut stream = stream.as_slice();
            for event in &events {
                let read = read_frame::<Event>(&mut stream).unwrap();
                prop_assert_eq!(read.as_ref(), Some(event));
            }
            prop_assert_eq!(read_frame::<Event>(&mut stream).unwrap(), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut stream = bytes.as_slice();
            while let Ok(Some(_)) = read_frame::<Request>(&mut stream) {}
        }
    }

    #[test]
    fn truncated_frame_is_an_error() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Event::Hello { version: 1 }).unwrap();
        for length in 1..stream.len() {
            let error = read_frame::<Event>(&mut &stream[..length]).unwrap_err();
            assert!(matches!(error, FrameError::Io(_)), "{length}: {error}");
        }
    }

    #[test]
    fn absurd_length_is_refused_before_allocation() {
        let error = read_frame::<Event>(&mut [0xff; 8].as_slice()).unwrap_err();
        assert!(matches!(error, FrameError::TooLong(0xffff_ffff)), "{error}");
    }
}
