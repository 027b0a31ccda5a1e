//! The short way for small arrays, whose conversion costs less than a few Python calls.

use std::slice;

use numpy::npyffi::{NPY_ARRAY_ALIGNED, NPY_ARRAY_C_CONTIGUOUS, NPY_ORDER, PY_ARRAY_API, PyArrayObject};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::prelude::*;
use ramekin::FloatFormat;
use ramekin::convert::{self, Code, Conversion, Float};

use crate::convert::options;
use crate::format::Format;
use crate::system::level;

/// Arrays up to this size are converted here, the interpreter held: releasing it would cost as much.
const LARGEST: usize = 1 << 14;

/// A new array of the format's dtype, or None where the long way must be taken: `x` is no plain, small, aligned,
/// C-contiguous array of native float32 or float64.
#[pyfunction]
pub(crate) fn cast_small<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    format: &Format,
    rounding: &str,
    saturate: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok(x) = x.cast_exact::<PyUntypedArray>() else { return Ok(None) };
    let Some(target) = &format.dtype else { return Ok(None) };
    let plain = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
    // SAFETY: x is a NumPy array, alive while it is bound.
    let flags = unsafe { (*x.as_array_ptr()).fields.flags };
    let source = x.dtype();
    if x.len() > LARGEST || flags & plain != plain || source.is_native_byteorder() != Some(true) {
        return Ok(None);
    }
    let options = options(rounding, saturate, 0)?;
    let to = &format.format;
    let target = target.bind(py).cast::<PyArrayDescr>()?;
    // SAFETY: in each arm the arrays have the element type and size that `encode` is told, as just checked.
    unsafe {
        if source.is_equiv_to(&dtype::<f32>(py)) {
            convert_small::<f32>(x, target, to, options).map(Some)
        } else if source.is_equiv_to(&dtype::<f64>(py)) {
            convert_small::<f64>(x, target, to, options).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// # Safety
///
/// `x` must be aligned and contiguous, with elements of type `F`.
unsafe fn convert_small<'py, F: Float>(
    x: &Bound<'py, PyUntypedArray>,
    target: &Bound<'py, PyArrayDescr>,
    format: &FloatFormat,
    options: Conversion,
) -> PyResult<Bound<'py, PyAny>> {
    let py = x.py();
    // SAFETY: x is an array and target a descriptor, whose reference PyArray_NewLikeArray takes over.
    let out = unsafe {
        let made = PY_ARRAY_API.PyArray_NewLikeArray(
            py,
            x.as_array_ptr(),
            NPY_ORDER::NPY_CORDER,
            target.clone().into_dtype_ptr(),
            0,
        );
        Bound::from_owned_ptr_or_err(py, made)?
    };
    let dst = out.as_ptr().cast::<PyArrayObject>();
    let level = level()?;
    // SAFETY: both arrays are contiguous and of x.len() elements, x's of type F by the contract and the new one's
    // of the format's code width; NumPy's allocations are aligned for those. Nobody else has the new array, and
    // the interpreter is held, so nobody writes x.
    unsafe {
        let src = slice::from_raw_parts((*x.as_array_ptr()).fields.data.cast::<F>(), x.len());
        match format.bits() {
            0..=8 => convert::encode(level, format, options, src, codes::<u8>(dst, x.len())),
            9..=16 => convert::encode(level, format, options, src, codes::<u16>(dst, x.len())),
            _ => convert::encode(level, format, options, src, codes::<u32>(dst, x.len())),
        }
    }
    Ok(out)
}

/// # Safety
///
/// `array` must be an aligned, contiguous array of `len` elements as wide as `C`, used by nobody else.
unsafe fn codes<'a, C: Code>(array: *mut PyArrayObject, len: usize) -> &'a mut [C] {
    // SAFETY: the caller vouches for it.
    unsafe { slice::from_raw_parts_mut((*array).fields.data.cast::<C>(), len) }
}
