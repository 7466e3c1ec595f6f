// SPDX-License-Identifier: GPL-2.0

//! MSI-X vectors of a PCI function.
//!
//! The kernel crate's registrations borrow from the vectors and have a fixed name; a network driver wants
//! handlers that come with `ndo_open` and go with `ndo_stop`, and a name for each queue.

use super::dma;
use crate::bindings;
use kernel::{
    device::Bound,
    error::to_result,
    pci,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The MSI-X vectors of a function.
pub(crate) struct Vectors<'a> {
    dev: &'a pci::Device<Bound>,
    count: u32,
}

impl<'a> Vectors<'a> {
    /// Allocates between `min` and `max` vectors.
    pub(crate) fn new(dev: &'a pci::Device<Bound>, min: u32, max: u32) -> Result<Self> {
        // SAFETY: The device is valid and bound.
        let count = unsafe {
            bindings::pci_alloc_irq_vectors(raw_pci(dev), min, max, bindings::PCI_IRQ_MSIX)
        };
        to_result(count)?;
        Ok(Self {
            dev,
            count: count as u32,
        })
    }

    /// Number of vectors.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Has `handler` called when vector `entry` fires, until the result is dropped.
    ///
    /// # Safety
    ///
    /// The result must not be leaked.
    pub(crate) unsafe fn request<T: Handler>(
        &self,
        entry: u32,
        name: CString,
        handler: Arc<T>,
    ) -> Result<Registration<T>> {
        if entry >= self.count {
            return Err(EINVAL);
        }
        // SAFETY: The device is valid and has that vector.
        let irq = unsafe { bindings::pci_irq_vector(raw_pci(self.dev), entry) };
        to_result(irq)?;
        let irq = irq as u32;
        let cookie: *const T = &*handler;
        // SAFETY: `name` and `handler` live until `free_irq()` has returned, in `drop()`.
        to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(handle::<T>),
                None,
                0,
                name.as_char_ptr(),
                cookie.cast_mut().cast(),
            )
        })?;
        Ok(Registration {
            irq,
            handler,
            _name: name,
        })
    }
}

impl Drop for Vectors<'_> {
    fn drop(&mut self) {
        // SAFETY: Allocated in `new()`; registrations are gone before, as the datapath is down.
        unsafe { bindings::pci_free_irq_vectors(raw_pci(self.dev)) }
    }
}

/// The C device, with the type of our own bindings.
pub(crate) fn raw_pci(dev: &pci::Device<Bound>) -> *mut bindings::pci_dev {
    let dev: &kernel::device::Device<Bound> = dev.as_ref();
    // SAFETY: `dev` is embedded in a `struct pci_dev`, as it is the device of a `pci::Device`.
    unsafe {
        dma::raw(dev)
            .cast::<u8>()
            .sub(core::mem::offset_of!(bindings::pci_dev, dev))
            .cast()
    }
}

/// What to do in a hard interrupt.
pub(crate) trait Handler: Send + Sync {
    /// Runs in hard interrupt context.
    fn handle(&self);
}

/// A handler in place.
pub(crate) struct Registration<T: Handler> {
    irq: u32,
    handler: Arc<T>,
    _name: CString,
}

impl<T: Handler> Drop for Registration<T> {
    fn drop(&mut self) {
        let cookie: *const T = &*self.handler;
        // SAFETY: Requested with this cookie; waits for a running handler.
        unsafe { bindings::free_irq(self.irq, cookie.cast_mut().cast()) };
    }
}

/// # Safety
///
/// To be called by the interrupt core only, with the cookie of [`Vectors::request`].
unsafe extern "C" fn handle<T: Handler>(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The registration holds a reference until after `free_irq()`.
    unsafe { &*cookie.cast::<T>() }.handle();
    bindings::irqreturn_IRQ_HANDLED
}
