//! Block quantisation of arrays of any strides, to and from contiguous codes and scales.

use std::slice;

use numpy::{Element, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use ramekin::block::{
    self, Array, Elements, Parts, Quantize, Scale, ScaleRounding, Scales, ScalesMut, Scheme,
};
use ramekin::convert::Code;
use ramekin::parallel::{Never, Stop, ThreadsError};

use crate::array::{elements, elements_mut, holds, readable, with_element, writable};
use crate::convert::options;
use crate::format::Format;
use crate::interrupt::watched;
use crate::small::format_of;
use crate::system::{level, value_error};

/// Elements from which on Ctrl-C ends the work.
const LONG: usize = 1 << 24;

/// Largest absolute and relative error; sums of squared errors, of squares, of products with the result and of its
/// squares; how many overflowed, underflowed and were not finite; how many there were.
type Stats = (f64, f64, f64, f64, f64, f64, u64, u64, u64, usize);

/// An array to read, of any strides, kept from others' writing.
enum Input<'py> {
    U8(PyReadonlyArrayDyn<'py, u8>, &'static Py<Format>),
    U16(PyReadonlyArrayDyn<'py, u16>, &'static Py<Format>),
    F32(PyReadonlyArrayDyn<'py, f32>),
    F64(PyReadonlyArrayDyn<'py, f64>),
}

impl<'py> Input<'py> {
    fn new(array: &Bound<'py, PyAny>) -> PyResult<Self> {
        if holds::<f32>(array) {
            return Ok(Self::F32(readable(array)?));
        }
        if holds::<f64>(array) {
            return Ok(Self::F64(readable(array)?));
        }
        let of = array.cast::<PyUntypedArray>()?.dtype();
        let Some(Some(format)) = format_of(&of) else {
            return Err(PyTypeError::new_err(format!("expected an array of a float format, not of {of}")));
        };
        let py = array.py();
        let view = |dtype| array.call_method1("view", (dtype,));
        Ok(if format.get().format.bits() <= 8 {
            Self::U8(readable(&view(dtype::<u8>(py))?)?, format)
        } else {
            Self::U16(readable(&view(dtype::<u16>(py))?)?, format)
        })
    }

    fn array(&self) -> PyResult<Array<'_>> {
        let (dimensions, (all, offset)) = match self {
            Self::U8(array, format) => {
                let (dimensions, all, offset) = memory(array)?;
                (dimensions, (Elements::U8(all, &format.get().format), offset))
            }
            Self::U16(array, format) => {
                let (dimensions, all, offset) = memory(array)?;
                (dimensions, (Elements::U16(all, &format.get().format), offset))
            }
            Self::F32(array) => {
                let (dimensions, all, offset) = memory(array)?;
                (dimensions, (Elements::F32(all), offset))
            }
            Self::F64(array) => {
                let (dimensions, all, offset) = memory(array)?;
                (dimensions, (Elements::F64(all), offset))
            }
        };
        Array::new(all, &dimensions, offset).map_err(value_error)
    }
}

/// Length and stride of each dimension, in elements, the memory from the lowest element to the highest, and where in
/// it the first one is.
type Memory<'a, T> = (Vec<(usize, isize)>, &'a [T], usize);

fn memory<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<Memory<'a, T>> {
    let size = size_of::<T>() as isize;
    let (mut lowest, mut highest) = (0, 0);
    let mut dimensions = Vec::new();
    for (&length, &bytes) in array.shape().iter().zip(array.strides()) {
        if length > 1 && bytes % size != 0 {
            return Err(PyTypeError::new_err("expected strides of whole elements"));
        }
        let stride = if length > 1 { bytes / size } else { 0 };
        let reach = (length.max(1) as isize - 1) * stride;
        lowest += reach.min(0);
        highest += reach.max(0);
        // A column of one element may be taken for neighbours of itself.
        dimensions.push((length, if length > 1 { stride } else { 1 }));
    }
    if array.is_empty() {
        return Ok((dimensions, &[], 0));
    }
    // SAFETY: the elements from the lowest to the highest lie in one allocation, which the array keeps alive and the
    // borrow from being written; NumPy's arrays of this type that can be borrowed are aligned.
    let all = unsafe {
        let first = (*array.as_array_ptr()).fields.data.cast::<T>();
        slice::from_raw_parts(first.offset(lowest), (highest - lowest) as usize + 1)
    };
    Ok((dimensions, all, -lowest as usize))
}

