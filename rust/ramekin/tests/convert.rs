//! Conversion against the integer reference: every format, direction, overflow mode and instruction set.

use ramekin::convert::{Conversion, decode, encode, round_to};
use ramekin::format::{FLOAT32, NAMED, Zero};
use ramekin::isa::Level;
use ramekin::random::Words;
use ramekin::reference::{self, Value};
use ramekin::{FloatFormat, Rounding};

fn options() -> impl Iterator<Item = Conversion> {
    let words = Words { seed: 7, position: 0 };
    Rounding::ALL
        .into_iter()
        .flat_map(move |rounding| [false, true].map(|saturate| Conversion { rounding, saturate, words }))
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
        let right: Vec<u32> = inputs
            .iter()
            .enumerate()
            .map(|(i, &x)| reference::encode(format, options.after(i), x.into()))
            .collect();
        for level in Level::available() {
            encode(level, format, options, inputs, &mut codes);
            for ((x, &code), &right) in inputs.iter().zip(&codes).zip(&right) {
                assert_eq!(
                    code, right,
                    "{format} {options:?} {level}: {x:?} gives {code:#x}, not {right:#x}"
                );
            }
            if format.bits() <= 16 {
                // Narrower codes come from other loops.
                let mut narrow = vec![0u16; inputs.len()];
                encode(level, format, options, inputs, &mut narrow);
                assert!(
                    narrow.iter().zip(&right).all(|(&a, &b)| u32::from(a) == b),
                    "{format} {options:?} {level}"
                );
            }
            if format.bits() <= 8 {
                let mut narrow = vec![0u8; inputs.len()];
                encode(level, format, options, inputs, &mut narrow);
                assert!(
                    narrow.iter().zip(&right).all(|(&a, &b)| u32::from(a) == b),
                    "{format} {options:?} {level}"
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
    for format in &NAMED {
        let inputs: Vec<f32> = boundaries(format)
            .into_iter()
            .flat_map(|x| {
                let bits = (x as f32).to_bits();
                (-2i32..=2).map(move |d| f32::from_bits(bits.saturating_add_signed(d)))
            })
            .flat_map(|x| [x, -x])
            .collect();
        check(format, &inputs);
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

/// Every P3109 format of up to 8 bits, some wider ones, and formats that nobody named.
fn unnamed() -> Vec<FloatFormat> {
    let mut formats = Vec::new();
    for (bits, step) in (2..=8).map(|k| (k, 1)).chain([(9, 3), (12, 4), (16, 5)]) {
        for precision in (1..=bits).step_by(step) {
            for (signed, extended) in [(true, true), (true, false), (false, true), (false, false)] {
                formats.extend(FloatFormat::p3109(bits, precision, signed, extended));
            }
        }
    }
    let custom = |exponent_bits, mantissa_bits, bias, signed, has_infinity, high_nans, zero| {
        FloatFormat {
            name: "custom".into(),
            exponent_bits,
            mantissa_bits,
            bias,
            signed,
            has_infinity,
            high_nans,
            zero,
        }
        .checked()
        .unwrap()
    };
    formats.extend([
        custom(8, 3, 127, true, true, 7, Zero::Signed), // bfloat16, shortened
        custom(8, 3, 127, true, false, 0, Zero::Signed), // its largest exponent beyond float32
        custom(6, 9, 31, true, true, 511, Zero::Signed), // between float16 and bfloat16
        custom(5, 10, 15, false, false, 0, Zero::Signed), // no NaN, no sign
        custom(10, 5, 511, true, true, 31, Zero::Signed), // float32 has neither its largest nor its smallest
        custom(10, 3, 1000, true, false, 5, Zero::Unsigned),
        custom(11, 4, 1023, true, true, 15, Zero::Signed), // float64, shortened
        custom(1, 6, 0, true, false, 1, Zero::Signed),
        custom(3, 0, 3, true, false, 0, Zero::Signed), // powers of two and zero
        custom(3, 0, 0, false, true, 1, Zero::Unsigned),
    ]);
    assert!(formats.len() > 100);
    formats
}

#[test]
fn unnamed_formats_at_every_boundary() {
    for format in &unnamed() {
        let near = boundaries(format);
        let wide: Vec<f64> = near
            .iter()
            .flat_map(|x| (-1i64..=1).map(|d| f64::from_bits(x.to_bits().saturating_add_signed(d))))
            .flat_map(|x| [x, -x])
            .collect();
        check(format, &wide);
        let narrow: Vec<f32> = near
            .iter()
            .flat_map(|&x| {
                (-1i32..=1).map(move |d| f32::from_bits((x as f32).to_bits().saturating_add_signed(d)))
            })
            .flat_map(|x| [x, -x])
            .collect();
        check(format, &narrow);
    }
}

#[test]
fn unnamed_formats_decode() {
    for format in &unnamed() {
        let codes: Vec<u16> = (0..1u32 << format.bits()).map(|code| code as u16).collect();
        for level in Level::available() {
            let (mut narrow, mut wide) = (vec![0f32; codes.len()], vec![0f64; codes.len()]);
            decode(level, format, &codes, &mut narrow);
            decode(level, format, &codes, &mut wide);
            for ((&code, &x), &y) in codes.iter().zip(&narrow).zip(&wide) {
                let right = value_f64(reference::decode(format, code.into()));
                let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(same(y, right), "{format:?} {level}: {code:#x} gives {y}, not {right}");
                assert!(same(x.into(), f64::from(right as f32)), "{format:?} {level}: {code:#x} gives {x}");
            }
        }
    }
}

/// The words of stochastic rounding follow the position alone.
#[test]
fn stochastic_rounding_does_not_see_chunks() {
    let inputs: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin() * 2f32.powi(i % 30 - 20)).collect();
    for format in [&NAMED[3], &NAMED[10], &NAMED[13]] {
        for start in [0u64, 1, 4, u64::from(u32::MAX) * 4 - 8] {
            let options = Conversion {
                rounding: Rounding::Stochastic,
                saturate: false,
                words: Words { seed: 3, position: start },
            };
            for level in Level::available() {
                let mut whole = vec![0u8; inputs.len()];
                encode(level, format, options, &inputs, &mut whole);
                for cut in [1, 7, 64, 130, 999] {
                    let mut parts = vec![0u8; inputs.len()];
                    for (i, (src, dst)) in inputs.chunks(cut).zip(parts.chunks_mut(cut)).enumerate() {
                        encode(level, format, options.after(i * cut), src, dst);
                    }
                    assert!(whole == parts, "{format} {level} from {start} in chunks of {cut}");
                }
            }
        }
    }
}

/// NaN, infinities and zeros anywhere among other numbers: they are converted many at a time, some of them apart.
#[test]
fn specials_among_numbers() {
    let bits = [0x7fc0_0000u32, 0xff80_0001, 0x7f80_0000, 0xff80_0000, 0x8000_0000, 0x8000_0001, 0x7f7f_ffff];
    let mut inputs = Vec::new();
    for (i, special) in bits.into_iter().enumerate() {
        for at in (i..64).step_by(7) {
            let start = inputs.len() as u32;
            inputs.extend((start..start + 64).map(|n| {
                // Magnitudes from 2^-20 to 2^10, of either sign.
                let bits = n.wrapping_mul(0x9e37_79b9);
                f32::from_bits((bits & 0x807f_ffff) | ((107 + bits % 31) << 23))
            }));
            let block = start as usize;
            inputs[block + at] = f32::from_bits(special);
        }
    }
    for format in NAMED.iter().chain(&unnamed()).filter(|format| format.bits() <= 8) {
        check(format, &inputs);
    }
}

#[test]
fn encode_float32_dense() {
    let inputs: Vec<f32> = (0..=u32::MAX).step_by(500_009).map(f32::from_bits).collect();
    for format in &NAMED {
        check(format, &inputs);
    }
}

#[test]
fn decode_every_code() {
    for format in &NAMED {
        let codes: Vec<u32> = (0..1 << format.bits()).collect();
        for level in Level::available() {
            let (mut narrow, mut wide) = (vec![0f32; codes.len()], vec![0f64; codes.len()]);
            decode(level, format, &codes, &mut narrow);
            decode(level, format, &codes, &mut wide);
            for ((&code, &x), &y) in codes.iter().zip(&narrow).zip(&wide) {
                let right = value_f64(reference::decode(format, code));
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
    for format in &NAMED {
        for level in Level::available() {
            let run = || {
                let mut codes = vec![0u32; inputs.len()];
                let mut back = vec![0f32; inputs.len()];
                encode(level, format, Conversion::default(), &inputs, &mut codes);
                decode(level, format, &codes, &mut back);
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
