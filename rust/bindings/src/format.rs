//! The handle of a format.

use std::borrow::Cow;

use pyo3::prelude::*;
use ramekin::FloatFormat;
use ramekin::format::{FLOAT32, NAMED, Zero};

use crate::system::value_error;

/// A format as the core knows it, and its NumPy dtype if it has one. The base of Python's `FloatFormat`.
#[pyclass(frozen, subclass, module = "ramekin._native")]
pub(crate) struct Format {
    pub(crate) format: FloatFormat,
    pub(crate) dtype: Option<Py<PyAny>>,
}

/// Exponent bits, mantissa bits, bias, signed, has infinity, high NaNs, has negative zero.
type Numbers = (u32, u32, i32, bool, bool, u32, bool);

fn numbers_of(format: &FloatFormat) -> Numbers {
    (
        format.exponent_bits,
        format.mantissa_bits,
        format.bias,
        format.signed,
        format.has_infinity,
        format.high_nans,
        format.zero == Zero::Signed,
    )
}

#[pymethods]
impl Format {
    /// A named format where `numbers` is None, else a new one of these numbers.
    #[new]
    #[pyo3(signature = (name, numbers, dtype))]
    fn new(name: String, numbers: Option<Numbers>, dtype: Option<Py<PyAny>>) -> PyResult<Self> {
        let format = match numbers {
            None => FloatFormat::named(&name)
                .cloned()
                .ok_or_else(|| value_error(format!("unknown format {name:?}")))?,
            Some((
                exponent_bits,
                mantissa_bits,
                bias,
                signed,
                has_infinity,
                high_nans,
                has_negative_zero,
            )) => FloatFormat {
                name: Cow::Owned(name),
                exponent_bits,
                mantissa_bits,
                bias,
                signed,
                has_infinity,
                high_nans,
                zero: if has_negative_zero { Zero::Signed } else { Zero::Unsigned },
            }
            .checked()
            .map_err(value_error)?,
        };
        Ok(Self { format, dtype })
    }

    /// What `numbers` would make this format.
    #[getter]
    fn numbers(&self) -> Numbers {
        numbers_of(&self.format)
    }

    #[getter]
    fn native_dtype<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.dtype.as_ref().map(|dtype| dtype.bind(py).clone())
    }

    /// The name, as in `ml_dtypes` where that has the format.
    #[getter]
    fn name(&self) -> &str {
        &self.format.name
    }

    /// Width of a code in bits.
    #[getter]
    fn bits(&self) -> u32 {
        self.format.bits()
    }

    /// Width of the exponent field.
    #[getter]
    fn exponent_bits(&self) -> u32 {
        self.format.exponent_bits
    }

    /// Width of the mantissa field; the leading significand bit is not counted.
    #[getter]
    fn mantissa_bits(&self) -> u32 {
        self.format.mantissa_bits
    }

    /// What is taken from the exponent field to get the exponent.
    #[getter]
    fn bias(&self) -> i32 {
        self.format.bias
    }

    /// Whether the top bit is a sign.
    #[getter]
    fn signed(&self) -> bool {
        self.format.signed
    }

    /// Whether there are infinities.
    #[getter]
    fn has_infinity(&self) -> bool {
        self.format.has_infinity
    }

    /// Whether there is a NaN.
    #[getter]
    fn has_nan(&self) -> bool {
        self.format.nan_code().is_some()
    }

    /// Whether there is a zero. Only float8_e8m0fnu has none.
    #[getter]
    fn has_zero(&self) -> bool {
        self.format.zero != Zero::None
    }

    /// Whether there is a negative zero.
    #[getter]
    fn has_negative_zero(&self) -> bool {
        self.format.signed && self.format.zero == Zero::Signed
    }

    /// The code of the largest finite number.
    #[getter]
    fn max_code(&self) -> u32 {
        self.format.max_code()
    }
}

/// The names of the named formats, then "float32".
#[pyfunction]
pub(crate) fn named_formats() -> Vec<&'static str> {
    NAMED.iter().chain([&FLOAT32]).map(|format| format.name.as_ref()).collect()
}

/// Name and numbers of a format of the IEEE P3109 family.
#[pyfunction]
pub(crate) fn p3109(bits: u32, precision: u32, signed: bool, extended: bool) -> PyResult<(String, Numbers)> {
    let format = FloatFormat::p3109(bits, precision, signed, extended).map_err(value_error)?;
    Ok((format.name.to_string(), numbers_of(&format)))
}
