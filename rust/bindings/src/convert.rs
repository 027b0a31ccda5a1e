//! Conversion of contiguous arrays.

use numpy::Element;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::convert::pack as packing;
use ramekin::convert::{self, Code, Conversion, Exact, Float};
use ramekin::isa::Level;
use ramekin::random::Words;
use ramekin::{FloatFormat, Rounding, parallel};

use crate::array::{elements, elements_mut, readable, with_element, writable};
use crate::format::Format;
use crate::system::{level, value_error};

pub(crate) fn options(rounding: &str, saturate: bool, seed: u64) -> PyResult<Conversion> {
    let rounding: Rounding = rounding.parse().map_err(value_error)?;
    Ok(Conversion { rounding, saturate, words: Words { seed, position: 0 } })
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

/// Elements between two looks at pending signals: some tens of milliseconds.
const SEGMENT: usize = 1 << 26;

/// Borrows two contiguous arrays of equal length and works through them on the pool, without the interpreter.
/// Between segments a pending Ctrl-C ends it.
fn elementwise<A: Element + Sync, B: Element + Copy + Default + Send>(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    work: impl Fn(Level, usize, &[A], &mut [B]) + Sync + Send,
) -> PyResult<()> {
    let (src, mut dst) = (readable::<A>(src)?, writable::<B>(dst)?);
    let (src, dst) = (elements(&src)?, elements_mut(&mut dst)?);
    same_length(src.len(), dst.len())?;
    let level = level()?;
    for (i, (src, dst)) in src.chunks(SEGMENT).zip(dst.chunks_mut(SEGMENT)).enumerate() {
        let first = i * SEGMENT;
        py.detach(|| parallel::zip_chunks(src, dst, |start, src, dst| work(level, first + start, src, dst)))
            .map_err(value_error)?;
        py.check_signals()?;
    }
    Ok(())
}

/// Rounds the numbers of `src`, codes of `src_format` if that is given, to codes in `dst`.
#[pyfunction]
#[pyo3(signature = (src, src_format, dst, dst_format, rounding, saturate, seed))]
#[expect(clippy::too_many_arguments, reason = "the two arrays with their formats, and the three options")]
pub(crate) fn encode(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    src_format: Option<&Format>,
    dst: &Bound<'_, PyAny>,
    dst_format: &Format,
    rounding: &str,
    saturate: bool,
    seed: u64,
) -> PyResult<()> {
    let options = options(rounding, saturate, seed)?;
    let to = &dst_format.format;
    with_element!(dst, [u8, u16, u32], C => {
        fits::<C>(to)?;
        match src_format {
            Some(from) => with_element!(src, [u8, u16, u32], S => {
                encode_codes::<S, C>(py, (&from.format, src), (to, dst), options)
            }),
            None => with_element!(src, [f32, f64], F => {
                encode_floats::<F, C>(py, src, (to, dst), options)
            }; [u8, i8, u16, i16, u32, i32, u64, i64], T => {
                encode_integers::<T, C>(py, src, (to, dst), options)
            }),
        }
    })
}

fn encode_floats<F: Float + Element, C: Code + Element>(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    (to, dst): (&FloatFormat, &Bound<'_, PyAny>),
    options: Conversion,
) -> PyResult<()> {
    elementwise(py, src, dst, |level, start, src: &[F], dst: &mut [C]| {
        convert::encode(level, to, options.after(start), src, dst);
    })
}

fn encode_integers<T: Exact + Element, C: Code + Element>(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    (to, dst): (&FloatFormat, &Bound<'_, PyAny>),
    options: Conversion,
) -> PyResult<()> {
    elementwise(py, src, dst, |level, start, src: &[T], dst: &mut [C]| {
        convert::encode_integers(level, to, options.after(start), src, dst);
    })
}

fn encode_codes<A: Code + Element, B: Code + Element>(
    py: Python<'_>,
    (from, src): (&FloatFormat, &Bound<'_, PyAny>),
    (to, dst): (&FloatFormat, &Bound<'_, PyAny>),
    options: Conversion,
) -> PyResult<()> {
    fits::<A>(from)?;
    elementwise(py, src, dst, |level, start, src: &[A], dst: &mut [B]| {
        convert::encode_codes(level, (from, src), (to, dst), options.after(start));
    })
}

/// Writes the values of the codes of `src` to the floats of `dst`.
#[pyfunction]
pub(crate) fn decode(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    format: &Format,
) -> PyResult<()> {
    let format = &format.format;
    with_element!(src, [u8, u16, u32], C => with_element!(dst, [f32, f64], F => {
        fits::<C>(format)?;
        elementwise(py, src, dst, |level, _, src: &[C], dst: &mut [F]| {
            convert::decode(level, format, src, dst);
        })
    }))
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
    seed: u64,
) -> PyResult<()> {
    let options = options(rounding, saturate, seed)?;
    let format = &format.format;
    with_element!(src, [f32, f64], F => {
        elementwise(py, src, dst, |level, start, src: &[F], dst: &mut [F]| {
            convert::round_to(level, format, options.after(start), src, dst);
        })
    })
}

/// How many bytes `codes` codes of `bits` bits take, packed.
#[pyfunction]
pub(crate) fn packed_len(codes: usize, bits: u32) -> PyResult<usize> {
    packing::packed_len(codes, bits)
        .ok_or_else(|| PyValueError::new_err(format!("{codes} codes are too many")))
}

fn packed_sizes(codes: usize, packed: usize, bits: u32) -> PyResult<()> {
    if !(1..8).contains(&bits) {
        return Err(PyValueError::new_err(format!("{bits} bits are no part of a byte")));
    }
    same_length(packed, packed_len(codes, bits)?)
}

/// Packs the codes of `src`, of `bits` bits each, into the bytes of `dst`.
#[pyfunction]
pub(crate) fn pack(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    bits: u32,
) -> PyResult<()> {
    let (src, mut dst) = (readable::<u8>(src)?, writable::<u8>(dst)?);
    let (src, dst) = (elements(&src)?, elements_mut(&mut dst)?);
    packed_sizes(src.len(), dst.len(), bits)?;
    let level = level()?;
    py.detach(|| packing::pack(level, bits, src, dst)).map_err(value_error)
}

/// Unpacks the bytes of `src` into codes of `bits` bits, one a byte, in `dst`.
#[pyfunction]
pub(crate) fn unpack(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    bits: u32,
) -> PyResult<()> {
    let (src, mut dst) = (readable::<u8>(src)?, writable::<u8>(dst)?);
    let (src, dst) = (elements(&src)?, elements_mut(&mut dst)?);
    packed_sizes(dst.len(), src.len(), bits)?;
    let level = level()?;
    py.detach(|| packing::unpack(level, bits, src, dst)).map_err(value_error)
}
