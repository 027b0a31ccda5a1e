//! The short way for small arrays, whose conversion costs less than a few Python calls.

use std::slice;

use numpy::npyffi::{
    NPY_ARRAY_ALIGNED, NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_WRITEABLE, NPY_ORDER, PY_ARRAY_API, PyArrayObject,
};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use ramekin::FloatFormat;
use ramekin::convert::{self, Code, Conversion};
use ramekin::format::FLOAT32;
use ramekin::isa::Level;

use crate::convert::options;
use crate::format::Format;
use crate::system::{level, value_error};

/// Arrays up to this size are converted here, the interpreter held: releasing it would cost as much.
const LARGEST: usize = 1 << 14;

/// A NumPy dtype and the format it holds; float64 has none.
type Dtype = (Py<PyAny>, Option<Py<Format>>);

static DTYPES: PyOnceLock<Vec<Dtype>> = PyOnceLock::new();

/// Tells which dtypes there are. Called once, at import.
#[pyfunction]
pub(crate) fn register_dtypes(py: Python<'_>, dtypes: Vec<Dtype>) {
    let _ = DTYPES.set(py, dtypes);
}

/// The format of a dtype, None inside for float64; None for a dtype that is not registered.
pub(crate) fn format_of(dtype: &Bound<'_, PyArrayDescr>) -> Option<Option<&'static Py<Format>>> {
    // A dtype of another byte order is another object, so identity is enough.
    let (_, format) = DTYPES.get(dtype.py())?.iter().find(|(known, _)| known.is(dtype))?;
    Some(format.as_ref())
}

/// A plain array: contiguous in C order, aligned, not too large, no subclass.
struct Plain<'a, 'py> {
    array: &'a Bound<'py, PyUntypedArray>,
}

impl<'a, 'py> Plain<'a, 'py> {
    fn new(array: &'a Bound<'py, PyAny>, flags: i32) -> Option<Self> {
        let array = array.cast_exact::<PyUntypedArray>().ok()?;
        let flags = flags | NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
        // SAFETY: an array, alive while it is bound.
        let has = unsafe { (*array.as_array_ptr()).fields.flags };
        if array.len() > LARGEST || has & flags != flags {
            return None;
        }
        Some(Self { array })
    }

    /// The format of its dtype, None inside for float64; None for a dtype that is not registered.
    fn format(&self) -> Option<Option<&'a FloatFormat>> {
        Some(format_of(&self.array.dtype())?.map(|format| &format.get().format))
    }

    fn data<T>(&self) -> *mut T {
        // SAFETY: an array, alive while it is bound.
        unsafe { (*self.array.as_array_ptr()).fields.data.cast() }
    }

    /// # Safety
    ///
    /// The elements must be as wide as `T`, of which every bit pattern must be a value, and nobody may write them
    /// while the slice lives.
    unsafe fn elements<T>(&self) -> &'a [T] {
        // SAFETY: contiguous and aligned; the caller vouches for the rest.
        unsafe { slice::from_raw_parts(self.data(), self.array.len()) }
    }

    /// # Safety
    ///
    /// As [`Plain::elements`], and nobody else may read them.
    unsafe fn elements_mut<T>(&self) -> &'a mut [T] {
        // SAFETY: contiguous, aligned and writeable; the caller vouches for the rest.
        unsafe { slice::from_raw_parts_mut(self.data(), self.array.len()) }
    }

    /// The memory that the elements fill.
    fn span(&self) -> std::ops::Range<usize> {
        let start = self.data::<u8>() as usize;
        start..start + self.array.len() * self.array.dtype().itemsize()
    }
}

