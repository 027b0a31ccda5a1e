//! The functions of training, on contiguous float32 arrays.

use numpy::{PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::convert::Code;
use ramekin::isa::Level;
use ramekin::math::{self, Dropout, Function, Gradient, Labels, Norm, NormGradients};
use ramekin::parallel::ThreadsError;

use crate::array::{elements, elements_mut, readable, with_element, writable};
use crate::system::{level, value_error};

pub(crate) type Any<'a, 'py> = &'a Bound<'py, PyAny>;

pub(crate) fn input<'py>(array: Any<'_, 'py>) -> PyResult<PyReadonlyArrayDyn<'py, f32>> {
    readable(array)
}

pub(crate) fn output<'py>(array: Any<'_, 'py>) -> PyResult<PyReadwriteArrayDyn<'py, f32>> {
    writable(array)
}

/// Refuses lengths that differ from the first.
pub(crate) fn same_length(lengths: &[usize]) -> PyResult<()> {
    if lengths.iter().all(|length| *length == lengths[0]) {
        Ok(())
    } else {
        Err(PyValueError::new_err(format!("arrays have different lengths: {lengths:?}")))
    }
}

/// How many rows of `width` there are.
fn rows(length: usize, width: usize) -> PyResult<usize> {
    if width > 0 && length.is_multiple_of(width) {
        Ok(length / width)
    } else {
        Err(PyValueError::new_err(format!("{length} elements make no rows of {width}")))
    }
}

/// Runs `work` without the interpreter.
pub(crate) fn detached<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(Level) -> Result<R, ThreadsError> + Send,
) -> PyResult<R> {
    let level = level()?;
    py.detach(|| work(level)).map_err(value_error)
}

/// Writes `function(x)` to `y`.
#[pyfunction]
pub(crate) fn apply(py: Python<'_>, function: &str, x: Any<'_, '_>, y: Any<'_, '_>) -> PyResult<()> {
    let function: Function = function.parse().map_err(value_error)?;
    let (x, mut y) = (input(x)?, output(y)?);
    let (x, y) = (elements(&x)?, elements_mut(&mut y)?);
    same_length(&[x.len(), y.len()])?;
    detached(py, |level| math::apply(level, function, x, y))
}

/// Writes the gradient by the argument of `function` to `dx`.
#[pyfunction]
pub(crate) fn apply_gradient(
    py: Python<'_>,
    function: &str,
    x: Any<'_, '_>,
    dy: Any<'_, '_>,
    dx: Any<'_, '_>,
) -> PyResult<()> {
    let function: Gradient = function.parse().map_err(value_error)?;
    let (x, dy, mut dx) = (input(x)?, input(dy)?, output(dx)?);
    let (x, dy, dx) = (elements(&x)?, elements(&dy)?, elements_mut(&mut dx)?);
    same_length(&[x.len(), dy.len(), dx.len()])?;
    detached(py, |level| math::apply_gradient(level, function, x, dy, dx))
}

/// Writes what `kind` names of each row to `out`: "sum", "sum_of_squares" or "max".
#[pyfunction]
pub(crate) fn reduce_rows(
    py: Python<'_>,
    kind: &str,
    x: Any<'_, '_>,
    width: usize,
    out: Any<'_, '_>,
) -> PyResult<()> {
    let reduce = match kind {
        "sum" => math::sum,
        "sum_of_squares" => math::sum_of_squares,
        "max" => math::max,
        _ => return Err(PyValueError::new_err(format!("unknown reduction {kind:?}"))),
    };
    let (x, mut out) = (input(x)?, output(out)?);
    let (x, out) = (elements(&x)?, elements_mut(&mut out)?);
    if width > 0 || kind == "max" || !x.is_empty() {
        same_length(&[rows(x.len(), width)?, out.len()])?;
    }
    detached(py, |level| reduce(level, x, width, out))
}

/// The largest magnitude, NaN if there is one, 0 of nothing.
#[pyfunction]
pub(crate) fn largest_magnitude(py: Python<'_>, x: Any<'_, '_>) -> PyResult<f32> {
    let x = input(x)?;
    let x = elements(&x)?;
    detached(py, |level| math::largest_magnitude(level, x))
}

/// How many of the codes, unsigned integers, have any bit of `mask`.
#[pyfunction]
pub(crate) fn count_nonzero(py: Python<'_>, codes: Any<'_, '_>, mask: u32) -> PyResult<usize> {
    with_element!(codes, [u8, u16, u32], T => {
        let codes = readable::<T>(codes)?;
        let codes = elements(&codes)?;
        let mask = T::truncate(mask);
        detached(py, |level| math::count_nonzero(level, codes, mask))
    })
}

