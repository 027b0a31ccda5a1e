//! Sources that are no machine floats: integers, and codes of other formats. They pass through a machine float
//! that holds them exactly, or as good as exactly, so that there is one rounding.

use super::{CHUNK, Conversion, decode, encode, fits};
use crate::float::{Code, Float};
use crate::format::FloatFormat;
use crate::isa::Level;

/// A number with a machine float that rounds to every format as the number itself does.
pub trait Exact: Copy + Send + Sync + 'static {
    /// That float's type.
    type Float: Float;
    /// That float.
    fn exact(self) -> Self::Float;
}

macro_rules! exact {
    ($($int:ty => $float:ty),*) => {$(
        impl Exact for $int {
            type Float = $float;
            #[inline(always)]
            fn exact(self) -> $float {
                self.into()
            }
        }
    )*};
}

exact!(i8 => f32, u8 => f32, i16 => f32, u16 => f32, i32 => f64, u32 => f64);

impl Exact for u64 {
    type Float = f64;

    /// Rounded to odd where 53 bits do not suffice: what goes leaves a one behind. No format keeps more than 24
    /// bits, so a second rounding is then as good as one (Boldo and Melquiond, 2008).
    #[inline(always)]
    fn exact(self) -> f64 {
        let odd = (self & !0x7ff) | u64::from(self & 0x7ff != 0) << 11;
        (if self >> 53 == 0 { self } else { odd }) as f64
    }
}

impl Exact for i64 {
    type Float = f64;

    #[inline(always)]
    fn exact(self) -> f64 {
        let magnitude = self.unsigned_abs().exact();
        if self < 0 { -magnitude } else { magnitude }
    }
}

/// Rounds integers to codes of `format`.
///
/// # Panics
///
/// As [`encode`](fn@encode).
pub fn encode_integers<T: Exact, C: Code>(
    level: Level,
    format: &FloatFormat,
    options: Conversion,
    src: &[T],
    dst: &mut [C],
) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    let mut buffer = [T::Float::power_of_two(0); CHUNK];
    for (i, (src, dst)) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)).enumerate() {
        for (exact, &src) in buffer.iter_mut().zip(src) {
            *exact = src.exact();
        }
        encode(level, format, options.after(i * CHUNK), &buffer[..src.len()], dst);
    }
}

/// Rounds codes of one format to codes of another.
///
/// # Panics
///
/// As [`encode`](fn@encode) and [`decode`](fn@decode).
pub fn encode_codes<A: Code, B: Code>(
    level: Level,
    (from, src): (&FloatFormat, &[A]),
    (to, dst): (&FloatFormat, &mut [B]),
    options: Conversion,
) {
    if fits::<f32>(from) || from.mantissa_bits == f32::MANTISSA_BITS {
        through::<A, f32, B>(level, (from, src), (to, dst), options);
    } else {
        through::<A, f64, B>(level, (from, src), (to, dst), options);
    }
}

fn through<A: Code, F: Float, B: Code>(
    level: Level,
    (from, src): (&FloatFormat, &[A]),
    (to, dst): (&FloatFormat, &mut [B]),
    options: Conversion,
) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    let mut buffer = [F::power_of_two(0); CHUNK];
    for (i, (src, dst)) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)).enumerate() {
        let values = &mut buffer[..src.len()];
        decode(level, from, src, values);
        encode(level, to, options.after(i * CHUNK), values, dst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Conversion;
    use crate::format::NAMED;
    use crate::reference::{self, Value};

    fn check<T: Exact + Into<i128> + std::fmt::Debug>(values: &[T]) {
        for format in &NAMED {
            for saturate in [false, true] {
                let options = Conversion { saturate, ..Conversion::default() };
                let mut codes = vec![0u32; values.len()];
                encode_integers(Level::Portable, format, options, values, &mut codes);
                for (&x, &code) in values.iter().zip(&codes) {
                    let wide: i128 = x.into();
                    let significand = wide.unsigned_abs() as u64;
                    let value = Value::Finite { negative: wide < 0, significand, exponent: 0 };
                    assert_eq!(code, reference::encode(format, options, value), "{format}: {x:?}");
                }
            }
        }
    }

    #[test]
    fn integers_round_once() {
        let mut wide = vec![0u64, u64::MAX, u64::MAX - 1];
        for b in 0..64 {
            for low in [0u64, 1, (1 << b) >> 1, ((1 << b) >> 8) + 1, ((1 << b) >> 9) + 1, (1 << b) >> 12] {
                wide.extend([(1 << b) + low, (1u64 << b).wrapping_sub(1), (1 << b | (1 << b) >> 3) + low]);
            }
        }
        check(&wide);
        check(&wide.iter().map(|&x| x as i64).collect::<Vec<_>>());
        check(&wide.iter().map(|&x| (x as i64).wrapping_neg()).collect::<Vec<_>>());
        check(&wide.iter().map(|&x| x as i32).collect::<Vec<_>>());
        check(&wide.iter().map(|&x| x as u32).collect::<Vec<_>>());
        check(&(0..=u16::MAX).collect::<Vec<_>>());
        check(&(i16::MIN..=i16::MAX).collect::<Vec<_>>());
        check(&(i8::MIN..=i8::MAX).collect::<Vec<_>>());
        check(&(0..=u8::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn codes_round_as_their_values_do() {
        for from in NAMED.iter().filter(|f| f.bits() <= 16) {
            let codes: Vec<u16> = (0..1u32 << from.bits()).map(|code| code as u16).collect();
            for to in &NAMED {
                let mut got = vec![0u32; codes.len()];
                encode_codes(Level::Portable, (from, &codes), (to, &mut got), Conversion::default());
                for (&code, &got) in codes.iter().zip(&got) {
                    let right =
                        reference::encode(to, Conversion::default(), reference::decode(from, code.into()));
                    // The sign of a NaN survives where the source has one; a NaN at -0 has none to keep.
                    assert_eq!(got, right, "{from} {code:#x} to {to}");
                }
            }
        }
    }
}
