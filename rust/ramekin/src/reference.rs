//! The oracle of the tests: conversion, dot and matrix products in integer arithmetic, slow and plain.
//!
//! It shares no step with the fast paths. A finite number is `(-1)^negative * significand * 2^exponent`; a code
//! is found by bisection over the codes of a format, whose magnitudes ascend, and by comparing with the exact
//! midpoint of two neighbours.

mod dots;

pub use dots::{exact_dot, float32_dot, float64_dot, rounded_dot, tensor_core_dot};

use std::cmp::Ordering;

use crate::convert::Conversion;
use crate::format::{FloatFormat, Zero};
use crate::random;
use crate::rounding::Rounding;

/// A real number, or what floats have besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// `(-1)^negative * significand * 2^exponent`; zero has a sign too.
    Finite {
        /// The sign.
        negative: bool,
        /// The magnitude's integer factor.
        significand: u64,
        /// The magnitude's power of two.
        exponent: i32,
    },
    /// An infinity.
    Infinity {
        /// The sign.
        negative: bool,
    },
    /// Not a number.
    Nan {
        /// The sign bit.
        negative: bool,
    },
}

impl From<f32> for Value {
    fn from(x: f32) -> Self {
        Self::from(f64::from(x))
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        let bits = x.to_bits();
        let negative = bits >> 63 == 1;
        let field = (bits >> 52) & 0x7ff;
        let mantissa = bits & ((1 << 52) - 1);
        match (field, mantissa) {
            (0x7ff, 0) => Self::Infinity { negative },
            (0x7ff, _) => Self::Nan { negative },
            (0, significand) => Self::Finite { negative, significand, exponent: -1074 },
            (field, mantissa) => {
                Self::Finite { negative, significand: mantissa | 1 << 52, exponent: field as i32 - 1075 }
            }
        }
    }
}

/// Compares `a.0 * 2^a.1` with `b.0 * 2^b.1`.
fn compare(a: (u64, i32), b: (u64, i32)) -> Ordering {
    match (a.0, b.0) {
        (0, 0) => return Ordering::Equal,
        (0, _) => return Ordering::Less,
        (_, 0) => return Ordering::Greater,
        _ => {}
    }
    // The position of the leading bit decides, unless it is the same; then the shift is below 64 bits.
    let top = |x: (u64, i32)| 64 - x.0.leading_zeros() as i32 + x.1;
    top(a).cmp(&top(b)).then_with(|| {
        let shift = a.1 - b.1;
        let wide = |x: u64, by: i32| u128::from(x) << by.max(0);
        wide(a.0, shift).cmp(&wide(b.0, -shift))
    })
}

/// The magnitude of a code without its sign, as `(significand, exponent)`, read as if it were finite.
fn magnitude(format: &FloatFormat, code: u32) -> (u64, i32) {
    let m = format.mantissa_bits;
    let field = (code >> m) as i32;
    let mantissa = u64::from(code & ((1 << m) - 1));
    if field == 0 && format.zero != Zero::None {
        (mantissa, 1 - format.bias - m as i32)
    } else {
        (mantissa | 1 << m, field - format.bias - m as i32)
    }
}

/// The first 32 bits of how far `x` lies from `low` toward the number one unit further; 0 if not above `low`.
fn fraction(x: (u64, i32), low: (u64, i32)) -> u32 {
    let shift = low.1 - x.1;
    if compare(x, low) != Ordering::Greater || shift <= 0 || shift >= 96 {
        return 0;
    }
    let rest = u128::from(x.0) - (u128::from(low.0) << shift);
    (rest << 32 >> shift) as u32
}

/// The value of a code.
#[must_use]
pub fn decode(format: &FloatFormat, code: u32) -> Value {
    let negative = code & format.sign_bit() != 0;
    let low = code & format.magnitude_mask();
    if format.infinity_code() == Some(low) {
        Value::Infinity { negative }
    } else if low > format.max_code() || (low == 0 && negative && format.zero == Zero::Unsigned) {
        Value::Nan { negative }
    } else {
        let (significand, exponent) = magnitude(format, low);
        Value::Finite { negative, significand, exponent }
    }
}

