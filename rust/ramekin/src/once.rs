//! Values that are worked out once.

use std::sync::OnceLock;

/// What is in the cell, or what `make` gives, which then is. `make` may run in several threads, the first of which is
/// kept: [`OnceLock::get_or_init`] would have others wait for it, in a process forked meanwhile for ever.
pub(crate) fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    cell.get().unwrap_or_else(|| {
        let made = make();
        cell.get_or_init(|| made)
    })
}
