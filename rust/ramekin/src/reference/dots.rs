//! Sums of products in the accumulators of [`matmul_accumulated`](crate::matmul::matmul_accumulated), by their
//! definitions, in integers.

use super::{Finite, Fixed, Value, decode, encode, fma};
use crate::convert::Conversion;
use crate::format::{FLOAT32, FloatFormat, Zero};
use crate::matmul::TensorCore;

fn canonical(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(0x7fc0_0000) } else { x }
}

/// What infinities and NaN, among the products or before them, make of a sum: no rounding has a part in that.
fn special(before: f32, a: &[f32], b: &[f32]) -> Option<f32> {
    // No product of finite float32 overflows float64.
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    let sum: f64 = products.chain([f64::from(before)]).filter(|x| !x.is_finite()).sum();
    (sum != 0.0).then_some(sum as f32)
}

fn finite(x: f64) -> Finite {
    match Value::from(x) {
        Value::Finite { negative, significand, exponent } => (negative, significand, exponent),
        _ => unreachable!("{x} is not finite"),
    }
}

/// Rounds to the nearest number of a format.
fn round(format: &FloatFormat, value: Value) -> f32 {
    let rounded = decode(format, encode(format, Conversion::default(), value));
    f32::from_bits(encode(&FLOAT32, Conversion::default(), rounded))
}

/// A partial sum, or `total = +0;  total = total + partial` over those of chunks, in float32.
fn promoted(chunk: Option<usize>, a: &[f32], b: &[f32], partial: impl Fn(&[f32], &[f32]) -> f32) -> f32 {
    let Some(chunk) = chunk else { return canonical(partial(a, b)) };
    let parts = a.chunks(chunk).zip(b.chunks(chunk));
    canonical(parts.fold(0.0, |total, (a, b)| fma(partial(a, b), 1.0, total)))
}

/// Chains of float32, in chunks.
#[must_use]
pub fn float32_dot(chunk: Option<usize>, a: &[f32], b: &[f32]) -> f32 {
    promoted(chunk, a, b, super::fma_chain)
}

/// The exact sum of the exact products, rounded once.
#[must_use]
pub fn exact_dot(a: &[f32], b: &[f32]) -> f32 {
    if let Some(special) = special(0.0, a, b) {
        return canonical(special);
    }
    let mut sum = Fixed::default();
    for (&a, &b) in a.iter().zip(b) {
        sum.add_product(finite(a.into()), finite(b.into()));
    }
    sum.to_float32()
}

/// Chains of float64, whose partial sums are added in float64 too; the result is rounded to float32 at the end.
#[must_use]
pub fn float64_dot(chunk: Option<usize>, a: &[f32], b: &[f32]) -> f32 {
    if let Some(special) = special(0.0, a, b) {
        return canonical(special);
    }
    let partial = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).fold(0.0, |c, (&a, &b)| {
            let mut sum = Fixed::default();
            sum.add_product(finite(a.into()), finite(b.into()));
            plus(sum, c)
        })
    };
    let total = match chunk {
        None => partial(a, b),
        Some(chunk) => a.chunks(chunk).zip(b.chunks(chunk)).fold(0.0, |total, (a, b)| {
            let mut sum = Fixed::default();
            let (negative, significand, exponent) = finite(partial(a, b));
            sum.add(negative, significand.into(), exponent);
            plus(sum, total)
        }),
    };
    let (negative, significand, exponent) = finite(total);
    let value = Value::Finite { negative, significand, exponent };
    f32::from_bits(encode(&FLOAT32, Conversion::default(), value))
}

/// The sum with `c`, rounded to float64. A zero is +0: -0 would take two terms that are, and `c` starts as +0.
fn plus(mut sum: Fixed, c: f64) -> f64 {
    let (negative, significand, exponent) = finite(c);
    sum.add(negative, significand.into(), exponent);
    if sum.is_zero() {
        return 0.0;
    }
    let (negative, leading, exponent) = sum.leading();
    // 63 bits and one for those below; 53 are kept. A carry to 2^53 is a float64 too.
    let half = 1u64 << 10;
    let (kept, rest) = (leading >> 11, leading & (2 * half - 1));
    let kept = kept + u64::from(rest > half || (rest == half && kept & 1 == 1));
    // Powers of two above 2^-312: normal numbers.
    let magnitude = kept as f64 * f64::from_bits(((exponent + 11 + 1023) as u64) << 52);
    if negative { -magnitude } else { magnitude }
}

