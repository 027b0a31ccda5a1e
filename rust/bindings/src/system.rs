//! Instruction-set level and thread pool.

use std::ffi::c_int;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::isa::{Level, active};
use ramekin::parallel;

/// A core error as a `ValueError` with its message.
pub(crate) fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The level in use.
pub(crate) fn level() -> PyResult<Level> {
    active().map_err(value_error)
}

/// The name of the level in use.
#[pyfunction]
pub(crate) fn isa() -> PyResult<&'static str> {
    Ok(level()?.name())
}

/// The names of the levels that this CPU runs, lowest first.
#[pyfunction]
pub(crate) fn isa_levels() -> Vec<&'static str> {
    Level::available().map(Level::name).collect()
}

/// How many threads long work uses.
#[pyfunction]
pub(crate) fn get_num_threads() -> PyResult<usize> {
    parallel::threads().map_err(value_error)
}

/// Sets how many threads long work uses.
#[pyfunction]
pub(crate) fn set_num_threads(threads: usize) -> PyResult<()> {
    parallel::set_threads(threads).map_err(value_error)
}

/// How many threads long work uses, for those who have the library and not the module (threadpoolctl); 0 if
/// `RAMEKIN_NUM_THREADS` is no number of threads.
#[unsafe(no_mangle)]
pub extern "C" fn ramekin_get_num_threads() -> c_int {
    parallel::threads().map_or(0, |threads| threads as c_int)
}

/// Sets how many threads long work uses; a number that is out of range changes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn ramekin_set_num_threads(threads: c_int) {
    let _ = usize::try_from(threads).map(parallel::set_threads);
}
