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
    new_mutex, pci,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The MSI-X vectors of a function. [`super::pci`] owns them, so that they and their handlers go before the
/// function is unbound.
#[pin_data(PinnedDrop)]
pub(crate) struct Vectors<'a> {
    dev: &'a pci::Device<Bound>,
    count: u32,
    #[pin]
    actions: Mutex<KVec<Action<'a>>>,
}

impl<'a> Vectors<'a> {
    /// Allocates between `min` and `max` vectors.
    pub(super) fn new(dev: &'a pci::Device<Bound>, min: u32, max: u32) -> Result<Pin<KBox<Self>>> {
        // SAFETY: The device is valid and bound.
        let count = unsafe {
            bindings::pci_alloc_irq_vectors(raw_pci(dev), min, max, bindings::PCI_IRQ_MSIX)
        };
        to_result(count)?;
        let this = KBox::pin_init(
            pin_init!(Self {
                dev,
                count: count as u32,
                actions <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        );
        if this.is_err() {
            // SAFETY: Allocated above.
            unsafe { bindings::pci_free_irq_vectors(raw_pci(dev)) };
        }
        this
    }

    /// Number of vectors.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Has `handler` called when vector `entry` fires, until [`Vectors::release`] (process context). `EBUSY` when
    /// the vector has a handler.
    pub(crate) fn request<T: Handler + 'a>(
        &self,
        entry: u32,
        name: CString,
        handler: Arc<T>,
    ) -> Result {
        if entry >= self.count {
            return Err(EINVAL);
        }
        // SAFETY: The device is valid and has that vector.
        let irq = unsafe { bindings::pci_irq_vector(raw_pci(self.dev), entry) };
        to_result(irq)?;
        let irq = irq as u32;
        let cookie = core::ptr::from_ref::<T>(&handler).cast_mut().cast();
        let mut actions = self.actions.lock();
        actions.reserve(1, GFP_KERNEL)?;
        // SAFETY: `name` and `handler` live until `free_irq()` has returned, when the action is dropped.
        to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(handle::<T>),
                None,
                0,
                name.as_char_ptr(),
                cookie,
            )
        })?;
        let action = Action {
            irq,
            cookie,
            _handler: handler,
            _name: name,
        };
        Ok(actions.push(action, GFP_KERNEL)?)
    }

    /// Takes all handlers away, and waits for those that run (process context).
    pub(crate) fn release(&self) {
        self.actions.lock().clear();
    }
}

#[pinned_drop]
impl PinnedDrop for Vectors<'_> {
    fn drop(self: Pin<&mut Self>) {
        self.release();
        // SAFETY: Allocated in `new()`, and without handlers.
        unsafe { bindings::pci_free_irq_vectors(raw_pci(self.dev)) }
    }
}

/// The C device, with the type of our own bindings.
pub(super) fn raw_pci(dev: &pci::Device<Bound>) -> *mut bindings::pci_dev {
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
struct Action<'a> {
    irq: u32,
    cookie: *mut c_void,
    _handler: Arc<dyn Handler + 'a>,
    _name: CString,
}

// SAFETY: The pointer is a name for the handler, which is `Send` and `Sync`.
unsafe impl Send for Action<'_> {}

impl Drop for Action<'_> {
    fn drop(&mut self) {
        // SAFETY: Requested with this cookie; waits for a running handler.
        unsafe { bindings::free_irq(self.irq, self.cookie) };
    }
}

/// # Safety
///
/// To be called by the interrupt core only, with the cookie of [`Vectors::request`].
unsafe extern "C" fn handle<T: Handler>(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The action holds a reference until after `free_irq()`.
    unsafe { &*cookie.cast::<T>() }.handle();
    bindings::irqreturn_IRQ_HANDLED
}
