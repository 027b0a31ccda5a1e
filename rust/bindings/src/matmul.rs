//! Matrix products of strided arrays.

use numpy::{Element, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::FloatFormat;
use ramekin::matmul::{Codes, Operand, Right, matmul as product};

use crate::array::{elements_mut, holds, readable, writable};
use crate::format::Format;
use crate::system::{level, value_error};

/// An array kept from being written, whatever its element type.
enum Borrowed<'py> {
    U8(PyReadonlyArrayDyn<'py, u8>),
    U16(PyReadonlyArrayDyn<'py, u16>),
    F32(PyReadonlyArrayDyn<'py, f32>),
}

impl<'py> Borrowed<'py> {
    fn new(array: &Bound<'py, PyAny>) -> PyResult<Self> {
        if holds::<u8>(array) {
            Ok(Self::U8(readable(array)?))
        } else if holds::<u16>(array) {
            Ok(Self::U16(readable(array)?))
        } else {
            Ok(Self::F32(readable(array)?))
        }
    }

    fn operand<'a>(&'a self, format: &'a FloatFormat) -> PyResult<Operand<'a>> {
        match self {
            Self::U8(array) => strided(array, format, Codes::U8),
            Self::U16(array) => strided(array, format, Codes::U16),
            Self::F32(array) => strided(array, format, Codes::F32),
        }
    }
}

/// A two-dimensional array of any strides, without a copy.
fn strided<'a, T: Element>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    format: &'a FloatFormat,
    codes: impl FnOnce(&'a [T]) -> Codes<'a>,
) -> PyResult<Operand<'a>> {
    let (&[rows, columns], &[by_row, by_column]) = (array.shape(), array.strides()) else {
        return Err(PyValueError::new_err(format!("expected a matrix, not {} dimensions", array.ndim())));
    };
    let size = size_of::<T>() as isize;
    let first = array.data();
    if by_row % size != 0 || by_column % size != 0 || !first.is_aligned() {
        return Err(PyValueError::new_err("expected aligned elements"));
    }
    let strides = (by_row / size, by_column / size);
    let empty = rows == 0 || columns == 0;
    let reach = |n: usize, stride: isize| if empty { 0 } else { (n as isize - 1) * stride };
    let (down, across) = (reach(rows, strides.0), reach(columns, strides.1));
    let lowest = down.min(0) + across.min(0);
    let highest = down.max(0) + across.max(0);
    let len = if empty { 0 } else { (highest - lowest) as usize + 1 };
    // SAFETY: the corners of a NumPy array lie in one allocation, which the array keeps alive; the memory from
    // the lowest to the highest element is initialised and aligned, and nobody writes it while the array is
    // borrowed for reading.
    let memory = unsafe { std::slice::from_raw_parts(first.offset(lowest), len) };
    Operand::new(codes(memory), format, (rows, columns), strides, (-lowest) as usize).map_err(value_error)
}

/// `out = a b`; `out` is C-contiguous float32, `a` and `b` are matrices of codes or float32 of any strides.
#[pyfunction]
pub(crate) fn matmul(
    py: Python<'_>,
    a: &Bound<'_, PyAny>,
    a_format: &Format,
    b: &Bound<'_, PyAny>,
    b_format: &Format,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (a, b) = (Borrowed::new(a)?, Borrowed::new(b)?);
    let (a, b) = (a.operand(&a_format.format)?, b.operand(&b_format.format)?);
    let mut out = writable::<f32>(out)?;
    let out = elements_mut(&mut out)?;
    if a.shape().1 != b.shape().0 || out.len() != a.shape().0 * b.shape().1 {
        return Err(PyValueError::new_err("shapes do not fit"));
    }
    let level = level()?;
    py.detach(|| product(level, &a, Right::Operand(&b), out)).map_err(value_error)
}