/// The code that `value` rounds to; under stochastic rounding with the word at `options.words`.
#[must_use]
pub fn encode(format: &FloatFormat, options: Conversion, value: Value) -> u32 {
    let max = format.max_code();
    let signed = |negative: bool, code: u32| {
        if negative && !(format.zero == Zero::Unsigned && code & format.magnitude_mask() == 0) {
            code ^ format.sign_bit()
        } else {
            code
        }
    };
    let nan = |negative| match format.nan_code() {
        Some(nan) => signed(negative, nan),
        // ml_dtypes: a zero of the other sign.
        None => {
            if negative {
                0
            } else {
                format.sign_bit()
            }
        }
    };
    let (negative, significand, exponent) = match value {
        Value::Nan { negative } => return nan(negative),
        Value::Infinity { negative: true } if !format.signed => return nan(true),
        Value::Infinity { negative } => {
            return signed(negative, if options.saturate { max } else { format.overflow_code() });
        }
        Value::Finite { negative, significand, exponent } => (negative, significand, exponent),
    };
    if (!format.signed && negative && significand != 0) || (format.zero == Zero::None && significand == 0) {
        return nan(negative);
    }
    let x = (significand, exponent);

    // The last code whose magnitude is not above x, the code after the largest finite counting as a number:
    // overflow is judged after rounding.
    let (mut low, mut high) = (0, max + 1);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if compare(magnitude(format, middle), x) == Ordering::Greater {
            high = middle - 1
        } else {
            low = middle
        }
    }
    // Between a number and the next lies the midpoint: one more bit of the lower one's significand.
    let (s, e) = magnitude(format, low);
    let mut exact = compare((s, e), x) == Ordering::Equal;
    let mut half = compare(x, (2 * s + 1, e - 1));
    let (_, carry) = fraction(x, (s, e)).overflowing_add(random::word(options.words));
    let mut even = low & 1 == 0;
    if format.zero == Zero::None {
        // ml_dtypes' rule for E8M0: below 2^-126 the numbers rounded to are 0 (whose code reads 2^-127) and
        // 2^-126, and the tie 2^-127 goes to 0. Above, the one significand bit is always odd.
        if low == 0 {
            half = compare(x, (1, -127));
            exact |= half != Ordering::Greater;
        } else {
            even = false;
        }
    }
    let away = match options.rounding {
        Rounding::TowardPositive => !negative,
        Rounding::TowardNegative => negative,
        _ => false,
    };
    let up = !exact
        && match options.rounding {
            Rounding::TiesToEven => half == Ordering::Greater || (half == Ordering::Equal && !even),
            Rounding::TiesToAway => half != Ordering::Less,
            Rounding::ToOdd => low & 1 == 0,
            Rounding::Stochastic => carry,
            _ => away,
        };
    let code = low + u32::from(up);
    if code <= max {
        return signed(negative, code);
    }
    let nearest =
        matches!(options.rounding, Rounding::TiesToEven | Rounding::TiesToAway | Rounding::Stochastic);
    let to_limit = (nearest || away) && !options.saturate;
    signed(negative, if to_limit { format.overflow_code() } else { max })
}

/// `c = +0; for k: c = fma(a[k], b[k], c)` in float32, by exact sums: the meaning of `matmul`'s default.
#[must_use]
pub fn fma_chain(a: &[f32], b: &[f32]) -> f32 {
    let c = a.iter().zip(b).fold(0.0f32, |c, (&a, &b)| fma(a, b, c));
    if c.is_nan() { f32::from_bits(0x7fc0_0000) } else { c }
}

/// 64 interleaved chains, their ends added in pairs, by exact sums: the meaning of `dot`.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 64];
    for (k, (&a, &b)) in a.iter().zip(b).enumerate() {
        lanes[k % 64] = fma(a, b, lanes[k % 64]);
    }
    for half in [32, 16, 8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] = fma(lanes[l], 1.0, lanes[l + half]);
        }
    }
    if lanes[0].is_nan() { f32::from_bits(0x7fc0_0000) } else { lanes[0] }
}

