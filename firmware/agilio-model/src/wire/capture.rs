// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pcapng capture with nanoseconds and directions.

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::{DataLink, PcapError};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest time for which a frame stays in the buffer while others follow.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the buffer.
const BUFFER: usize = 256 << 10;
/// `if_tsresol`: timestamps count 10^-9 s.
const NANOSECONDS: u8 = 9;

/// Direction of a captured frame, as bits 1:0 of pcapng's `epb_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameDirection {
    /// Towards the card from the wire, or towards the host from the card.
    In = 1,
    /// The other way.
    Out = 2,
}

/// An open capture file, for any number of threads.
pub struct Capture {
    name: String,
    // `None` once writing failed.
    sink: Mutex<Option<Sink>>,
}

struct Sink {
    writer: PcapNgWriter<BufWriter<File>>,
    flushed: Instant,
}

impl Capture {
    /// Starts a capture in file `path` for the interface `interface`.
    pub fn create(path: &Path, interface: &str) -> io::Result<Self> {
        let name = path.display().to_string();
        let context = |err: io::Error| io::Error::new(err.kind(), format!("capture {name}: {err}"));
        let file = File::create(path).map_err(context)?;
        let buffer = BufWriter::with_capacity(BUFFER, file);
        let mut writer = PcapNgWriter::new(buffer).map_err(to_io).map_err(context)?;
        let description = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(interface)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        writer
            .write_pcapng_block(description)
            .map_err(to_io)
            .map_err(context)?;
        let sink = Sink {
            writer,
            flushed: Instant::now(),
        };
        Ok(Self {
            name,
            sink: Mutex::new(Some(sink)),
        })
    }

    /// Writes a frame down. Where that fails, the capture ends with one message; traffic goes on.
    pub fn record(&self, direction: FrameDirection, frame: &[u8]) {
        self.with_sink(|sink| sink.write(direction, frame));
    }

    /// Writes out what is in the buffer.
    pub fn flush(&self) {
        self.with_sink(Sink::flush);
    }

    fn with_sink(&self, act: impl FnOnce(&mut Sink) -> io::Result<()>) {
        let mut guard = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = guard.as_mut() else {
            return;
        };
        if let Err(err) = act(sink) {
            eprintln!("capture {} ends here: {err}", self.name);
            *guard = None;
        }
    }
}

impl Sink {
    fn write(&mut self, direction: FrameDirection, frame: &[u8]) -> io::Result<()> {
        // A clock before 1970 is not worth losing frames over.
        let timestamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp,
            original_len: frame.len() as u32,
            data: Cow::Borrowed(frame),
            options: vec![EnhancedPacketOption::Flags(direction as u32)],
        };
        self.writer.write_pcapng_block(packet).map_err(to_io)?;
        if self.flushed.elapsed() >= FLUSH_INTERVAL {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.writer.get_mut().flush()
    }
}

fn to_io(err: PcapError) -> io::Error {
    match err {
        PcapError::IoError(err) => err,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn what_was_recorded_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wire.pcapng");
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let capture = Capture::create(&path, "wire").unwrap();
        capture.record(FrameDirection::In, &[1; 61]);
        capture.record(FrameDirection::Out, &[2; 1514]);
        capture.flush();
        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let mut frames = Vec::new();
        let mut resolution = None;
        while let Some(block) = reader.next_block() {
            match block.unwrap().into_owned() {
                Block::InterfaceDescription(interface) => {
                    assert_eq!(interface.linktype, DataLink::ETHERNET);
                    resolution = interface.options.iter().find_map(|option| match option {
                        InterfaceDescriptionOption::IfTsResol(value) => Some(*value),
                        _ => None,
                    });
                }
                Block::EnhancedPacket(packet) => {
                    assert!(packet.timestamp >= before);
                    frames.push((packet.options.clone(), packet.data.into_owned()));
                }
                _ => {}
            }
        }
        assert_eq!(resolution, Some(9));
        let flags = |bits| vec![EnhancedPacketOption::Flags(bits)];
        assert_eq!(frames, [(flags(1), vec![1; 61]), (flags(2), vec![2; 1514])]);
    }

    #[test]
    fn a_full_disk_ends_the_capture_only() {
        let capture = Capture::create(Path::new("/dev/full"), "wire").unwrap();
        capture.record(FrameDirection::In, &[1; 60]);
        capture.flush();
        assert!(capture.sink.lock().unwrap().is_none());
        capture.record(FrameDirection::In, &[1; 60]);
        capture.flush();
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let err = Capture::create(&dir.path().join("no/such"), "wire")
            .err()
            .unwrap();
        assert!(err.to_string().contains("no/such"));
    }
}