/// `out`, or a new array of the format's own dtype or, if `codes`, of the integers that hold its codes. None where the
/// long way must be taken, because `x` or `out` is no plain array, they overlap or do not fit, or the format has no
/// dtype.
#[pyfunction]
pub(crate) fn cast_small<'py>(
    x: &Bound<'py, PyAny>,
    format: &Format,
    codes: bool,
    rounding: &str,
    saturate: bool,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = x.py();
    let dtype = match (&format.dtype, format.format.bits()) {
        (_, 0..=8) if codes => numpy::dtype::<u8>(py),
        (_, 9..=16) if codes => numpy::dtype::<u16>(py),
        _ if codes => numpy::dtype::<u32>(py),
        (Some(dtype), _) => dtype.bind(py).cast::<PyArrayDescr>()?.clone(),
        (None, _) => return Ok(None),
    };
    let dtype = &dtype;
    if dtype.itemsize() * 8 < format.format.bits() as usize {
        return Err(value_error(format!("{} does not fit {dtype}", format.format)));
    }
    let Some(source) = Plain::new(x, 0) else { return Ok(None) };
    let Some(from) = source.format() else { return Ok(None) };
    let options = options(rounding, saturate, 0)?;
    let level = level()?;
    let given = out.is_some();
    let out = match out {
        Some(out) => out,
        None => new_like(source.array, dtype)?,
    };
    {
        let Some(target) = Plain::new(&out, NPY_ARRAY_WRITEABLE) else { return Ok(None) };
        let (read, written) = (source.span(), target.span());
        let apart = read.end <= written.start || written.end <= read.start;
        if given
            && (!target.array.dtype().is(dtype) || target.array.shape() != source.array.shape() || !apart)
        {
            return Ok(None);
        }
        // SAFETY: the target's elements are as wide as the codes written; nobody else has it or it is apart from
        // the source; the interpreter is held, so nobody writes either.
        unsafe {
            match dtype.itemsize() {
                1 => convert_to(level, (from, &source), &format.format, target.elements_mut::<u8>(), options),
                2 => {
                    convert_to(level, (from, &source), &format.format, target.elements_mut::<u16>(), options)
                }
                4 if format.format == FLOAT32 && !options.saturate => {
                    convert_to_float32(level, (from, &source), &target, options);
                }
                4 => {
                    convert_to(level, (from, &source), &format.format, target.elements_mut::<u32>(), options)
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(out))
}

fn new_like<'py>(
    x: &Bound<'py, PyUntypedArray>,
    dtype: &Bound<'py, PyArrayDescr>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = x.py();
    // SAFETY: x is an array and dtype a descriptor, whose reference PyArray_NewLikeArray takes over.
    unsafe {
        let made = PY_ARRAY_API.PyArray_NewLikeArray(
            py,
            x.as_array_ptr().cast::<PyArrayObject>(),
            NPY_ORDER::NPY_CORDER,
            dtype.clone().into_dtype_ptr(),
            0,
        );
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// # Safety
///
/// Nobody may write the source meanwhile.
unsafe fn convert_to<C: Code>(
    level: Level,
    (from, source): (Option<&FloatFormat>, &Plain<'_, '_>),
    format: &FloatFormat,
    dst: &mut [C],
    options: Conversion,
) {
    // SAFETY: in each arm the elements are of the format found for their dtype; the caller vouches for the rest.
    unsafe {
        match from {
            None => convert::encode(level, format, options, source.elements::<f64>(), dst),
            Some(from) => match from.bits() {
                0..=8 => {
                    convert::encode_codes(level, (from, source.elements::<u8>()), (format, dst), options)
                }
                9..=16 => {
                    convert::encode_codes(level, (from, source.elements::<u16>()), (format, dst), options)
                }
                _ => convert::encode(level, format, options, source.elements::<f32>(), dst),
            },
        }
    }
}

/// # Safety
///
/// Nobody may write the source or use the target, of float32, meanwhile.
unsafe fn convert_to_float32(
    level: Level,
    (from, source): (Option<&FloatFormat>, &Plain<'_, '_>),
    target: &Plain<'_, '_>,
    options: Conversion,
) {
    // SAFETY: as in `convert_to`; a float32 is its code.
    unsafe {
        match from {
            Some(from) if from.bits() <= 8 => {
                convert::decode(level, from, source.elements::<u8>(), target.elements_mut::<f32>());
            }
            Some(from) if from.bits() <= 16 => {
                convert::decode(level, from, source.elements::<u16>(), target.elements_mut::<f32>());
            }
            _ => convert_to(level, (from, source), &FLOAT32, target.elements_mut::<u32>(), options),
        }
    }
}
