//! Exponential and logarithm in float64, for arguments that float32 numbers lead to.
//!
//! Branch-free, and of operations that IEEE 754 fixes, so that any compiler and CPU gives the same bits.

use std::f64::consts::{LN_2, LOG2_E};

/// Added to a number below 2^51 in magnitude, this leaves the nearest integer in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52

/// ln 2 in two parts, of which the first has 32 bits: its product with an integer of up to 20 bits is exact.
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0x1f_ffff);
/// ln 2 less its first part; the digits are those that follow float64's.
const LN_2_LOW: f64 = (LN_2 - LN_2_HIGH) + 2.319_046_813_846_299_6e-17;

/// Where the exponential of a float32 has long been 0 or infinity, and float64's neither.
const BOUND: f64 = 200.0;

/// `2^n` and `e^r - 1` with `x = n ln 2 + r` and `|r|` at most half of ln 2; `x` is taken as within 200 of 0, and NaN
/// gives NaN.
#[inline(always)]
fn exp_parts(x: f64) -> (f64, f64) {
    // Comparisons that NaN fails leave it as it is.
    let x = if x < -BOUND { -BOUND } else { x };
    let x = if x > BOUND { BOUND } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    // The first product is exact, and so is the difference, of neighbours.
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Taylor's series; the first term left out, r^14 / 14!, is below 2^-57.
    let mut p = 1.0 / 6_227_020_800.0;
    p = p * r + 1.0 / 479_001_600.0;
    p = p * r + 1.0 / 39_916_800.0;
    p = p * r + 1.0 / 3_628_800.0;
    p = p * r + 1.0 / 362_880.0;
    p = p * r + 1.0 / 40_320.0;
    p = p * r + 1.0 / 5_040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    let less_one = r + r * r * p;
    // The low bits of `shifted` are n; its other bits leave by the shift.
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    (power, less_one)
}

/// `e^x` for `x` within 200 of 0, and at the nearer of those bounds for other `x`.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    let (power, less_one) = exp_parts(x);
    power + power * less_one
}

/// `e^x - 1`, likewise, without losing small `x`.
#[inline(always)]
pub(super) fn exp_less_one(x: f64) -> f64 {
    let (power, less_one) = exp_parts(x);
    power * less_one + (power - 1.0)
}

/// The mantissa of the square root of one half.
const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const MANTISSA: u64 = (1 << 52) - 1;
/// The bits of 2^52: an integer of up to 52 bits beside them makes the float64 of their sum.
const TWO_52: u64 = 0x4330_0000_0000_0000;

/// The natural logarithm: of 0 minus infinity, of negative numbers NaN. Not for subnormal float64.
#[inline(always)]
pub(super) fn log(x: f64) -> f64 {
    // x = 2^k m with m from the square root of one half to that of two.
    let bits = x.to_bits().wrapping_add(ONE - ROOT_HALF);
    let k = f64::from_bits(TWO_52 | (bits >> 52 & 0x7ff)) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits((bits & MANTISSA) + ROOT_HALF);
    // log m = 2 artanh s, s = (m - 1) / (m + 1), |s| < 0.1716. The first term left out, s^23 / 23 beside s, is
    // below 2^-60.
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut p = 1.0 / 21.0;
    p = p * s2 + 1.0 / 19.0;
    p = p * s2 + 1.0 / 17.0;
    p = p * s2 + 1.0 / 15.0;
    p = p * s2 + 1.0 / 13.0;
    p = p * s2 + 1.0 / 11.0;
    p = p * s2 + 1.0 / 9.0;
    p = p * s2 + 1.0 / 7.0;
    p = p * s2 + 1.0 / 5.0;
    p = p * s2 + 1.0 / 3.0;
    let log = k * LN_2 + (2.0 * s + 2.0 * s * s2 * p);
    // What is no positive finite number.
    let log = if x == f64::INFINITY { x } else { log };
    let log = if x == 0.0 { f64::NEG_INFINITY } else { log };
    if x >= 0.0 { log } else { f64::NAN }
}
