//! Work that is to end early.

use std::sync::atomic::{AtomicBool, Ordering};

/// Who says that work is to end early, leaving its results unfinished.
///
/// Every thread asks between pieces of the work, some thousand times a second; the thread that began the work also
/// while it waits for others, so that it can look for what would stop them.
pub trait Stop: Sync {
    /// Whether to end.
    fn stopped(&self) -> bool;
}

impl Stop for AtomicBool {
    fn stopped(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// Work that goes on to its end.
#[derive(Clone, Copy, Debug)]
pub struct Never;

impl Stop for Never {
    fn stopped(&self) -> bool {
        false
    }
}
