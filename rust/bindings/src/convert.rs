//! Conversion of contiguous arrays.

use numpy::Element;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::convert::{self, Code, Conversion, Float};
use ramekin::{FloatFormat, Rounding, parallel};

use crate::array::{elements, elements_mut, readable, with_element, writable};
use crate::format::Format;
use crate::system::{level, value_error};

fn options(rounding: &str, saturate: bool) -> PyResult<Conversion> {
    let rounding: Rounding = rounding.parse().map_err(value_error)?;
    Ok(Conversion { rounding, saturate, ..Default::default() })
}

fn same_length(src: usize, dst: usize) -> PyResult<()> {
    if src == dst {
        Ok(())
    } else {
        Err(PyValueError::new_err(format!("source has {src} elements, destination {dst}")))
    }
}

fn fits<C: Code>(format: &FloatFormat) -> PyResult<()> {
    if C::WIDTH >= format.bits() {
        Ok(())
    } else {
        Err(PyValueError::new_err(format!("{format} does not fit {} bits", C::WIDTH)))
    }
}

/// Rounds the floats of `src` to codes in `dst`.
#[pyfunction]
pub(crate) fn encode(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &Format,
    rounding: &str,
    saturate: bool,
) -> PyResult<()> {
    let options = options(rounding, saturate)?;
    with_element!(src, [f32, f64], F => with_element!(dst, [u8, u16, u32], C => {
        encode_typed::<F, C>(py, src, dst, &format.0, options)
    }))
}

fn encode_typed<F: Float + Element, C: Code + Element>(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &FloatFormat,
    options: Conversion,
) -> PyResult<()> {
    let (src, mut dst) = (readable::<F>(src)?, writable::<C>(dst)?);
    let (src, dst) = (elements(&src)?, elements_mut(&mut dst)?);
    same_length(src.len(), dst.len())?;
    fits::<C>(format)?;
    let level = level()?;
    py.detach(|| parallel::zip_chunks(src, dst, |src, dst| convert::encode(level, format, options, src, dst)))
        .map_err(value_error)
}

/// Writes the values of the codes of `src` to the floats of `dst`.
#[pyfunction]
pub(crate) fn decode(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &Format,
) -> PyResult<()> {
    with_element!(src, [u8, u16, u32], C => with_element!(dst, [f32, f64], F => {
        decode_typed::<F, C>(py, src, dst, &format.0)
    }))
}

fn decode_typed<F: Float + Element, C: Code + Element>(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &FloatFormat,
) -> PyResult<()> {
    let (src, mut dst) = (readable::<C>(src)?, writable::<F>(dst)?);
    let (src, dst) = (elements(&src)?, elements_mut(&mut dst)?);
    same_length(src.len(), dst.len())?;
    fits::<C>(format)?;
    let level = level()?;
    py.detach(|| parallel::zip_chunks(src, dst, |src, dst| convert::decode(level, format, src, dst)))
        .map_err(value_error)
}

/// Rounds the floats of `src` to the format's grid in `dst`, of the same type.
#[pyfunction]
pub(crate) fn round_to(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &Format,
    rounding: &str,
    saturate: bool,
) -> PyResult<()> {
    let options = options(rounding, saturate)?;
    with_element!(src, [f32, f64], F => {
        round_to_typed::<F>(py, src, dst, &format.0, options)
    })
}

fn round_to_typed<F: Float + Element>(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &FloatFormat,
    options: Conversion,
) -> PyResult<()> {
    let (src, mut dst) = (readable::<F>(src)?, writable::<F>(dst)?);
    let (src, dst) = (elements(&src)?, elements_mut(&mut dst)?);
    same_length(src.len(), dst.len())?;
    let level = level()?;
    py.detach(|| {
        parallel::zip_chunks(src, dst, |src, dst| convert::round_to(level, format, options, src, dst))
    })
    .map_err(value_error)
}
