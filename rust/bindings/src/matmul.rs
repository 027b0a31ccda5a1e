//! Matrix products: shapes by NumPy's rules, and where the result goes.

use std::ffi::c_int;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::{ptr, slice};

use numpy::npyffi::{
    NPY_ARRAY_ALIGNED, NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, PyArrayObject, npy_intp,
};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use ramekin::matmul::{AccumulateError, Accumulator, Rights, Stack, matmul_accumulated_batch};
use ramekin::parallel::{Never, Stop};

use crate::accumulate::Sum;
use crate::array::writable;
use crate::interrupt::watched;
use crate::operand::{Side, Source};
use crate::packed::Packed;
use crate::shape::{Shape, tuple};
use crate::system::{level, value_error};

/// Multiply-adds up to which the interpreter is held: releasing it would cost as much.
const SMALL: usize = 1 << 15;
/// Multiply-adds from which on Ctrl-C ends a product: from some milliseconds on.
const LONG: usize = 1 << 29;
/// Other accumulators than float32's chain take longer by up to so many powers of two, vectors by some more.
const SLOWER: u32 = 7;

/// The product of `a` and `b` in `out`, or in a new array; None where `a` or `b` must be brought to another form
/// first.
#[pyfunction]
pub(crate) fn matmul<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    summed(py, a, b, None, out)
}

/// The same, added up in another accumulator.
#[pyfunction]
pub(crate) fn matmul_accumulated<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    accumulate: &Bound<'py, PyAny>,
    chunk: Option<NonZeroUsize>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let sum = Sum::new(accumulate, chunk, "matmul")?;
    summed(py, a, b, Some(&sum), out)
}

fn summed<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    sum: Option<&Sum>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(left) = Source::new(a) else { return Ok(None) };
    if let Ok(packed) = b.cast::<Packed>() {
        let (rows, columns) = packed.get().shape();
        let shape = Shape::new(&left.shape(), &[rows, columns])?;
        return product(py, &shape, left, Factor::Packed(packed.get()), sum, out).map(Some);
    }
    let Some(right) = Source::new(b) else { return Ok(None) };
    let shape = Shape::new(&left.shape(), &right.shape())?;
    product(py, &shape, left, Factor::Array(right), sum, out).map(Some)
}

/// What is multiplied by.
pub(crate) enum Factor<'a, 'py> {
    Array(Source<'a, 'py>),
    Packed(&'a Packed),
}

/// The product in `out`, or in a new array, or as a scalar; added up in float32's chain where `sum` is None.
pub(crate) fn product<'py>(
    py: Python<'py>,
    shape: &Shape,
    a: Source<'_, 'py>,
    b: Factor<'_, 'py>,
    sum: Option<&Sum>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(out) = out else {
        let result = new(py, &shape.result)?;
        multiply(py, shape, a, b, sum, &result)?;
        return Ok(if shape.result.is_empty() { result.get_item(())? } else { result });
    };
    let written = checked(&out, &shape.result)?;
    let in_place = written.is_some_and(|written| {
        a.is_apart(&written)
            && match &b {
                Factor::Array(b) => b.is_apart(&written),
                Factor::Packed(_) => true,
            }
    });
    if in_place {
        multiply(py, shape, a, b, sum, &out)?;
    } else {
        let result = new(py, &shape.result)?;
        multiply(py, shape, a, b, sum, &result)?;
        // SAFETY: both are arrays.
        let failed = unsafe {
            let array = |array: &Bound<'_, PyAny>| array.as_ptr().cast::<PyArrayObject>();
            PY_ARRAY_API.PyArray_CopyInto(py, array(&out), array(&result))
        };
        if failed != 0 {
            return Err(PyErr::fetch(py));
        }
    }
    Ok(out)
}

