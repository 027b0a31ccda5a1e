//! NumPy arrays as operands of products.

use std::ops::Range;
use std::slice;

use numpy::npyffi::NPY_ARRAY_ALIGNED;
use numpy::{PyArrayDescrMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::prelude::*;
use ramekin::matmul::{Codes, Operand, Stack};

use crate::array::readable;
use crate::format::Format;
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

/// An array that the core reads where it lies: codes of a format or float32, aligned, of any strides, no subclass.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, 'py> {
    array: &'a Bound<'py, PyUntypedArray>,
    format: &'static Py<Format>,
    size: usize,
}

impl<'a, 'py> Source<'a, 'py> {
    /// None where `array` must be brought to that form first, or has no format.
    pub(crate) fn new(array: &'a Bound<'py, PyAny>) -> Option<Self> {
        let array = array.cast_exact::<PyUntypedArray>().ok()?;
        let dtype = array.dtype();
        let source = Self { array, format: format_of(&dtype)??, size: dtype.itemsize() };
        // SAFETY: an array, alive while it is bound.
        let flags = unsafe { (*array.as_array_ptr()).fields.flags };
        let readable = flags & NPY_ARRAY_ALIGNED != 0 && source.dimensions().all(|(n, s)| n < 2 || s.1);
        readable.then_some(source)
    }

    pub(crate) fn format(&self) -> &'static Py<Format> {
        self.format
    }

    pub(crate) fn shape(&self) -> &'a [usize] {
        self.array.shape()
    }

    /// Length and stride of each dimension, in elements, and whether the stride is a whole number of them.
    fn dimensions(&self) -> impl DoubleEndedIterator<Item = (usize, (isize, bool))> + use<'a, 'py> {
        let size = self.size as isize;
        let strides = self.array.strides().iter().map(move |stride| (stride / size, stride % size == 0));
        self.shape().iter().copied().zip(strides)
    }

    /// The lowest and the highest element, counted from the first; None if there is none.
    fn extremes(&self) -> Option<(isize, isize)> {
        self.dimensions().try_fold((0, 0), |(lowest, highest), (length, (stride, _))| {
            let reach = (length as isize - 1) * if length < 2 { 0 } else { stride };
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

    /// The matrices, broadcast over `batch`; a vector is a matrix of one row or column.
    ///
    /// # Safety
    ///
    /// Nobody may write the elements while they are read.
    pub(crate) unsafe fn stack(&self, batch: &[usize], side: Side) -> PyResult<Stack<'a>> {
        let mut dimensions = self
            .dimensions()
            .rev()
            .map(|(length, (stride, _))| (length, if length < 2 { 0 } else { stride }));
        let one = (1, 0);
        let (columns, rows) = match (side, self.shape().len()) {
            (Side::Right, 1) => (one, dimensions.next().unwrap_or(one)),
            (Side::Left, 1) => (dimensions.next().unwrap_or(one), one),
            _ => (dimensions.next().unwrap_or(one), dimensions.next().unwrap_or(one)),
        };
        let mut over: Vec<(usize, isize)> = batch.iter().map(|&length| (length, 0)).collect();
        // A dimension that is broadcast has length 1 and therefore stride 0.
        for (over, (_, stride)) in over.iter_mut().rev().zip(dimensions) {
            over.1 = stride;
        }
        // SAFETY: the caller vouches.
        let (codes, offset) = unsafe { self.codes() };
        let layout = ((rows.0, columns.0), (rows.1, columns.1));
        Stack::new(codes, &self.format.get().format, over, layout, offset).map_err(value_error)
    }

    /// A vector, as a row.
    ///
    /// # Safety
    ///
    /// As [`Source::stack`].
    pub(crate) unsafe fn row(&self) -> PyResult<Operand<'a>> {
        // SAFETY: the caller vouches.
        let (codes, offset) = unsafe { self.codes() };
        let (columns, (stride, _)) = self.dimensions().next().unwrap_or((1, (0, true)));
        // Of one element the stride may be anything.
        let stride = if columns < 2 { 1 } else { stride };
        Operand::new(codes, &self.format.get().format, (1, columns), (0, stride), offset).map_err(value_error)
    }

    /// The memory from the lowest element to the highest, and where the first one is.
    ///
    /// # Safety
    ///
    /// As [`Source::stack`].
    unsafe fn codes(&self) -> (Codes<'a>, usize) {
        let extremes = self.extremes();
        // SAFETY: the elements from the lowest to the highest lie in one allocation, which the array keeps alive;
        // they are aligned and as wide as their format's codes; the caller vouches for the rest.
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
    /// As [`Source::stack`]; the elements must be as wide as `T`, of which every bit pattern must be a value.
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
    pub(crate) fn lock(&self) -> PyResult<Lock<'py>> {
        let view = |dtype| self.array.call_method1("view", (dtype,));
        let py = self.array.py();
        Ok(match self.size {
            1 => Lock::U8(readable(&view(dtype::<u8>(py))?)?),
            2 => Lock::U16(readable(&view(dtype::<u16>(py))?)?),
            _ => Lock::F32(readable(self.array)?),
        })
    }
}

/// An array that other functions of this module may not write.
#[expect(dead_code, reason = "held, not read")]
pub(crate) enum Lock<'py> {
    U8(PyReadonlyArrayDyn<'py, u8>),
    U16(PyReadonlyArrayDyn<'py, u16>),
    F32(PyReadonlyArrayDyn<'py, f32>),
}
