//! A float format is data: one struct of numbers, and a table of the named ones.

use std::fmt;

/// What code 0 means, and whether a negative zero exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zero {
    /// +0, and -0 where the format is signed: IEEE 754 and the OCP formats.
    Signed,
    /// Only +0. A signed format spends the code of -0 on its one NaN: the `fnuz` formats and IEEE P3109.
    Unsigned,
    /// None: code 0 is the smallest power of two. Only OCP's E8M0.
    None,
}

/// A binary floating-point format of up to 32 bits.
///
/// A code is, from the top: a sign bit if `signed`, `exponent_bits` of biased exponent, `mantissa_bits`
/// below. With `E` the exponent field and `M` the mantissa field, a code without its sign means
/// `2^(E - bias) (1 + M / 2^mantissa_bits)`, and `2^(1 - bias) M / 2^mantissa_bits` for `E = 0`; the topmost
/// codes are `high_nans` NaNs and, below them, infinity if `has_infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloatFormat {
    /// The name, as in `ml_dtypes` where that has the format.
    pub name: &'static str,
    /// Width of the exponent field.
    pub exponent_bits: u32,
    /// Width of the mantissa field, the leading bit not counted.
    pub mantissa_bits: u32,
    /// What is taken from the exponent field to get the exponent.
    pub bias: i32,
    /// Whether the top bit is a sign.
    pub signed: bool,
    /// Whether the code above the largest finite one is infinity.
    pub has_infinity: bool,
    /// How many codes at the top of each sign's range are NaN.
    pub high_nans: u32,
    /// The zeros it has.
    pub zero: Zero,
}

const fn ieee(name: &'static str, exponent_bits: u32, mantissa_bits: u32) -> FloatFormat {
    FloatFormat {
        name,
        exponent_bits,
        mantissa_bits,
        bias: (1 << (exponent_bits - 1)) - 1,
        signed: true,
        has_infinity: true,
        high_nans: (1 << mantissa_bits) - 1,
        zero: Zero::Signed,
    }
}

/// No infinity; the topmost `high_nans` codes are NaN.
const fn finite(name: &'static str, exponent_bits: u32, mantissa_bits: u32, high_nans: u32) -> FloatFormat {
    FloatFormat { has_infinity: false, high_nans, ..ieee(name, exponent_bits, mantissa_bits) }
}

/// No infinity, no negative zero: that one's code is the NaN.
const fn fnuz(name: &'static str, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> FloatFormat {
    FloatFormat { bias, zero: Zero::Unsigned, ..finite(name, exponent_bits, mantissa_bits, 0) }
}

/// IEEE binary32, which the other formats are measured against.
pub const FLOAT32: FloatFormat = ieee("float32", 8, 23);
/// IEEE binary16.
pub const FLOAT16: FloatFormat = ieee("float16", 5, 10);
/// The upper half of a float32.
pub const BFLOAT16: FloatFormat = ieee("bfloat16", 8, 7);
/// OCP 8-bit E8M0: a power of two, the scale of MX blocks (OCP MX v1.0, section 5.4.1).
pub const FLOAT8_E8M0FNU: FloatFormat =
    FloatFormat { bias: 127, signed: false, zero: Zero::None, ..finite("float8_e8m0fnu", 8, 0, 1) };

/// The named small formats, widest first.
pub const NAMED: [FloatFormat; 14] = [
    // NVIDIA TF32: float32's exponent with float16's mantissa, 19 bits.
    ieee("tfloat32", 8, 10),
    FLOAT16,
    BFLOAT16,
    // OCP 8-bit floating point specification (OFP8) v1.0.
    finite("float8_e4m3fn", 4, 3, 1),
    ieee("float8_e5m2", 5, 2),
    // The IEEE-like ones.
    ieee("float8_e4m3", 4, 3),
    ieee("float8_e3m4", 3, 4),
    // Noune et al., "8-bit numerical formats for deep neural networks", 2022.
    fnuz("float8_e4m3fnuz", 4, 3, 8),
    fnuz("float8_e5m2fnuz", 5, 2, 16),
    // Sun et al., "Hybrid 8-bit floating point (HFP8) training", 2019.
    fnuz("float8_e4m3b11fnuz", 4, 3, 11),
    FLOAT8_E8M0FNU,
    // OCP microscaling formats (MX) specification v1.0.
    finite("float6_e2m3fn", 2, 3, 0),
    finite("float6_e3m2fn", 3, 2, 0),
    finite("float4_e2m1fn", 2, 1, 0),
];