fn new<'py>(py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let mut lengths: Vec<npy_intp> = shape.iter().map(|&length| length as npy_intp).collect();
    // SAFETY: every bit pattern is a float32, and all elements are written before anybody has the array;
    // PyArray_NewFromDescr copies the lengths and takes over the descriptor's reference.
    unsafe {
        let made = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            PyUntypedArray::type_object_raw(py),
            numpy::dtype::<f32>(py).into_dtype_ptr(),
            lengths.len() as c_int,
            lengths.as_mut_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// The addresses that `out` fills if the result can be written there: C-contiguous and aligned.
fn checked(out: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<Option<Range<usize>>> {
    let py = out.py();
    let Ok(array) = out.cast::<PyUntypedArray>() else {
        let name = out.get_type().name()?;
        return Err(PyTypeError::new_err(format!("matmul: out must be an array of float32, not {name}")));
    };
    let dtype = array.dtype();
    if !dtype.is_equiv_to(&numpy::dtype::<f32>(py)) {
        return Err(PyTypeError::new_err(format!(
            "matmul: out has dtype {dtype}; accepted: float32 in native byte order"
        )));
    }
    if array.shape() != shape {
        let (given, right) = (tuple(array.shape()), tuple(shape));
        return Err(PyValueError::new_err(format!("matmul: out has shape {given}, the result {right}")));
    }
    // SAFETY: an array, alive while it is bound.
    let (flags, data) = unsafe {
        let fields = &(*array.as_array_ptr()).fields;
        (fields.flags, fields.data as usize)
    };
    if flags & NPY_ARRAY_WRITEABLE == 0 {
        return Err(PyValueError::new_err("matmul: out is read-only"));
    }
    let plain = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
    Ok((flags & plain == plain).then(|| data..data + array.len() * size_of::<f32>()))
}

/// Multiplies into an array that is writeable, C-contiguous, aligned, of float32 and `shape`, and apart from the
/// operands.
fn multiply(
    py: Python<'_>,
    shape: &Shape,
    a: Source<'_, '_>,
    b: Factor<'_, '_>,
    sum: Option<&Sum>,
    result: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let level = level()?;
    let batch = &shape.result[..shape.batch];
    let (small, long) = if sum.is_some() { (SMALL >> SLOWER, LONG >> SLOWER) } else { (SMALL, LONG) };
    let _locks = if shape.work > small {
        let b = if let Factor::Array(b) = &b { Some(b.lock()?) } else { None };
        Some((a.lock()?, b, writable::<f32>(result)?))
    } else {
        None
    };
    // SAFETY: the array is what is asked for, and it and the operands are locked or the interpreter is held.
    let (a, c) = unsafe {
        let array = result.as_ptr().cast::<PyArrayObject>();
        let c = slice::from_raw_parts_mut((*array).fields.data.cast::<f32>(), shape.result.iter().product());
        (a.stack(batch, Side::Left)?, c)
    };
    let stack: Stack<'_>;
    let b = match b {
        Factor::Array(b) => {
            // SAFETY: as above.
            stack = unsafe { b.stack(batch, Side::Right) }?;
            Rights::Stack(&stack)
        }
        Factor::Packed(b) => Rights::Packed(&b.matrix),
    };
    let mut multiply = |stop: &dyn Stop| match sum {
        None => matmul_accumulated_batch(level, &Accumulator::Float32, None, &a, b, c, stop),
        Some(sum) => matmul_accumulated_batch(level, &sum.accumulator, sum.chunk, &a, b, c, stop),
    };
    let refusal = |error: AccumulateError| match (error, sum) {
        (AccumulateError::Threads(error), _) => value_error(error),
        (error, sum) => value_error(format!("{}: {error}", sum.map_or("matmul", |sum| sum.function))),
    };
    if shape.work <= small {
        return multiply(&Never).map_err(refusal);
    }
    if shape.work < long {
        return py.detach(|| multiply(&Never)).map_err(refusal);
    }
    watched(py, multiply, refusal)
}
