//! NumPy arrays as the core sees them.

use numpy::{Element, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// An array to read, of element type `T`.
pub(crate) fn readable<'py, T: Element>(array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    array.cast::<PyArrayDyn<T>>()?.try_readonly().map_err(busy)
}

/// An array to write, of element type `T`.
pub(crate) fn writable<'py, T: Element>(array: &Bound<'py, PyAny>) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    array.cast::<PyArrayDyn<T>>()?.try_readwrite().map_err(busy)
}

fn busy(error: numpy::BorrowError) -> PyErr {
    PyValueError::new_err(format!("array cannot be used: {error}"))
}

/// The elements of a C-contiguous array.
pub(crate) fn elements<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    array.as_slice().map_err(|_| PyTypeError::new_err("expected a contiguous array"))
}

/// The elements of a C-contiguous array, to write.
pub(crate) fn elements_mut<'a, T: Element>(
    array: &'a mut PyReadwriteArrayDyn<'_, T>,
) -> PyResult<&'a mut [T]> {
    array.as_slice_mut().map_err(|_| PyTypeError::new_err("expected a contiguous array"))
}

/// Whether `array` holds elements of type `T`.
pub(crate) fn holds<T: Element>(array: &Bound<'_, PyAny>) -> bool {
    array.cast::<PyArrayDyn<T>>().is_ok()
}

/// Runs `$body` with `$T` bound to the one of the types listed that `$array` holds; a second list has a body of
/// its own.
macro_rules! with_element {
    ($array:expr, [$($type:ty),+], $T:ident => $body:expr) => {
        with_element!($array, [$($type),+], $T => $body; [], Never => unreachable!())
    };
    ($array:expr, [$($type:ty),+], $T:ident => $body:expr
     ; [$($other:ty),*], $U:ident => $otherwise:expr) => {
        $(if crate::array::holds::<$type>($array) {
            type $T = $type;
            $body
        } else)+
        $(if crate::array::holds::<$other>($array) {
            type $U = $other;
            $otherwise
        } else)* {
            Err(pyo3::exceptions::PyTypeError::new_err(concat!(
                "expected an array of one of", $(" ", stringify!($type),)+ $(" ", stringify!($other),)*
            )))
        }
    };
}
pub(crate) use with_element;
