//! Conversion against the integer reference: every format, direction, overflow mode and instruction set.

use ramekin::convert::{Conversion, decode, encode, round_to};
use ramekin::format::{FLOAT32, NAMED};
use ramekin::isa::Level;
use ramekin::reference::{self, Value};
use ramekin::{FloatFormat, Rounding};

fn options() -> impl Iterator<Item = Conversion> {
    Rounding::ALL
        .into_iter()
        .flat_map(|rounding| [false, true].map(|saturate| Conversion { rounding, saturate }))
}

fn value_f64(value: Value) -> f64 {
    match value {
        Value::Finite { negative, significand, exponent } => {
            // Two exact factors, since 2^exponent alone may leave float64's range.
            let magnitude = significand as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
            if negative { -magnitude } else { magnitude }
        }
        Value::Infinity { negative } => {
            if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Value::Nan { negative } => {
            f64::from_bits(f64::NAN.to_bits() & !(1 << 63) | u64::from(negative) << 63)
        }
    }
}

/// Every finite magnitude of a format, the midpoints, and one step past the largest; for formats above 8 bits
/// a sample of them, whose step is prime to the binades.
fn boundaries(format: &FloatFormat) -> Vec<f64> {
    let step = match format.bits() {
        0..=8 => 1,
        9..=16 => 13,
        17..=24 => 97,
        _ => 1_000_003,
    };
    let mut values: Vec<f64> = (0..=format.max_code())
        .step_by(step)
        .chain([format.max_code()])
        .flat_map(|code| {
            let low = value_f64(reference::decode(format, code));
            let next = if code < format.max_code() {
                value_f64(reference::decode(format, code + 1))
            } else {
                // The number that the code above would be.
                low + (low - value_f64(reference::decode(format, code - 1)))
            };
            [low, low / 2.0 + next / 2.0, next]
        })
        .collect();
    values.extend([
        0.0,
        1e-320,
        2f64.powi(-149),
        2f64.powi(-126),
        2f64.powi(-127),
        1e300,
        f64::INFINITY,
        f64::NAN,
    ]);
    values
}

fn check<F>(format: &FloatFormat, inputs: &[F])
where
    F: ramekin::convert::Float + Into<Value> + std::fmt::Debug,
{
    let mut codes = vec![0u32; inputs.len()];
    let mut rounded = vec![F::power_of_two(0); inputs.len()];
    let mut back = rounded.clone();
    for options in options() {
        let right: Vec<u32> = inputs.iter().map(|&x| reference::encode(format, options, x.into())).collect();
        for level in Level::available() {
            encode(level, format, options, inputs, &mut codes);
            for ((x, &code), &right) in inputs.iter().zip(&codes).zip(&right) {
                assert_eq!(
                    code, right,
                    "{format} {options:?} {level}: {x:?} gives {code:#x}, not {right:#x}"
                );
            }
            round_to(level, format, options, inputs, &mut rounded);
            decode(level, format, &codes, &mut back);
            for ((a, b), x) in rounded.iter().zip(&back).zip(inputs) {
                assert!(
                    a.bits() == b.bits(),
                    "{format} {options:?} {level}: round_to({x:?}) gives {a:?}, not {b:?}"
                );
            }
        }
    }
}

#[test]
fn encode_float32_at_every_boundary() {
    for format in NAMED {
        let inputs: Vec<f32> = boundaries(&format)
            .into_iter()
            .flat_map(|x| {
                let bits = (x as f32).to_bits();
                (-2i32..=2).map(move |d| f32::from_bits(bits.saturating_add_signed(d)))
            })
            .flat_map(|x| [x, -x])
            .collect();
        check(&format, &inputs);
    }
}

#[test]
fn encode_float64_at_every_boundary() {
    for format in NAMED.iter().chain([&FLOAT32]) {
        let inputs: Vec<f64> = boundaries(format)
            .into_iter()
            .flat_map(|x| (-2i64..=2).map(move |d| f64::from_bits(x.to_bits().saturating_add_signed(d))))
            .flat_map(|x| [x, -x])
            .collect();
        check(format, &inputs);
    }
}

#[test]
fn encode_float32_dense() {
    let inputs: Vec<f32> = (0..=u32::MAX).step_by(500_009).map(f32::from_bits).collect();
    for format in NAMED {
        check(&format, &inputs);
    }
}

#[test]
fn decode_every_code() {
    for format in NAMED {
        let codes: Vec<u32> = (0..1 << format.bits()).collect();
        for level in Level::available() {
            let (mut narrow, mut wide) = (vec![0f32; codes.len()], vec![0f64; codes.len()]);
            decode(level, &format, &codes, &mut narrow);
            decode(level, &format, &codes, &mut wide);
            for ((&code, &x), &y) in codes.iter().zip(&narrow).zip(&wide) {
                let right = value_f64(reference::decode(&format, code));
                let same = |a: f64| a.to_bits() == right.to_bits() || (a.is_nan() && right.is_nan());
                assert!(
                    same(f64::from(x)) && same(y),
                    "{format} {level}: {code:#x} gives {x} and {y}, not {right}"
                );
                assert_eq!(x.is_sign_negative(), y.is_sign_negative());
            }
        }
    }
}

#[test]
fn float32_is_its_own_code() {
    let inputs = [0.0, -0.0, 1.5, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(1)];
    let mut codes = [0u32; 7];
    encode(Level::Portable, &FLOAT32, Conversion::default(), &inputs, &mut codes);
    assert_eq!(codes, inputs.map(f32::to_bits));
}

/// Bits do not depend on the environment that the caller's thread is in.
#[test]
#[cfg(target_arch = "x86_64")]
fn hostile_environment() {
    let set = |value: u32| {
        // SAFETY: ldmxcsr reads a live u32 whose reserved bits are zero.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value) };
    };
    let inputs: Vec<f32> = (0..=u32::MAX).step_by(1_000_003).map(f32::from_bits).collect();
    for format in NAMED {
        for level in Level::available() {
            let run = || {
                let mut codes = vec![0u32; inputs.len()];
                let mut back = vec![0f32; inputs.len()];
                encode(level, &format, Conversion::default(), &inputs, &mut codes);
                decode(level, &format, &codes, &mut back);
                (codes, back.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            let right = run();
            set(0x1f80 | 0x8040 | 0x4000); // flush-to-zero, denormals-are-zero, toward positive
            let hostile = run();
            set(0x1f80);
            assert!(right == hostile, "{format} {level}");
        }
    }
}
