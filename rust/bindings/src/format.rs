//! The handle of a format.

use pyo3::prelude::*;
use ramekin::FloatFormat;
use ramekin::format::{FLOAT32, NAMED, Zero};

/// A format as the core knows it.
#[pyclass(frozen, module = "ramekin._native")]
pub(crate) struct Format(pub(crate) FloatFormat);

#[pymethods]
impl Format {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn bits(&self) -> u32 {
        self.0.bits()
    }

    #[getter]
    fn exponent_bits(&self) -> u32 {
        self.0.exponent_bits
    }

    #[getter]
    fn mantissa_bits(&self) -> u32 {
        self.0.mantissa_bits
    }

    #[getter]
    fn bias(&self) -> i32 {
        self.0.bias
    }

    #[getter]
    fn signed(&self) -> bool {
        self.0.signed
    }

    #[getter]
    fn has_zero(&self) -> bool {
        self.0.zero != Zero::None
    }

    #[getter]
    fn has_negative_zero(&self) -> bool {
        self.0.signed && self.0.zero == Zero::Signed
    }

    #[getter]
    fn high_nans(&self) -> u32 {
        self.0.high_nans
    }

    #[getter]
    fn max_code(&self) -> u32 {
        self.0.max_code()
    }

    #[getter]
    fn infinity_code(&self) -> Option<u32> {
        self.0.infinity_code()
    }

    #[getter]
    fn nan_code(&self) -> Option<u32> {
        self.0.nan_code()
    }
}

/// Every named format, then float32.
#[pyfunction]
pub(crate) fn named_formats() -> Vec<Format> {
    NAMED.iter().chain([&FLOAT32]).map(|format| Format(format.clone())).collect()
}
