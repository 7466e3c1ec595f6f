// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The card as a vfio-user device.
//!
//! Accesses that make no sense are answered all the same, and never with an error: the crate would send an error
//! reply even to a posted write, which has no place in the VMM's stream.

use super::card::Card;
use super::config_space::{self, BAR0_SIZE, BAR2_SIZE};
use super::memory::Access;
use acceltcp_abi::pci::{CTRL_BAR, QC_BAR};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    vfio_region_info, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, Error, IrqInfo, Server, ServerBackend, ServerRegion};

/// Listens for a VMM at `path`, which must not exist.
///
/// # Errors
///
/// When the socket cannot be made.
pub fn listen(path: &Path, card: &Card) -> Result<Server, Error> {
    Server::new(path, true, interrupts(card), regions())
}

/// Serves one VMM until it goes away.
///
/// # Errors
///
/// When the stream breaks in the middle of a message.
pub fn serve(server: &Server, card: Arc<Card>) -> Result<(), Error> {
    match server.run(&mut Backend { card }) {
        // A VMM that is killed may leave messages behind; that is an end like any other.
        Err(Error::StreamRead(error) | Error::StreamWrite(error)) if is_hang_up(&error) => Ok(()),
        Err(Error::ReceiveWithFd(error)) if is_hang_up(&error.into()) => Ok(()),
        result => result,
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted
    )
}

fn regions() -> Vec<ServerRegion> {
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = match index {
                CTRL_BAR => BAR0_SIZE,
                QC_BAR => BAR2_SIZE,
                VFIO_PCI_CONFIG_REGION_INDEX => config_space::SIZE,
                _ => 0,
            };
            let flags = match size {
                0 => 0,
                _ => VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
            };
            ServerRegion {
                region_info: vfio_region_info {
                    argsz: size_of::<vfio_region_info>() as u32,
                    flags,
                    index,
                    size: size as u64,
                    ..Default::default()
                },
                // Nothing is mapped: doorbells add, and a mapped region costs the VMM its posted writes.
                sparse_areas: Vec::new(),
                mmap_fd: None,
            }
        })
        .collect()
}

fn interrupts(card: &Card) -> Vec<IrqInfo> {
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| match index {
            VFIO_PCI_MSIX_IRQ_INDEX => IrqInfo {
                index,
                flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
                count: u32::from(card.identity().vectors()),
            },
            _ => IrqInfo {
                index,
                flags: 0,
                count: 0,
            },
        })
        .collect()
}

/// What the server calls.
pub struct Backend {
    card: Arc<Card>,
}

impl Backend {
    /// A backend for `card`.
    pub fn new(card: Arc<Card>) -> Self {
        Self { card }
    }
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.card.config_read(offset, data),
            CTRL_BAR => self.card.control_read(offset, data),
            QC_BAR => self.card.queue_read(offset, data),
            _ => data.fill(0xff),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.card.config_write(offset, data),
            CTRL_BAR => self.card.control_write(offset, data),
            QC_BAR => self.card.queue_write(offset, data),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let access = Access {
            read: flags.contains(DmaMapFlags::READ),
            write: flags.contains(DmaMapFlags::WRITE),
        };
        let file = fd.as_ref().map(|file| (file, offset));
        let mapped = self
            .card
            .change_memory(|memory| memory.map(address, size, access, file));
        if let Err(error) = mapped {
            // A DMA there will be a bad one; the VMM need not fall over it.
            eprintln!("agilio-model: DMA map of {size:#x} bytes at {address:#x}: {error}");
        }
        Ok(())
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        self.card.change_memory(|memory| {
            if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
                memory.clear();
            } else {
                memory.unmap(address, size);
            }
        });
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.card.function_reset();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        if index != VFIO_PCI_MSIX_IRQ_INDEX || flags & VFIO_IRQ_SET_ACTION_TRIGGER == 0 {
            return Ok(());
        }
        let vectors = self.card.irqs.count();
        if flags & VFIO_IRQ_SET_DATA_NONE != 0 && count == 0 {
            // MSI-X is turned off.
            (0..vectors).for_each(|vector| self.card.irqs.set_eventfd(vector, None));
        } else if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            // Fewer descriptors than vectors clear the rest.
            let mut fds = fds.into_iter();
            for vector in (start as usize..=usize::MAX)
                .take(count as usize)
                .take(vectors)
            {
                self.card.irqs.set_eventfd(vector, fds.next());
            }
        }
        Ok(())
    }
}
