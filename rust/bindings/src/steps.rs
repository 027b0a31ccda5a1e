//! The steps of optimisers, on contiguous arrays.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use ramekin::math::{self, AdamW, AdamWState, Sgd, ShortState};

use crate::array::{elements, elements_mut, writable};
use crate::math::{Any, detached, input, output, same_length};

/// A step of stochastic gradient descent, in place.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "three arrays and the numbers of the step")]
pub(crate) fn sgd_step(
    py: Python<'_>,
    value: Any<'_, '_>,
    gradient: Any<'_, '_>,
    buffer: Option<Bound<'_, PyAny>>,
    first: bool,
    rate: f64,
    weight_decay: f64,
    momentum: f64,
) -> PyResult<()> {
    let mut buffer = buffer.as_ref().map(output).transpose()?;
    let (mut value, gradient) = (output(value)?, input(gradient)?);
    let (value, gradient) = (elements_mut(&mut value)?, elements(&gradient)?);
    let buffer = buffer.as_mut().map(elements_mut).transpose()?;
    same_length(&[value.len(), gradient.len(), buffer.as_ref().map_or(value.len(), |b| b.len())])?;
    let how = Sgd { rate, weight_decay, momentum, first };
    detached(py, |level| math::sgd_step(level, how, value, gradient, buffer))
}

/// A step of AdamW, in place.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "four arrays and the numbers of the step")]
pub(crate) fn adamw_step(
    py: Python<'_>,
    value: Any<'_, '_>,
    gradient: Any<'_, '_>,
    mean: Any<'_, '_>,
    square: Any<'_, '_>,
    rate: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    step: u64,
) -> PyResult<()> {
    let (mut value, gradient, mut mean, mut square) =
        (output(value)?, input(gradient)?, output(mean)?, output(square)?);
    let (value, gradient) = (elements_mut(&mut value)?, elements(&gradient)?);
    let (mean, square) = (elements_mut(&mut mean)?, elements_mut(&mut square)?);
    same_length(&[value.len(), gradient.len(), mean.len(), square.len()])?;
    if step == 0 {
        return Err(PyValueError::new_err("steps are counted from 1, got 0"));
    }
    let how = AdamW { rate, betas, eps, weight_decay, step };
    detached(py, |level| math::adamw_step(level, how, AdamWState { value, mean, square }, gradient))
}

/// A step of stochastic gradient descent with a buffer of bfloat16 codes, in place.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "three arrays and the numbers of the step")]
pub(crate) fn sgd_step_short(
    py: Python<'_>,
    value: Any<'_, '_>,
    gradient: Any<'_, '_>,
    buffer: Any<'_, '_>,
    seed: u64,
    first: bool,
    rate: f64,
    weight_decay: f64,
    momentum: f64,
) -> PyResult<()> {
    let (mut value, gradient, mut buffer) = (output(value)?, input(gradient)?, writable::<u16>(buffer)?);
    let (value, gradient) = (elements_mut(&mut value)?, elements(&gradient)?);
    let codes = elements_mut(&mut buffer)?;
    same_length(&[value.len(), gradient.len(), codes.len()])?;
    let how = Sgd { rate, weight_decay, momentum, first };
    detached(py, |level| math::sgd_step_short(level, how, value, gradient, ShortState { codes, seed }))
}

/// A step of AdamW with averages of bfloat16 codes, in place.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "four arrays and the numbers of the step")]
pub(crate) fn adamw_step_short(
    py: Python<'_>,
    value: Any<'_, '_>,
    gradient: Any<'_, '_>,
    mean: Any<'_, '_>,
    square: Any<'_, '_>,
    seeds: [u64; 2],
    rate: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    step: u64,
) -> PyResult<()> {
    let (mut value, gradient) = (output(value)?, input(gradient)?);
    let (mut mean, mut square) = (writable::<u16>(mean)?, writable::<u16>(square)?);
    let (value, gradient) = (elements_mut(&mut value)?, elements(&gradient)?);
    let (mean, square) = (elements_mut(&mut mean)?, elements_mut(&mut square)?);
    same_length(&[value.len(), gradient.len(), mean.len(), square.len()])?;
    if step == 0 {
        return Err(PyValueError::new_err("steps are counted from 1, got 0"));
    }
    let how = AdamW { rate, betas, eps, weight_decay, step };
    let mean = ShortState { codes: mean, seed: seeds[0] };
    let square = ShortState { codes: square, seed: seeds[1] };
    detached(py, |level| math::adamw_step_short(level, how, value, gradient, mean, square))
}
