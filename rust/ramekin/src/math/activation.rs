//! Activation functions, in float64 but for those that round nothing, and their derivatives.
//!
//! A product with the argument goes to zero where the argument goes to minus infinity; there the argument is kept
//! finite, so that the product has its limit.

use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

use super::elementary::{exp, exp_less_one};
use super::erf::{normal, normal_and_density};

/// Beyond this the functions here equal their limits in float32.
const BOUND: f64 = 1000.0;

/// No less than float32's most negative number; NaN stays.
#[inline(always)]
fn finite_below(x: f64) -> f64 {
    const LEAST: f64 = f32::MIN as f64;
    if x < LEAST { LEAST } else { x }
}

/// Within `BOUND` of zero; NaN stays.
#[inline(always)]
fn bounded(x: f64) -> f64 {
    let x = if x < -BOUND { -BOUND } else { x };
    if x > BOUND { BOUND } else { x }
}

/// `(e^2|x| - 1) / (e^2|x| + 1)` with the sign of `x`.
#[inline(always)]
pub(super) fn tanh(x: f64) -> f64 {
    let e = exp_less_one(2.0 * x.abs());
    (e / (e + 2.0)).copysign(x)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu(x: f64) -> f64 {
    finite_below(x) / (1.0 + exp(-x))
}

#[inline(always)]
pub(super) fn silu_gradient(x: f64, dy: f64) -> f64 {
    let x = bounded(x);
    let e = exp(-x);
    let s = 1.0 / (1.0 + e);
    dy * (s * (1.0 + x * (e * s)))
}

/// `x Phi(x)`, Phi the normal distribution.
#[inline(always)]
pub(super) fn gelu(x: f64) -> f64 {
    finite_below(x) * normal(bounded(x))
}

#[inline(always)]
pub(super) fn gelu_gradient(x: f64, dy: f64) -> f64 {
    let x = bounded(x);
    let (phi, density) = normal_and_density(x);
    dy * (phi + x * density)
}

/// The square root of 2 / pi, of Hendrycks and Gimpel 2016.
const ROOT: f64 = FRAC_2_SQRT_PI / SQRT_2;
const CUBIC: f64 = 0.044715;

/// `x / 2 (1 + tanh u) = x / (1 + e^-2u)` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`.
#[inline(always)]
pub(super) fn gelu_tanh(x: f64) -> f64 {
    let inner = bounded(x);
    let u = ROOT * (inner + CUBIC * (inner * inner * inner));
    finite_below(x) / (1.0 + exp(-2.0 * u))
}

#[inline(always)]
pub(super) fn gelu_tanh_gradient(x: f64, dy: f64) -> f64 {
    let x = bounded(x);
    let u = ROOT * (x + CUBIC * (x * x * x));
    let slope = ROOT * (1.0 + 3.0 * CUBIC * (x * x));
    let e = exp(-2.0 * u);
    let s = 1.0 / (1.0 + e);
    dy * (s * (1.0 + x * ((e * s) * (2.0 * slope))))
}

/// `x` where it is above 0, else 0; NaN stays. Nothing is rounded.
#[inline(always)]
pub(super) fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

#[inline(always)]
pub(super) fn relu_gradient(x: f32, dy: f32) -> f32 {
    if x > 0.0 { dy } else { 0.0 }
}
