//! NumPy arrays as operands of products.

use std::borrow::Cow;
use std::ops::Range;
use std::slice;

use numpy::npyffi::NPY_ARRAY_ALIGNED;
use numpy::{PyArrayDescrMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::prelude::*;
use ramekin::matmul::{Codes, Operand, Stack};

use crate::array::readable;
use crate::format::Format;
use crate::scaled::Scaled;
use crate::small::format_of;
use crate::system::value_error;

/// Which dimension a vector lacks.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// It is a row.
    Left,
    /// It is a column.
    Right,
}

/// What the core reads where it lies.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a, 'py> {
    Array(Array<'a, 'py>),
    Scaled(&'a Scaled, Python<'py>),
}

impl<'a, 'py> Source<'a, 'py> {
    /// None where `operand` must be brought to that form first, or has no format.
    pub(crate) fn new(operand: &'a Bound<'py, PyAny>) -> Option<Self> {
        if let Some(array) = Array::new(operand) {
            return Some(Self::Array(array));
        }
        let scaled = operand.cast_exact::<Scaled>().ok()?;
        Some(Self::Scaled(scaled.get(), operand.py()))
    }

    /// The format of the codes.
    pub(crate) fn format(&self) -> &'a Py<Format> {
        match self {
            Self::Array(array) => array.format,
            Self::Scaled(scaled, _) => scaled.format(),
        }
    }

    pub(crate) fn shape(&self) -> Cow<'a, [usize]> {
        match self {
            Self::Array(array) => array.view.shape().into(),
            Self::Scaled(scaled, _) => scaled.shape().into(),
        }
    }

    /// Whether nothing that is read lies in `written`.
    pub(crate) fn is_apart(&self, written: &Range<usize>) -> bool {
        let apart = |read: Range<usize>| read.end <= written.start || written.end <= read.start;
        match self {
            Self::Array(array) => apart(array.view.span()),
            Self::Scaled(scaled, py) => {
                scaled.views(*py).into_iter().flatten().all(|view| apart(view.span()))
            }
        }
    }

    /// The matrices, broadcast over `batch`; a vector is a matrix of one row or column.
    ///
    /// # Safety
    ///
    /// Nobody may write the elements while they are read.
    pub(crate) unsafe fn stack(&self, batch: &[usize], side: Side) -> PyResult<Stack<'a>> {
        // SAFETY: the caller vouches.
        unsafe {
            match self {
                Self::Array(array) => array.stack(batch, side),
                Self::Scaled(scaled, py) => scaled.stack(*py, batch, side),
            }
        }
    }

    /// Keeps other functions of this module from writing the arrays.
    pub(crate) fn lock(&self) -> PyResult<[Option<Lock<'py>>; 2]> {
        Ok(match self {
            Self::Array(array) => [Some(array.view.lock()?), None],
            Self::Scaled(scaled, py) => {
                let [codes, scales] = scaled.views(*py);
                let lock = |view: Option<View<'_, 'py>>| view.map(|view| view.lock()).transpose();
                [lock(codes)?, lock(scales)?]
            }
        })
    }
}

/// An aligned array whose strides are whole elements, no subclass.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, 'py> {
    array: &'a Bound<'py, PyUntypedArray>,
    size: usize,
}

/// Length and stride of a dimension.
pub(crate) type Dimension = (usize, isize);

impl<'a, 'py> View<'a, 'py> {
    /// None where the array is not so.
    pub(crate) fn new(array: &'a Bound<'py, PyUntypedArray>) -> Option<Self> {
        let view = Self { array, size: array.dtype().itemsize() };
        // SAFETY: an array, alive while it is bound.
        let flags = unsafe { (*array.as_array_ptr()).fields.flags };
        let size = view.size as isize;
        let whole = |(&length, &stride): (&usize, &isize)| length < 2 || stride % size == 0;
        let readable = flags & NPY_ARRAY_ALIGNED != 0
            && size > 0
            && array.shape().iter().zip(array.strides()).all(whole);
        readable.then_some(view)
    }

