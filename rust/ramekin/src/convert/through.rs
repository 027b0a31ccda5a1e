//! Conversions as `ml_dtypes` defines them, by way of float32, with the exceptions that theirs meet.
//!
//! There every source is first made a float32, as C does that, and the float32 rounded to the format: float64 and
//! wide integers are rounded twice. Whoever takes the place of those conversions must give the same bits, so this rule
//! is here, apart from [`encode`](fn@encode), which rounds once.
//!
//! The exceptions are those of the first step (float64 overflows, underflows and signals; integers are at most
//! inexact, which NumPy does not report) and one of the second: it compares floats, and a comparison of a signalling
//! NaN is invalid (IEEE 754-2019, section 5.11).

use super::{Conversion, decode, encode};
use crate::float::{Code, Float};
use crate::format::FloatFormat;
use crate::fpenv::{self, Exceptions};
use crate::isa::{Kernel, Level};
use crate::simd::Simd;

/// Elements that become float32 at a time.
const BLOCK: usize = 1 << 12;

/// A number that C makes a float of, rounding to nearest even.
pub trait ToFloat32: Copy + Send + Sync + 'static {
    /// That float.
    fn to_float32(self) -> f32;
}

macro_rules! to_float32 {
    ($($number:ty),*) => {$(
        impl ToFloat32 for $number {
            #[inline(always)]
            fn to_float32(self) -> f32 {
                self as f32
            }
        }
    )*};
}

to_float32!(f64, i8, u8, i16, u16, i32, u32, i64, u64);

struct ToFloats<'a, T> {
    src: &'a [T],
    dst: &'a mut [f32],
}

impl<T: ToFloat32> Kernel for ToFloats<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (dst, &src) in self.dst.iter_mut().zip(self.src) {
            *dst = src.to_float32();
        }
    }
}

/// Rounds numbers to float32 and that to codes of `format`, both to nearest even.
///
/// # Panics
///
/// As [`encode`](fn@encode).
pub fn encode_through_float32<T: ToFloat32, C: Code>(
    level: Level,
    format: &FloatFormat,
    src: &[T],
    dst: &mut [C],
) -> Exceptions {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    let mut exceptions = Exceptions::NONE;
    let mut buffer = [0f32; BLOCK];
    for (src, dst) in src.chunks(BLOCK).zip(dst.chunks_mut(BLOCK)) {
        let floats = &mut buffer[..src.len()];
        let ((), met) = fpenv::observe(|| level.run(ToFloats { src, dst: floats }));
        exceptions = exceptions.and(met);
        encode(level, format, Conversion::default(), floats, dst);
    }
    exceptions
}

struct Widen<'a, F> {
    src: &'a [f32],
    dst: &'a mut [F],
}

impl<F: Float> Kernel for Widen<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (dst, &src) in self.dst.iter_mut().zip(self.src) {
            *dst = F::from_f64(f64::from(src));
        }
    }
}

/// Writes the value of each code of `format` by way of float32, so that a NaN keeps what C's conversions leave of it.
///
/// # Panics
///
/// As [`decode`](fn@decode).
pub fn decode_through_float32<F: Float, C: Code>(
    level: Level,
    format: &FloatFormat,
    src: &[C],
    dst: &mut [F],
) -> Exceptions {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    if F::WIDTH == 32 {
        decode(level, format, src, dst);
        return Exceptions::NONE;
    }
    let mut exceptions = Exceptions::NONE;
    let mut buffer = [0f32; BLOCK];
    for (src, dst) in src.chunks(BLOCK).zip(dst.chunks_mut(BLOCK)) {
        let floats = &mut buffer[..src.len()];
        decode(level, format, src, floats);
        let ((), met) = fpenv::observe(|| level.run(Widen { src: floats, dst }));
        exceptions = exceptions.and(met);
    }
    exceptions
}

struct Signals<'a, C> {
    codes: &'a [C],
    magnitude: u32,
    sign: u32,
    infinity: u32,
    quiet: u32,
}

impl<C: Code> Kernel for Signals<'_, C> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        let (magnitude, infinity, clear) = (self.magnitude, self.infinity, self.quiet | self.sign);
        let mut found = 0u32;
        for &code in self.codes {
            let code = code.widen();
            // Above infinity, the quiet bit clear and perhaps the sign; `found` gathers without a branch.
            found |= u32::from(code & magnitude > infinity) & u32::from(code & clear == 0);
        }
        found != 0
    }
}