/// `a * b + c` rounded once, through 1024-bit fixed point.
fn fma(a: f32, b: f32, c: f32) -> f32 {
    let (va, vb, vc) = (Value::from(a), Value::from(b), Value::from(c));
    let (
        Value::Finite { negative: na, significand: sa, exponent: ea },
        Value::Finite { negative: nb, significand: sb, exponent: eb },
        Value::Finite { negative: nc, significand: sc, exponent: ec },
    ) = (va, vb, vc)
    else {
        // Infinities and NaN need no rounding: float64, in which no product overflows, gives them.
        return (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
    };
    let mut sum = Fixed::default();
    sum.add_product((na, sa, ea), (nb, sb, eb));
    sum.add(nc, u128::from(sc), ec);
    if sum.is_zero() {
        // IEEE 754-2019, section 6.3: an exact zero sum is +0 unless both terms are negative (zeros).
        return if (na != nb) && nc { -0.0 } else { 0.0 };
    }
    sum.to_float32()
}

/// A two's complement fixed-point number: 12 words of 64 bits, the last bit worth 2^-300, below the smallest product
/// of two float32 (2^-298).
#[derive(Clone, Default)]
struct Fixed([u64; 12]);

/// The sign, significand and exponent of a finite number.
type Finite = (bool, u64, i32);

impl Fixed {
    fn add_product(&mut self, a: Finite, b: Finite) {
        // float64's significands have trailing zeros, which go first, lest the last bit is too low.
        let strip = |(_, s, e): Finite| (s >> s.trailing_zeros(), e + s.trailing_zeros() as i32);
        if a.1 != 0 && b.1 != 0 {
            let ((sa, ea), (sb, eb)) = (strip(a), strip(b));
            self.add(a.0 != b.0, u128::from(sa) * u128::from(sb), ea + eb);
        }
    }

    fn add(&mut self, negative: bool, significand: u128, exponent: i32) {
        if significand == 0 {
            return;
        }
        let zeros = significand.trailing_zeros();
        let (significand, exponent) = (significand >> zeros, exponent + zeros as i32);
        let position = (exponent + 300) as usize;
        let (word, bit) = (position / 64, position % 64);
        let mut term = [0u64; 12];
        let low = significand << bit;
        let high = if bit == 0 { 0 } else { significand >> (128 - bit) };
        term[word] = low as u64;
        term[word + 1] = (low >> 64) as u64;
        term[word + 2] = high as u64;
        if negative {
            negate(&mut term);
        }
        let mut carry = false;
        for (x, y) in self.0.iter_mut().zip(term) {
            let (s, c1) = x.overflowing_add(y);
            let (s, c2) = s.overflowing_add(u64::from(carry));
            (*x, carry) = (s, c1 || c2);
        }
    }

    fn is_zero(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }

    /// Rounded to nearest even; +0 for zero.
    fn to_float32(&self) -> f32 {
        if self.is_zero() {
            return 0.0;
        }
        let (negative, significand, exponent) = self.leading();
        let value = Value::Finite { negative, significand, exponent };
        f32::from_bits(encode(&crate::format::FLOAT32, Conversion::default(), value))
    }

    /// Sign, 64 leading bits with what lies below folded into the last, and the exponent of that one.
    fn leading(&self) -> (bool, u64, i32) {
        let negative = self.0[11] >> 63 == 1;
        let mut words = self.0;
        if negative {
            negate(&mut words);
        }
        let top = (0..768).rev().find(|&i| words[i / 64] >> (i % 64) & 1 == 1).unwrap_or(0);
        let bit = |i: usize| words[i / 64] >> (i % 64) & 1;
        let from = top.saturating_sub(62);
        let kept = (from..=top).rev().fold(0, |s, i| s << 1 | bit(i));
        let sticky = u64::from((0..from).any(|i| bit(i) == 1));
        (negative, kept << 1 | sticky, from as i32 - 301)
    }
}

fn negate(words: &mut [u64; 12]) {
    let mut carry = true;
    for w in words {
        (*w, carry) = (!*w).overflowing_add(u64::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_codes() {
        let e4m3fn = FloatFormat::named("float8_e4m3fn").unwrap();
        let code = |x: f64, rounding| encode(e4m3fn, Conversion { rounding, ..Default::default() }, x.into());
        assert_eq!(code(448.0, Rounding::TiesToEven), 0x7e);
        assert_eq!(code(464.0, Rounding::TiesToEven), 0x7e); // the tie with the missing 480
        assert_eq!(code(464.1, Rounding::TiesToEven), 0x7f);
        assert_eq!(code(1e9, Rounding::TowardZero), 0x7e);
        assert_eq!(code(1.0625, Rounding::TiesToEven), 0x38);
        assert_eq!(code(1.0625, Rounding::TiesToAway), 0x39);
        assert_eq!(code(-1.01, Rounding::TowardNegative), 0xb9);
        assert_eq!(code(2f64.powi(-10), Rounding::TiesToEven), 0x00);
        assert_eq!(code(2f64.powi(-10) * 1.001, Rounding::TiesToEven), 0x01);
        assert_eq!(code(-431.999_999_999_999_94, Rounding::TiesToEven), 0xfd); // -416
    }

    #[test]
    fn chain_agrees_with_the_hardware() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f32::from_bits((state >> 32) as u32)
        };
        for _ in 0..20_000 {
            let (a, b, c) = (next(), next(), next());
            let (ours, theirs) = (fma(a, b, c), a.mul_add(b, c));
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{a} {b} {c}");
        }
    }
}
