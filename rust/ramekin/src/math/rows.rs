//! Rows shared out to threads.

use crate::parallel::{self, ThreadsError};

/// Elements that one thread works through before it takes more.
const CHUNK: usize = 1 << 15;

/// How many rows of a width make a part.
pub(super) fn rows_of_part(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// Applies `work` to parts of `count` rows, given as iterators over the same parts, on the pool where that pays.
pub(super) fn share<T: Send>(
    parts: impl Iterator<Item = T> + Send,
    count: usize,
    width: usize,
    work: impl Fn(T) + Sync + Send,
) -> Result<(), ThreadsError> {
    parallel::share(parts, count.div_ceil(rows_of_part(width)), work)
}

/// How many rows of `width` there are.
///
/// # Panics
///
/// If `width` is 0 or the elements make no whole rows.
pub(super) fn count(elements: usize, width: usize) -> usize {
    assert!(width > 0 && elements.is_multiple_of(width), "{elements} elements make no rows of {width}");
    elements / width
}
