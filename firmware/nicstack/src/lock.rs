// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The lock of the control path. Frames never take it.

use core::sync::atomic::{AtomicBool, Ordering};

/// A lock that is held; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Lock<'l>(&'l AtomicBool);

impl<'l> Lock<'l> {
    /// Waits for `lock`. It is held for the time of a command, some microseconds.
    pub(crate) fn take(lock: &'l AtomicBool) -> Self {
        while lock.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        Self(lock)
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::sync::atomic::AtomicU32;

    #[test]
    fn excludes_others() {
        let (lock, count) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _guard = Lock::take(&lock);
                        let seen = count.load(Ordering::Relaxed);
                        count.store(seen + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 2000);
    }
}
