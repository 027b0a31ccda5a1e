//! Decoding of every code.

use super::{ODD_CHUNK, Outcome, is_verifiable, value, with_code};
use crate::convert::{self, Code};
use crate::format::FloatFormat;
use crate::isa::Level;
use crate::reference::{self, Value};

/// Decodes every code of the format to float32 and to float64 at `level` and compares both with the reference.
/// Of a NaN the sign counts, not the payload.
///
/// # Panics
///
/// If the format is not [verifiable](is_verifiable) or the CPU lacks `level`.
#[must_use]
pub fn check_decode(level: Level, format: &FloatFormat) -> Outcome {
    assert!(is_verifiable(format), "every float32 is a code of its own in {format}");
    with_code!(format, C => check_decode_of::<C>(level, format))
}

fn check_decode_of<C: Code>(level: Level, format: &FloatFormat) -> Outcome {
    let all: Vec<u32> = (0..1 << format.bits()).collect();
    let mut outcome = Outcome::default();
    for codes in all.chunks(ODD_CHUNK) {
        let src: Vec<C> = codes.iter().map(|&code| C::truncate(code)).collect();
        // No format has these numbers: what is not written is wrong.
        let (mut narrow, mut wide) = (vec![1.1f32; codes.len()], vec![1.1f64; codes.len()]);
        convert::decode(level, format, &src, &mut narrow);
        convert::decode(level, format, &src, &mut wide);
        for ((&code, narrow), &wide) in codes.iter().zip(&narrow).zip(&wide) {
            let right = reference::decode(format, code);
            let (narrow, wide) = (value(narrow.to_bits()), Value::from(wide));
            let got = if same(narrow, right) { wide } else { narrow };
            outcome.record(code, float64_bits(got), float64_bits(right), same(got, right));
        }
    }
    outcome
}

/// The bits of the float64 that has the value, which must be a normal number if it is finite and not zero.
fn float64_bits(value: Value) -> u64 {
    let (negative, magnitude) = match value {
        Value::Nan { negative } => (negative, f64::NAN.to_bits() & !(1 << 63)),
        Value::Infinity { negative } => (negative, f64::INFINITY.to_bits()),
        Value::Finite { negative, significand: 0, .. } => (negative, 0),
        Value::Finite { negative, significand, exponent } => {
            let below_top = 63 - significand.leading_zeros();
            let field = (exponent + below_top as i32 + 1023) as u64;
            (negative, field << 52 | (significand << (52 - below_top) & ((1 << 52) - 1)))
        }
    };
    magnitude | u64::from(negative) << 63
}

/// Whether two values are one number, signs of zeros and of NaNs included, however it is scaled.
fn same(a: Value, b: Value) -> bool {
    let reduced = |value| match value {
        Value::Finite { negative, significand: 0, .. } => {
            Value::Finite { negative, significand: 0, exponent: 0 }
        }
        Value::Finite { negative, significand, exponent } => {
            let zeros = significand.trailing_zeros();
            Value::Finite { negative, significand: significand >> zeros, exponent: exponent + zeros as i32 }
        }
        special => special,
    };
    reduced(a) == reduced(b)
}