/// Writes the sum of each column to `out`.
#[pyfunction]
pub(crate) fn sum_columns(py: Python<'_>, x: Any<'_, '_>, out: Any<'_, '_>) -> PyResult<()> {
    let (x, mut out) = (input(x)?, output(out)?);
    let (x, out) = (elements(&x)?, elements_mut(&mut out)?);
    if !out.is_empty() {
        rows(x.len(), out.len())?;
    }
    detached(py, |level| math::sum_columns(level, x, out))
}

/// Writes the softmax of each row, or its logarithm, to `y`.
#[pyfunction]
pub(crate) fn softmax(
    py: Python<'_>,
    x: Any<'_, '_>,
    width: usize,
    logarithm: bool,
    y: Any<'_, '_>,
) -> PyResult<()> {
    let (x, mut y) = (input(x)?, output(y)?);
    let (x, y) = (elements(&x)?, elements_mut(&mut y)?);
    same_length(&[x.len(), y.len()])?;
    rows(x.len(), width)?;
    let softmax = if logarithm { math::log_softmax } else { math::softmax };
    detached(py, |level| softmax(level, x, width, y))
}

/// Writes the gradient by the input of softmax to `dx`.
#[pyfunction]
pub(crate) fn softmax_gradient(
    py: Python<'_>,
    y: Any<'_, '_>,
    dy: Any<'_, '_>,
    width: usize,
    dx: Any<'_, '_>,
) -> PyResult<()> {
    let (y, dy, mut dx) = (input(y)?, input(dy)?, output(dx)?);
    let (y, dy, dx) = (elements(&y)?, elements(&dy)?, elements_mut(&mut dx)?);
    same_length(&[y.len(), dy.len(), dx.len()])?;
    rows(y.len(), width)?;
    detached(py, |level| math::softmax_gradient(level, y, dy, width, dx))
}

fn labels_of(labels: &[i64], classes: usize) -> PyResult<Labels<'_>> {
    Labels::new(labels, classes)
        .ok_or_else(|| PyValueError::new_err(format!("a label is no class of {classes}")))
}

/// Writes the sums of rows with the same label to the rows of `out`.
#[pyfunction]
pub(crate) fn sum_rows_by_label(
    py: Python<'_>,
    x: Any<'_, '_>,
    width: usize,
    labels: Any<'_, '_>,
    out: Any<'_, '_>,
) -> PyResult<()> {
    let (x, labels, mut out) = (input(x)?, readable::<i64>(labels)?, output(out)?);
    let (x, labels, out) = (elements(&x)?, elements(&labels)?, elements_mut(&mut out)?);
    same_length(&[rows(x.len(), width)?, labels.len()])?;
    let labels = labels_of(labels, rows(out.len(), width)?)?;
    detached(py, |level| math::sum_rows_by_label(level, x, width, labels, out))
}

/// The sum of all squares, in float64.
#[pyfunction]
pub(crate) fn total_of_squares(py: Python<'_>, x: Any<'_, '_>) -> PyResult<f64> {
    let x = input(x)?;
    let x = elements(&x)?;
    detached(py, |level| math::total_of_squares(level, x))
}

/// Multiplies in place and tells whether all products are finite.
#[pyfunction]
pub(crate) fn scale(py: Python<'_>, x: Any<'_, '_>, factor: f64) -> PyResult<bool> {
    let mut x = output(x)?;
    let x = elements_mut(&mut x)?;
    detached(py, |level| math::scale(level, x, factor))
}

/// Tells whether all elements are finite.
#[pyfunction]
pub(crate) fn all_finite(py: Python<'_>, x: Any<'_, '_>) -> PyResult<bool> {
    let x = input(x)?;
    let x = elements(&x)?;
    detached(py, |level| math::all_finite(level, x))
}

/// Writes `x + y` to `out`.
#[pyfunction]
pub(crate) fn add(py: Python<'_>, x: Any<'_, '_>, y: Any<'_, '_>, out: Any<'_, '_>) -> PyResult<()> {
    let (x, y, mut out) = (input(x)?, input(y)?, output(out)?);
    let (x, y, out) = (elements(&x)?, elements(&y)?, elements_mut(&mut out)?);
    same_length(&[x.len(), y.len(), out.len()])?;
    detached(py, |level| math::add(level, x, y, out))
}

/// Adds `row` to each row of `x`, in place.
#[pyfunction]
pub(crate) fn add_row(py: Python<'_>, x: Any<'_, '_>, row: Any<'_, '_>) -> PyResult<()> {
    let (mut x, row) = (output(x)?, input(row)?);
    let (x, row) = (elements_mut(&mut x)?, elements(&row)?);
    rows(x.len(), row.len())?;
    detached(py, |level| math::add_row(level, x, row))
}

