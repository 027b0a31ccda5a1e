//! Ctrl-C during long work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use ramekin::parallel::Stop;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs `work` without the interpreter. A signal whose handler raises ends it early, and what was raised is returned,
/// unless `work` fails itself.
pub(crate) fn watched<T: Send, E: Send>(
    py: Python<'_>,
    work: impl FnOnce(&dyn Stop) -> Result<T, E> + Send,
    refusal: impl FnOnce(E) -> PyErr,
) -> PyResult<T> {
    let signals = Signals::new();
    let done = py.detach(|| work(&signals)).map_err(refusal)?;
    signals.raised.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(done), Err)
}

/// Looks for signals, now and then, when the thread asks that began the work: Python's handlers run on the main
/// thread alone.
struct Signals {
    caller: ThreadId,
    looked: Mutex<Instant>,
    stopped: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

impl Signals {
    fn new() -> Self {
        Self {
            caller: thread::current().id(),
            looked: Mutex::new(Instant::now()),
            stopped: AtomicBool::new(false),
            raised: Mutex::new(None),
        }
    }
}

impl Stop for Signals {
    fn stopped(&self) -> bool {
        if thread::current().id() == self.caller {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.elapsed() >= INTERVAL {
                if let Err(raised) = Python::attach(|py| py.check_signals()) {
                    self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(raised);
                    self.stopped.store(true, Ordering::Relaxed);
                }
                *looked = Instant::now();
            }
        }
        self.stopped.load(Ordering::Relaxed)
    }
}
