//! Ctrl-C during long work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use ramekin::parallel;

use crate::system::value_error;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs `work` on the pool, without the interpreter. A signal whose handler raises sets `stop`, on which `work` is to
/// end early, and what was raised is returned, unless `work` fails itself.
pub(crate) fn watched<T: Send, E: Send>(
    py: Python<'_>,
    stop: &AtomicBool,
    work: impl FnOnce() -> Result<T, E> + Send,
    refusal: impl FnOnce(E) -> PyErr,
) -> PyResult<T> {
    let mut interrupt = None;
    let look = || {
        if let Err(raised) = Python::attach(|py| py.check_signals()) {
            interrupt.get_or_insert(raised);
            stop.store(true, Ordering::Relaxed);
        }
    };
    let done = py
        .detach(|| parallel::install_watched(work, INTERVAL, look))
        .map_err(value_error)?
        .map_err(refusal)?;
    interrupt.map_or(Ok(done), Err)
}
