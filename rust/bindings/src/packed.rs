//! The handle of a packed matrix.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use ramekin::matmul::{self, PackMatrixError};

use crate::format::Format;
use crate::operand::{Side, Source};
use crate::system::{level, value_error};

/// A matrix laid out once as products read their right-hand side, to be multiplied by many times.
///
/// Made by ``pack_matrix``, read by ``matmul``; it never changes. A copy is the matrix itself. It cannot be
/// pickled: the layout is that of one instruction set.
///
/// Attributes
/// ----------
/// shape : tuple of int
///     Rows and columns.
/// format : FloatFormat
///     The format of the elements of the matrix that was packed.
/// nbytes : int
///     The memory it takes.
#[pyclass(frozen, module = "ramekin", name = "PackedMatrix")]
pub(crate) struct Packed {
    pub(crate) matrix: matmul::PackedMatrix,
    format: Py<Format>,
}

#[pymethods]
impl Packed {
    #[getter]
    pub(crate) fn shape(&self) -> (usize, usize) {
        self.matrix.shape()
    }

    #[getter]
    fn format(&self, py: Python<'_>) -> Py<Format> {
        self.format.clone_ref(py)
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.matrix.size()
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a PackedMatrix cannot be pickled, for its layout is that of this CPU's instruction set; pickle the \
             matrix and pack it again",
        ))
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = self.matrix.shape();
        format!(
            "<PackedMatrix {} ({rows}, {columns}), {} bytes>",
            self.format.get().format,
            self.matrix.size()
        )
    }
}

/// Packs a matrix; None where `b` must be brought to another form first.
#[pyfunction]
pub(crate) fn pack_matrix(py: Python<'_>, b: &Bound<'_, PyAny>) -> PyResult<Option<Packed>> {
    let Some(source) = Source::new(b) else { return Ok(None) };
    let dimensions = source.shape().len();
    if dimensions != 2 {
        return Err(PyValueError::new_err(format!(
            "pack_matrix: b must be a matrix, not of {dimensions} dimensions"
        )));
    }
    let _lock = source.lock()?;
    // SAFETY: the array is locked.
    let stack = unsafe { source.stack(&[], Side::Right) }?;
    let level = level()?;
    let refusal = |error| match error {
        PackMatrixError::Threads(error) => value_error(error),
        error => value_error(format!("pack_matrix: {error}")),
    };
    let matrix = py.detach(|| matmul::PackedMatrix::new(level, &stack.matrix(0))).map_err(refusal)?;
    Ok(Some(Packed { matrix, format: source.format().clone_ref(py) }))
}