/// Writes what dropout leaves of `x` to `y`.
#[pyfunction]
pub(crate) fn dropout(py: Python<'_>, x: Any<'_, '_>, p: f64, seed: u64, y: Any<'_, '_>) -> PyResult<()> {
    let (x, mut y) = (input(x)?, output(y)?);
    let (x, y) = (elements(&x)?, elements_mut(&mut y)?);
    same_length(&[x.len(), y.len()])?;
    if !(0.0..1.0).contains(&p) {
        return Err(PyValueError::new_err(format!("p must be at least 0 and below 1, got {p}")));
    }
    detached(py, |level| math::dropout(level, Dropout { p, seed }, x, y))
}

/// Returns the mean squared error and writes its gradient, times `scale`, to `gradient`.
#[pyfunction]
pub(crate) fn squared_error(
    py: Python<'_>,
    x: Any<'_, '_>,
    targets: Any<'_, '_>,
    scale: f64,
    gradient: Any<'_, '_>,
) -> PyResult<f32> {
    let (x, targets, mut gradient) = (input(x)?, input(targets)?, output(gradient)?);
    let (x, targets, gradient) = (elements(&x)?, elements(&targets)?, elements_mut(&mut gradient)?);
    same_length(&[x.len(), targets.len(), gradient.len()])?;
    detached(py, |level| math::squared_error(level, x, targets, scale, gradient))
}

/// Writes the cross-entropy of each row to `losses` and the gradient of their mean, times `scale`, to `gradient`.
/// Returns the mean.
#[pyfunction]
pub(crate) fn cross_entropy(
    py: Python<'_>,
    x: Any<'_, '_>,
    width: usize,
    labels: Any<'_, '_>,
    scale: f64,
    losses: Any<'_, '_>,
    gradient: Any<'_, '_>,
) -> PyResult<f32> {
    let (x, labels, mut losses, mut gradient) =
        (input(x)?, readable::<i64>(labels)?, output(losses)?, output(gradient)?);
    let (x, labels) = (elements(&x)?, elements(&labels)?);
    let (losses, gradient) = (elements_mut(&mut losses)?, elements_mut(&mut gradient)?);
    same_length(&[x.len(), gradient.len()])?;
    same_length(&[rows(x.len(), width)?, labels.len(), losses.len()])?;
    let labels = labels_of(labels, width)?;
    detached(py, |level| math::cross_entropy(level, x, width, labels, scale, losses, gradient))
}

/// Writes the norm of each row, as wide as `weight`, to `y`.
#[pyfunction]
pub(crate) fn normalize(
    py: Python<'_>,
    centred: bool,
    eps: f64,
    x: Any<'_, '_>,
    weight: Any<'_, '_>,
    bias: Option<Bound<'_, PyAny>>,
    y: Any<'_, '_>,
) -> PyResult<()> {
    let bias = bias.as_ref().map(input).transpose()?;
    let (x, weight, mut y) = (input(x)?, input(weight)?, output(y)?);
    let (x, weight, y) = (elements(&x)?, elements(&weight)?, elements_mut(&mut y)?);
    let bias = bias.as_ref().map(elements).transpose()?;
    same_length(&[x.len(), y.len()])?;
    same_length(&[weight.len(), bias.map_or(weight.len(), <[f32]>::len)])?;
    rows(x.len(), weight.len())?;
    detached(py, |level| math::normalize(level, Norm { centred, eps }, x, weight, bias, y))
}

/// Writes the gradients of `normalize` by input, weight and, if that is given, bias.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "six arrays and the two parts of the norm")]
pub(crate) fn normalize_gradient(
    py: Python<'_>,
    centred: bool,
    eps: f64,
    x: Any<'_, '_>,
    weight: Any<'_, '_>,
    dy: Any<'_, '_>,
    dx: Any<'_, '_>,
    by_weight: Any<'_, '_>,
    by_bias: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let mut by_bias = by_bias.as_ref().map(output).transpose()?;
    let (x, weight, dy) = (input(x)?, input(weight)?, input(dy)?);
    let (mut dx, mut by_weight) = (output(dx)?, output(by_weight)?);
    let (x, weight, dy) = (elements(&x)?, elements(&weight)?, elements(&dy)?);
    let (dx, by_weight) = (elements_mut(&mut dx)?, elements_mut(&mut by_weight)?);
    let by_bias = by_bias.as_mut().map(elements_mut).transpose()?;
    same_length(&[x.len(), dy.len(), dx.len()])?;
    same_length(&[weight.len(), by_weight.len(), by_bias.as_ref().map_or(weight.len(), |b| b.len())])?;
    rows(x.len(), weight.len())?;
    let gradients = NormGradients { x: dx, weight: by_weight, bias: by_bias };
    detached(py, |level| math::normalize_gradient(level, Norm { centred, eps }, x, weight, dy, gradients))
}