/// The exception of comparing the numbers that are `codes` of `format`: invalid if a signalling NaN is among them.
/// Only formats with infinity and a whole mantissa field of NaNs, as IEEE 754 has them, have such. If not `signed`, which
/// is how the target is, negative ones are not compared: their sign alone tells what they become.
///
/// # Panics
///
/// If the CPU lacks `level`.
#[must_use]
pub fn compared<C: Code>(level: Level, format: &FloatFormat, signed: bool, codes: &[C]) -> Exceptions {
    let quiet = 1 << (format.mantissa_bits - 1);
    let infinity = ((1 << format.exponent_bits) - 1) << format.mantissa_bits;
    let magnitude = infinity | ((quiet << 1) - 1);
    let sign = if signed { 0 } else { magnitude + 1 };
    if level.run(Signals { codes, magnitude, sign, infinity, quiet }) {
        Exceptions::INVALID
    } else {
        Exceptions::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BFLOAT16, FLOAT16, FLOAT32, NAMED};

    /// The rule itself, one number at a time.
    fn by_one<T: ToFloat32>(format: &FloatFormat, x: T) -> u32 {
        let mut code = [0u32];
        encode(Level::Portable, format, Conversion::default(), &[x.to_float32()], &mut code);
        code[0]
    }

    fn check<T: ToFloat32 + std::fmt::Debug>(values: &[T]) {
        for format in &NAMED {
            for level in Level::available() {
                let mut codes = vec![0u32; values.len()];
                encode_through_float32(level, format, values, &mut codes);
                for (&x, &code) in values.iter().zip(&codes) {
                    assert_eq!(code, by_one(format, x), "{format} {level}: {x:?}");
                }
            }
        }
    }

    #[test]
    fn every_source_is_rounded_twice() {
        // 2^24 + 1 is a tie of float32, and 1 + 2^-4 + 2^-30 one of float8 only after the first rounding.
        check(&[1.0 + 1.0 / 16.0 + 2f64.powi(-30), f64::MAX, -f64::NAN, 1e-46, 448.0, 464.0, 465.0]);
        check(&[(1u64 << 24) + 1, u64::MAX, (1 << 63) + (1 << 39), 0]);
        check(&[i64::MIN, i64::MAX, -1, (1 << 40) + 1]);
        check(&(0..9000i32).map(|i| i * 238_609).collect::<Vec<_>>());
        let mut code = [0u8];
        let e4m3 = FloatFormat::named("float8_e4m3fn").unwrap();
        encode_through_float32(Level::Portable, e4m3, &[1.0 + 1.0 / 16.0 + 2f64.powi(-30)], &mut code);
        // To even, 1.0; one rounding gives 1.125.
        assert_eq!(code, [0x38]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn exceptions_are_those_of_the_first_step() {
        let signalling = f64::from_bits(0x7ff0_0000_0000_0001);
        for level in Level::available() {
            for (x, bits) in
                [(1.5, 0), (f64::NAN, 0), (f64::INFINITY, 0), (1e300, 8), (1e-300, 16), (signalling, 1)]
            {
                let mut values = vec![1.0; BLOCK + 5];
                values[BLOCK + 2] = x;
                let mut codes = vec![0u8; values.len()];
                let met = encode_through_float32(
                    level,
                    FloatFormat::named("float8_e5m2").unwrap(),
                    &values,
                    &mut codes,
                );
                // Inexact and denormal operands are met as well, and nobody's business.
                assert_eq!(met.bits() & 0b1_1101, bits, "{level}: {x:e}");
            }
            let (_, outside) = fpenv::observe(|| {
                encode_through_float32(level, &BFLOAT16, &[signalling], &mut [0u16]);
            });
            assert_eq!(outside, Exceptions::NONE);
        }
    }

    #[test]
    fn values_are_those_of_float32() {
        let codes: Vec<u16> = (0..=u16::MAX).collect();
        for level in Level::available() {
            let mut values = vec![0f64; codes.len()];
            decode_through_float32(level, &BFLOAT16, &codes, &mut values);
            for (&code, value) in codes.iter().zip(&values) {
                // Quiet, the payload kept.
                let nan = code & 0x7fff > 0x7f80;
                let float = f32::from_bits(u32::from(code) << 16 | u32::from(nan) << 22);
                assert_eq!(value.to_bits(), f64::from(float).to_bits(), "{level}: {code:#x}");
            }
        }
    }

    #[test]
    fn signalling_nans_are_found() {
        for level in Level::available() {
            for format in [&FLOAT16, &BFLOAT16] {
                for code in 0..=u16::MAX {
                    let m = format.mantissa_bits;
                    let (exponent, fraction) =
                        (code >> m & ((1 << format.exponent_bits) - 1), code & ((1 << m) - 1));
                    let nan = exponent == (1 << format.exponent_bits) - 1 && fraction != 0;
                    let signalling = nan && fraction < 1 << (m - 1);
                    let expected = if signalling { Exceptions::INVALID } else { Exceptions::NONE };
                    assert_eq!(compared(level, format, true, &[0, code, 0]), expected, "{format} {code:#x}");
                }
            }
            let mut codes = vec![0x7fc0_0000u32; 1000];
            assert_eq!(compared(level, &FLOAT32, true, &codes), Exceptions::NONE);
            codes[701] = 0xff80_0001;
            assert_eq!(compared(level, &FLOAT32, true, &codes), Exceptions::INVALID);
            assert_eq!(compared(level, &FLOAT32, false, &codes), Exceptions::NONE);
            codes[3] = 0x7f80_0001;
            assert_eq!(compared(level, &FLOAT32, false, &codes), Exceptions::INVALID);
            codes[3] = 0;
            codes[701] = 0xff80_0000;
            assert_eq!(compared(level, &FLOAT32, true, &codes), Exceptions::NONE);
        }
    }
}
