//! What the CPU could do and what the microkernel makes of it, for the benchmarks.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::matmul;

use crate::system::level;

/// Operations a second of the peak and of the microkernel, with pairs of bfloat16 or with float32; None if the level
/// in use multiplies no pairs.
#[pyfunction]
pub(crate) fn roofline(py: Python<'_>, pairs: bool, seconds: f64) -> PyResult<Option<(f64, f64)>> {
    let time = Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{seconds} seconds; accepted: 0 or more")))?;
    let level = level()?;
    Ok(py.detach(|| matmul::roofline(level, pairs, time)).map(|found| (found.peak, found.kernel)))
}