/// The scheme that these parts make.
fn scheme<'a>(
    element: &'a Format,
    scale: Option<&'a Format>,
    block: Option<(usize, usize)>,
    scale_rounding: Option<&str>,
    tensor_scale: bool,
    integer: bool,
) -> PyResult<Scheme<'a>> {
    let rounding = scale_rounding.map(str::parse::<ScaleRounding>).transpose().map_err(value_error)?;
    let scale = match scale {
        None => Scale::Float32(rounding),
        Some(format) if !format.format.signed && format.format.name == "float8_e8m0fnu" => {
            Scale::PowerOfTwo(rounding.unwrap_or(ScaleRounding::Floor))
        }
        Some(format) => Scale::Small { format: &format.format, tensor: tensor_scale },
    };
    Scheme::new(&element.format, integer, scale, block).map_err(value_error)
}

/// Runs `work` without the interpreter; Ctrl-C ends it early where there is much to do.
fn interruptible<R: Send>(
    py: Python<'_>,
    elements: usize,
    work: impl FnOnce(&dyn Stop) -> Result<R, ThreadsError> + Send,
) -> PyResult<R> {
    if elements < LONG {
        return py.detach(|| work(&Never)).map_err(value_error);
    }
    watched(py, work, value_error)
}

/// Quantises `x`, whose last dimension the blocks' columns are of, to contiguous `codes` and `scales`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the three arrays, the parts of the scheme, and the options")]
pub(crate) fn quantize(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    codes: &Bound<'_, PyAny>,
    scales: &Bound<'_, PyAny>,
    element: &Format,
    scale: Option<&Format>,
    block: Option<(usize, usize)>,
    scale_rounding: Option<&str>,
    rounding: &str,
    seed: u64,
    tensor_scale: bool,
    amax: Option<f64>,
    integer: bool,
    stats: bool,
) -> PyResult<(Option<f64>, Option<Stats>)> {
    let how = Quantize {
        scheme: scheme(element, scale, block, scale_rounding, tensor_scale, integer)?,
        rounding: options(rounding, true, seed)?,
        amax,
        stats,
    };
    let input = Input::new(x)?;
    let array = input.array()?;
    let count = x.cast::<PyUntypedArray>()?.len();
    let level = level()?;
    let done = with_element!(codes, [u8, u16], C => {
        let mut codes = writable::<C>(codes)?;
        let codes = elements_mut(&mut codes)?;
        with_element!(scales, [u8, u16, f32], T => {
            let mut scales = writable::<T>(scales)?;
            let scales = T::scales_mut(elements_mut(&mut scales)?);
            interruptible(py, count, |stop| block::quantize(level, &how, &array, codes, scales, stop))
        })
    })?;
    let stats = done.sums.map(|s| {
        let (sums, counts) = ((s.error2, s.x2, s.xy, s.y2), (s.overflow, s.underflow, s.nonfinite));
        (s.max_abs, s.max_rel, sums.0, sums.1, sums.2, sums.3, counts.0, counts.1, counts.2, count)
    });
    Ok((done.tensor_scale, stats))
}

/// Integers and floats that scales are held in.
trait ScaleElement: Sized {
    fn scales(all: &[Self]) -> Scales<'_>;
    fn scales_mut(all: &mut [Self]) -> ScalesMut<'_>;
}

macro_rules! scale_element {
    ($($type:ty => $name:ident),*) => {$(
        impl ScaleElement for $type {
            fn scales(all: &[Self]) -> Scales<'_> {
                Scales::$name(all)
            }
            fn scales_mut(all: &mut [Self]) -> ScalesMut<'_> {
                ScalesMut::$name(all)
            }
        }
    )*};
}

scale_element!(u8 => U8, u16 => U16, f32 => F32);

/// Writes the numbers that contiguous `codes` and `scales` stand for to `out`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arrays and the parts of the scheme")]
pub(crate) fn dequantize(
    py: Python<'_>,
    codes: &Bound<'_, PyAny>,
    scales: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    element: &Format,
    scale: Option<&Format>,
    block: Option<(usize, usize)>,
    tensor_scale: Option<f64>,
    integer: bool,
) -> PyResult<()> {
    let scheme = scheme(element, scale, block, None, tensor_scale.is_some(), integer)?;
    let level = level()?;
    let lengths = out.cast::<PyUntypedArray>()?.shape().to_vec();
    let count = lengths.iter().product();
    with_element!(codes, [u8, u16], C => with_element!(scales, [u8, u16, f32], T => {
        let (codes, scales) = (readable::<C>(codes)?, readable::<T>(scales)?);
        let parts = parts::<C>(&lengths, elements(&codes)?, T::scales(elements(&scales)?), tensor_scale);
        with_element!(out, [f32, f64], F => {
            let mut out = writable::<F>(out)?;
            let out = elements_mut(&mut out)?;
            interruptible(py, count, |stop| block::dequantize(level, &scheme, &parts, out, stop))
        })
    }))
}

fn parts<'a, C: Code>(
    lengths: &'a [usize],
    codes: &'a [C],
    scales: Scales<'a>,
    tensor_scale: Option<f64>,
) -> Parts<'a, C> {
    Parts { lengths, codes, scales, tensor_scale }
}
