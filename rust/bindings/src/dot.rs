//! Dot products.

use std::num::NonZeroUsize;

use numpy::npyffi::PY_ARRAY_API;
use numpy::{PyArrayDescrMethods, dtype};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::dot::dot as product;

use crate::accumulate::Sum;
use crate::matmul::{self, Factor};
use crate::operand::{Array, Source};
use crate::shape::{Shape, tuple};
use crate::system::level;

/// Elements up to which the interpreter is held: releasing it would cost as much.
const SMALL: usize = 1 << 16;

/// The dot product of `a` and `b` as a float32 scalar; None where `a` or `b` must be brought to another form first.
#[pyfunction]
pub(crate) fn dot<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (Some(a), Some(b)) = (Array::new(a), Array::new(b)) else { return Ok(None) };
    let length = common_length(&a, &b)?;
    let level = level()?;
    let _locks = if length > SMALL { Some((a.lock()?, b.lock()?)) } else { None };
    // SAFETY: the arrays are locked or the interpreter is held.
    let (a, b) = unsafe { (a.row()?, b.row()?) };
    let value = if length > SMALL { py.detach(|| product(level, &a, &b)) } else { product(level, &a, &b) };
    scalar(py, value).map(Some)
}

/// The same in another accumulator, the product of a row and a column.
#[pyfunction]
pub(crate) fn dot_accumulated<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    accumulate: &Bound<'py, PyAny>,
    chunk: Option<NonZeroUsize>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let sum = Sum::new(accumulate, chunk, "dot")?;
    let (Some(a), Some(b)) = (Array::new(a), Array::new(b)) else { return Ok(None) };
    common_length(&a, &b)?;
    let shape = Shape::new(a.shape(), b.shape())?;
    matmul::product(py, &shape, Source::Array(a), Factor::Array(Source::Array(b)), Some(&sum), None).map(Some)
}

#[inline(always)]
fn common_length(a: &Array<'_, '_>, b: &Array<'_, '_>) -> PyResult<usize> {
    let length = length(a, "a")?;
    if length != self::length(b, "b")? {
        let (a, b) = (tuple(a.shape()), tuple(b.shape()));
        return Err(PyValueError::new_err(format!("dot: lengths differ: a has shape {a}, b has shape {b}")));
    }
    Ok(length)
}

fn length(vector: &Array<'_, '_>, name: &str) -> PyResult<usize> {
    match *vector.shape() {
        [length] => Ok(length),
        ref shape => Err(PyValueError::new_err(format!(
            "dot: {name} must be a vector, not of shape {}; matmul multiplies matrices",
            tuple(shape)
        ))),
    }
}

/// NumPy's float32.
fn scalar(py: Python<'_>, mut value: f32) -> PyResult<Bound<'_, PyAny>> {
    let dtype = dtype::<f32>(py);
    // SAFETY: PyArray_Scalar copies a float32 out of `value`, as the descriptor, which it borrows, says.
    unsafe {
        let data = (&raw mut value).cast();
        let made = PY_ARRAY_API.PyArray_Scalar(py, data, dtype.as_dtype_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, made)
    }
}