impl FloatFormat {
    /// Looks a format up by its name; `float32` counts.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        NAMED.iter().chain([&FLOAT32]).find(|f| f.name == name)
    }

    /// Width of a code.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.signed as u32 + self.exponent_bits + self.mantissa_bits
    }

    /// Mask of the bits below the sign.
    #[must_use]
    pub const fn magnitude_mask(&self) -> u32 {
        ((1u64 << (self.exponent_bits + self.mantissa_bits)) - 1) as u32
    }

    /// The sign bit; 0 for an unsigned format.
    #[must_use]
    pub const fn sign_bit(&self) -> u32 {
        if self.signed { self.magnitude_mask() + 1 } else { 0 }
    }

    /// The code of the largest finite number.
    #[must_use]
    pub const fn max_code(&self) -> u32 {
        self.magnitude_mask() - self.high_nans - self.has_infinity as u32
    }

    /// The code of +infinity.
    #[must_use]
    pub const fn infinity_code(&self) -> Option<u32> {
        if self.has_infinity { Some(self.max_code() + 1) } else { None }
    }

    /// The code of the canonical quiet NaN of positive sign.
    #[must_use]
    pub const fn nan_code(&self) -> Option<u32> {
        match (self.zero, self.high_nans) {
            (Zero::Unsigned, _) if self.signed => Some(self.sign_bit()),
            (_, 0) => None,
            // Quiet: the top mantissa bit set, as IEEE 754-2019 section 6.2.1 recommends. The formats with
            // a single NaN have it at the top.
            (_, 1) => Some(self.magnitude_mask()),
            (_, n) => Some(self.magnitude_mask() - n / 2),
        }
    }

    /// The code that overflow gives when it does not saturate: infinity, else NaN, else the largest finite.
    #[must_use]
    pub const fn overflow_code(&self) -> u32 {
        match (self.infinity_code(), self.nan_code()) {
            (Some(infinity), _) => infinity,
            (None, Some(nan)) => nan,
            (None, None) => self.max_code(),
        }
    }

    /// Exponent of the smallest normal number, `1 - bias`.
    #[must_use]
    pub const fn min_exponent(&self) -> i32 {
        1 - self.bias
    }

    /// Exponent of the largest finite number.
    #[must_use]
    pub const fn max_exponent(&self) -> i32 {
        (self.max_code() >> self.mantissa_bits) as i32 - self.bias
    }
}

impl fmt::Display for FloatFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for format in &NAMED {
            assert_eq!(FloatFormat::named(format.name), Some(format));
            assert_eq!(NAMED.iter().filter(|f| f.name == format.name).count(), 1);
        }
        assert_eq!(FloatFormat::named("float8"), None);
    }

    /// Codes as the formats' own specifications print them.
    #[test]
    fn published_codes() {
        let codes = |name| {
            let f = FloatFormat::named(name).unwrap();
            (f.bits(), f.max_code(), f.infinity_code(), f.nan_code())
        };
        assert_eq!(codes("float16"), (16, 0x7bff, Some(0x7c00), Some(0x7e00)));
        assert_eq!(codes("bfloat16"), (16, 0x7f7f, Some(0x7f80), Some(0x7fc0)));
        assert_eq!(codes("tfloat32"), (19, 0x3fbff, Some(0x3fc00), Some(0x3fe00)));
        assert_eq!(codes("float8_e4m3fn"), (8, 0x7e, None, Some(0x7f)));
        assert_eq!(codes("float8_e5m2"), (8, 0x7b, Some(0x7c), Some(0x7e)));
        assert_eq!(codes("float8_e4m3"), (8, 0x77, Some(0x78), Some(0x7c)));
        assert_eq!(codes("float8_e3m4"), (8, 0x6f, Some(0x70), Some(0x78)));
        assert_eq!(codes("float8_e4m3fnuz"), (8, 0x7f, None, Some(0x80)));
        assert_eq!(codes("float8_e8m0fnu"), (8, 0xfe, None, Some(0xff)));
        assert_eq!(codes("float6_e2m3fn"), (6, 0x1f, None, None));
        assert_eq!(codes("float4_e2m1fn"), (4, 0x7, None, None));
    }
}