    /// Bytes of an element.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn shape(&self) -> &'a [usize] {
        self.array.shape()
    }

    /// Lengths and strides, in elements; a stride that leads nowhere is 0.
    pub(crate) fn dimensions(
        &self,
    ) -> impl DoubleEndedIterator<Item = Dimension> + ExactSizeIterator + use<'a, 'py> {
        let size = self.size as isize;
        let strides = self.array.strides().iter().map(move |stride| stride / size);
        self.shape()
            .iter()
            .zip(strides)
            .map(|(&length, stride)| (length, if length < 2 { 0 } else { stride }))
    }

    /// The lowest and the highest element, counted from the first; None if there is none.
    fn extremes(&self) -> Option<(isize, isize)> {
        self.dimensions().try_fold((0, 0), |(lowest, highest), (length, stride)| {
            let reach = (length as isize - 1) * stride;
            (length > 0).then_some((lowest + reach.min(0), highest + reach.max(0)))
        })
    }

    fn first<T>(&self) -> *mut T {
        // SAFETY: an array, alive while it is bound.
        unsafe { (*self.array.as_array_ptr()).fields.data.cast() }
    }

    /// The addresses that the elements lie in.
    pub(crate) fn span(&self) -> Range<usize> {
        let address =
            |elements: isize| self.first::<u8>().wrapping_offset(elements * self.size as isize) as usize;
        self.extremes().map_or(0..0, |(lowest, highest)| address(lowest)..address(highest + 1))
    }

    /// The memory from the lowest element to the highest, and where the first one is.
    ///
    /// # Safety
    ///
    /// Nobody may write the elements while they are read.
    pub(crate) unsafe fn codes(&self) -> (Codes<'a>, usize) {
        let extremes = self.extremes();
        // SAFETY: the elements from the lowest to the highest lie in one allocation, which the array keeps alive;
        // they are aligned, and every bit pattern is a value; the caller vouches for the rest.
        let codes = unsafe {
            match self.size {
                1 => Codes::U8(self.elements(extremes)),
                2 => Codes::U16(self.elements(extremes)),
                _ => Codes::F32(self.elements(extremes)),
            }
        };
        (codes, extremes.map_or(0, |(lowest, _)| -lowest as usize))
    }

    /// # Safety
    ///
    /// As [`View::codes`]; the elements must be as wide as `T`, of which every bit pattern must be a value.
    unsafe fn elements<T>(&self, extremes: Option<(isize, isize)>) -> &'a [T] {
        match extremes {
            // SAFETY: the caller vouches.
            Some((lowest, highest)) => unsafe {
                slice::from_raw_parts(self.first::<T>().offset(lowest), (highest - lowest + 1) as usize)
            },
            None => &[],
        }
    }

    /// Keeps other functions of this module from writing the array.
    fn lock(&self) -> PyResult<Lock<'py>> {
        let view = |dtype| self.array.call_method1("view", (dtype,));
        let py = self.array.py();
        Ok(match self.size {
            1 => Lock::U8(readable(&view(dtype::<u8>(py))?)?),
            2 => Lock::U16(readable(&view(dtype::<u16>(py))?)?),
            _ => Lock::F32(readable(self.array)?),
        })
    }
}

/// Rows and columns among dimensions, which become those of the batch: a vector is a matrix of one row or column.
pub(crate) fn matrix(
    dimensions: &mut (impl DoubleEndedIterator<Item = Dimension> + ExactSizeIterator),
    side: Side,
) -> (Dimension, Dimension) {
    let one = (1, 0);
    let vector = dimensions.len() == 1;
    let mut next = || dimensions.next_back().unwrap_or(one);
    match (side, vector) {
        (Side::Right, true) => (next(), one),
        (Side::Left, true) => (one, next()),
        _ => {
            let columns = next();
            (next(), columns)
        }
    }
}

/// Strides over a batch: of the dimensions, which are the last of its own. One that is broadcast has length 1 and
/// therefore stride 0.
pub(crate) fn over(
    batch: &[usize],
    dimensions: impl DoubleEndedIterator<Item = Dimension>,
) -> Vec<Dimension> {
    let mut over: Vec<Dimension> = batch.iter().map(|&length| (length, 0)).collect();
    for (over, (_, stride)) in over.iter_mut().rev().zip(dimensions.rev()) {
        over.1 = stride;
    }
    over
}

/// An array of a format's codes or of float32.
#[derive(Clone, Copy)]
pub(crate) struct Array<'a, 'py> {
    view: View<'a, 'py>,
    format: &'static Py<Format>,
}

impl<'a, 'py> Array<'a, 'py> {
    /// None where `array` must be brought to that form first, or has no format.
    pub(crate) fn new(array: &'a Bound<'py, PyAny>) -> Option<Self> {
        let array = array.cast_exact::<PyUntypedArray>().ok()?;
        let format = format_of(&array.dtype())??;
        Some(Self { view: View::new(array)?, format })
    }

    pub(crate) fn shape(&self) -> &'a [usize] {
        self.view.shape()
    }

    /// See [`Source::stack`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn stack(&self, batch: &[usize], side: Side) -> PyResult<Stack<'a>> {
        let mut dimensions = self.view.dimensions();
        let (rows, columns) = matrix(&mut dimensions, side);
        // SAFETY: the caller vouches.
        let (codes, offset) = unsafe { self.view.codes() };
        let layout = ((rows.0, columns.0), (rows.1, columns.1));
        Stack::new(codes, &self.format.get().format, over(batch, dimensions), layout, offset)
            .map_err(value_error)
    }

    /// A vector, as a row.
    ///
    /// # Safety
    ///
    /// As [`Source::stack`].
    pub(crate) unsafe fn row(&self) -> PyResult<Operand<'a>> {
        // SAFETY: the caller vouches.
        let (codes, offset) = unsafe { self.view.codes() };
        let (columns, stride) = self.view.dimensions().next().unwrap_or((1, 0));
        // Of one element the stride may be anything.
        let stride = if columns < 2 { 1 } else { stride };
        Operand::new(codes, &self.format.get().format, (1, columns), (0, stride), offset).map_err(value_error)
    }

    /// See [`Source::lock`].
    pub(crate) fn lock(&self) -> PyResult<Lock<'py>> {
        self.view.lock()
    }
}

/// An array that other functions of this module may not write.
#[expect(dead_code, reason = "held, not read")]
pub(crate) enum Lock<'py> {
    U8(PyReadonlyArrayDyn<'py, u8>),
    U16(PyReadonlyArrayDyn<'py, u16>),
    F32(PyReadonlyArrayDyn<'py, f32>),
}