/// Product plus running value, rounded to `format` for every term; the partial sums of chunks are added in float32.
#[must_use]
pub fn rounded_dot(format: &FloatFormat, chunk: Option<usize>, a: &[f32], b: &[f32]) -> f32 {
    let step = |c: f32, a: f32, b: f32| {
        if let Some(special) = special(c, &[a], &[b]) {
            return special;
        }
        let (a, b, c) = (finite(a.into()), finite(b.into()), finite(c.into()));
        let mut sum = Fixed::default();
        sum.add_product(a, b);
        sum.add(c.0, c.1.into(), c.2);
        if sum.is_zero() {
            return if a.0 != b.0 && c.0 { -0.0 } else { 0.0 };
        }
        let (negative, significand, exponent) = sum.leading();
        round(format, Value::Finite { negative, significand, exponent })
    };
    promoted(chunk, a, b, |a, b| a.iter().zip(b).fold(0.0, |c, (&a, &b)| step(c, a, b)))
}

/// Steps of a [`TensorCore`]; the partial sums of chunks are added in float32.
#[must_use]
pub fn tensor_core_dot(
    model: &TensorCore,
    (format_a, format_b): (&FloatFormat, &FloatFormat),
    chunk: Option<usize>,
    a: &[f32],
    b: &[f32],
) -> f32 {
    promoted(chunk, a, b, |a, b| {
        let steps = a.chunks(model.terms()).zip(b.chunks(model.terms()));
        steps.fold(0.0, |c, (a, b)| tensor_core_step(model, (format_a, format_b), c, a, b))
    })
}

/// A number as sign, odd significand and exponent, and its exponent as the hardware sees it; None for zero.
fn aligned(format: &FloatFormat, x: f32) -> Option<(bool, u128, i32, i32)> {
    let (negative, significand, exponent) = finite(x.into());
    if significand == 0 {
        return None;
    }
    let zeros = significand.trailing_zeros();
    let top = exponent + 63 - significand.leading_zeros() as i32;
    let lowest = if format.zero == Zero::None { -format.bias } else { format.min_exponent() };
    Some((negative, u128::from(significand >> zeros), exponent + zeros as i32, top.max(lowest)))
}

fn tensor_core_step(
    model: &TensorCore,
    (format_a, format_b): (&FloatFormat, &FloatFormat),
    c: f32,
    a: &[f32],
    b: &[f32],
) -> f32 {
    if let Some(special) = special(c, a, b) {
        return special;
    }
    let products = a.iter().zip(b).filter_map(|(&a, &b)| {
        let (a, b) = (aligned(format_a, a)?, aligned(format_b, b)?);
        Some((a.0 != b.0, a.1 * b.1, a.2 + b.2, a.3 + b.3))
    });
    let terms: Vec<_> = products.chain(aligned(&FLOAT32, c)).collect();
    let largest = terms.iter().map(|term| term.3).fold(-133, i32::max);
    let unit = largest - model.fraction_bits() as i32;
    let sum: i128 = terms
        .iter()
        .map(|&(negative, significand, exponent, _)| {
            let shift = exponent - unit;
            let units = if shift >= 0 {
                significand << shift
            } else {
                significand.checked_shr(shift.unsigned_abs()).unwrap_or(0)
            } as i128;
            if negative { -units } else { units }
        })
        .sum();
    if sum == 0 {
        return 0.0;
    }
    let magnitude = sum.unsigned_abs();
    let top = unit + 127 - magnitude.leading_zeros() as i32;
    let lost = (top.max(-126) - model.mantissa_bits() as i32 - unit).clamp(0, 127);
    let significand = (magnitude >> lost << lost) as u64;
    let value = Value::Finite { negative: sum < 0, significand, exponent: unit };
    // Exact, but for infinity from 2^128 on.
    f32::from_bits(encode(&FLOAT32, Conversion::default(), value))
}
