// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Output of the guest among that of the client.

use std::io::{self, Write};

use crate::session::Piece;

/// Prints lines with a prefix on the standard error.
#[derive(Debug)]
pub(super) struct Prefixed {
    prefix: &'static str,
    /// The beginnings of unfinished lines, of both streams.
    pending: [Vec<u8>; 2],
}

impl Prefixed {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// Prints the lines that this piece completes.
    pub(super) fn write(&mut self, piece: Piece<'_>) {
        let lines = self.lines(piece);
        // A reader that has gone away does not stop the server.
        let _ = io::stderr().lock().write_all(&lines);
    }

    fn lines(&mut self, piece: Piece<'_>) -> Vec<u8> {
        let (stream, bytes) = match piece {
            Piece::Stdout(bytes) => (0, bytes),
            Piece::Stderr(bytes) => (1, bytes),
        };
        let pending = &mut self.pending[stream];
        pending.extend(bytes);
        let complete = pending.iter().rposition(|&byte| byte == b'\n');
        let rest = pending.split_off(complete.map_or(0, |end| end + 1));
        let lines = std::mem::replace(pending, rest);
        let mut text = Vec::new();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            text.extend(self.prefix.as_bytes());
            text.extend(line);
        }
        text
    }
}

impl Drop for Prefixed {
    fn drop(&mut self) {
        for stream in [Piece::Stdout(b"\n"), Piece::Stderr(b"\n")] {
            let unfinished = match stream {
                Piece::Stdout(_) => &self.pending[0],
                Piece::Stderr(_) => &self.pending[1],
            };
            if !unfinished.is_empty() {
                self.write(stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_streams_apart() {
        let mut out = Prefixed::new("g| ");
        assert_eq!(out.lines(Piece::Stdout(b"one\ntw")), b"g| one\n");
        assert_eq!(out.lines(Piece::Stderr(b"err\n")), b"g| err\n");
        assert_eq!(out.lines(Piece::Stdout(b"o\n\n")), b"g| two\ng| \n");
        assert_eq!(out.lines(Piece::Stdout(b"")), b"");
    }
}
