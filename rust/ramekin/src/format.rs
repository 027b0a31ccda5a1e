//! A float format is data: one struct of numbers, and a table of the named ones.

use std::borrow::Cow;
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

/// A binary floating-point format: a named one of up to 32 bits, or any other of up to 16.
///
/// A code is, from the top: a sign bit if `signed`, `exponent_bits` of biased exponent, `mantissa_bits`
/// below. With `E` the exponent field and `M` the mantissa field, a code without its sign means
/// `2^(E - bias) (1 + M / 2^mantissa_bits)`, and `2^(1 - bias) M / 2^mantissa_bits` for `E = 0`; the topmost
/// codes are `high_nans` NaNs and, below them, infinity if `has_infinity`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FloatFormat {
    /// The name, as in `ml_dtypes` where that has the format.
    pub name: Cow<'static, str>,
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
        name: Cow::Borrowed(name),
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
    let mut format = ieee(name, exponent_bits, mantissa_bits);
    format.has_infinity = false;
    format.high_nans = high_nans;
    format
}

/// No infinity, no negative zero: that one's code is the NaN.
const fn fnuz(name: &'static str, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> FloatFormat {
    let mut format = finite(name, exponent_bits, mantissa_bits, 0);
    format.bias = bias;
    format.zero = Zero::Unsigned;
    format
}

/// OCP 8-bit E8M0: a power of two, the scale of MX blocks (OCP MX v1.0, section 5.4.1).
const fn power_of_two(name: &'static str) -> FloatFormat {
    let mut format = finite(name, 8, 0, 1);
    format.bias = 127;
    format.signed = false;
    format.zero = Zero::None;
    format
}

/// IEEE binary32, which the other formats are measured against.
pub static FLOAT32: FloatFormat = ieee("float32", 8, 23);
/// IEEE binary16.
pub static FLOAT16: FloatFormat = ieee("float16", 5, 10);
/// The upper half of a float32.
pub static BFLOAT16: FloatFormat = ieee("bfloat16", 8, 7);

/// The powers of two that scale MX blocks.
pub static E8M0: FloatFormat = power_of_two("float8_e8m0fnu");

/// The named small formats, widest first.
pub static NAMED: [FloatFormat; 14] = [
    // NVIDIA TF32: float32's exponent with float16's mantissa, 19 bits.
    ieee("tfloat32", 8, 10),
    ieee("float16", 5, 10),
    ieee("bfloat16", 8, 7),
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
    power_of_two("float8_e8m0fnu"),
    // OCP microscaling formats (MX) specification v1.0.
    finite("float6_e2m3fn", 2, 3, 0),
    finite("float6_e3m2fn", 3, 2, 0),
    finite("float4_e2m1fn", 2, 1, 0),
];

/// Why numbers are no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError(String);

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FormatError {}

/// The most bits of a format that is not named.
pub const MAX_CUSTOM_BITS: u32 = 16;

impl FloatFormat {
    /// Checks a format made from numbers: at most 16 bits, every number of it a float64.
    ///
    /// # Errors
    ///
    /// If the widths, the bias or the special values are out of range.
    pub fn checked(self) -> Result<Self, FormatError> {
        let fail = |message: String| Err(FormatError(format!("{}: {message}", self.name)));
        if self.exponent_bits == 0 || self.exponent_bits > MAX_CUSTOM_BITS {
            return fail(format!("{} exponent bits; accepted: 1 to 11", self.exponent_bits));
        }
        if self.mantissa_bits > MAX_CUSTOM_BITS || self.bits() > MAX_CUSTOM_BITS || self.bits() < 2 {
            let bits = u64::from(self.signed) + u64::from(self.exponent_bits) + u64::from(self.mantissa_bits);
            return fail(format!("{bits} bits; accepted: 2 to {MAX_CUSTOM_BITS}"));
        }
        if !(0..=1023).contains(&self.bias) {
            return fail(format!("bias {}; accepted: 0 to 1023", self.bias));
        }
        if self.zero == Zero::None {
            return fail("a format needs a zero".to_owned());
        }
        // What overflow is judged by must be a normal number.
        let specials = u64::from(self.high_nans) + u64::from(self.has_infinity);
        if specials + 2 > u64::from(self.magnitude_mask()) || self.max_code() >> self.mantissa_bits == 0 {
            return fail(format!("{specials} codes for infinity and NaN leave no normal numbers"));
        }
        // Conversion works in float64: in its own exponent field, or with room for its constants on both sides.
        let shortened =
            self.bias == 1023 && self.signed && self.zero == Zero::Signed && self.has_ieee_specials();
        if self.exponent_bits > 11 || self.max_exponent() > if shortened { 1023 } else { 960 } {
            return fail("numbers above 2^961, too near float64's largest".to_owned());
        }
        if self.bias > 1000 && !shortened {
            return fail(
                "numbers too near float64's smallest; accepted: a bias up to 1000, or 1023 with IEEE 754's specials"
                    .to_owned(),
            );
        }
        Ok(self)
    }

    /// Whether infinity and NaNs take the codes that IEEE 754 gives them: all of the topmost exponent.
    pub(crate) fn has_ieee_specials(&self) -> bool {
        self.has_infinity && self.high_nans == (1 << self.mantissa_bits) - 1
    }

    /// A format of the IEEE P3109 family: `bits` wide with `precision` bits of significand, the leading one
    /// counted; NaN at the code of -0 (signed) or at the top (unsigned); infinities if `extended`.
    ///
    /// Source: IEEE SA P3109 interim report, 2024, section 4.
    ///
    /// # Errors
    ///
    /// If there is no such format, or its numbers exceed float64.
    pub fn p3109(bits: u32, precision: u32, signed: bool, extended: bool) -> Result<Self, FormatError> {
        let name = format!(
            "p3109_k{bits}p{precision}{}{}",
            if signed { "s" } else { "u" },
            if extended { "e" } else { "f" }
        );
        // One exponent bit must be left.
        let most = bits.saturating_sub(u32::from(signed));
        if !(2..=MAX_CUSTOM_BITS).contains(&bits) || !(1..=most).contains(&precision) {
            return Err(FormatError(format!(
                "{name}: accepted: 2 to {MAX_CUSTOM_BITS} bits, and a precision of 1 to {most} for so many"
            )));
        }
        let bias_exponent = bits - precision - u32::from(signed);
        Self {
            name: Cow::Owned(name),
            exponent_bits: bias_exponent + 1,
            mantissa_bits: precision - 1,
            bias: 1 << bias_exponent,
            signed,
            has_infinity: extended,
            high_nans: u32::from(!signed),
            zero: Zero::Unsigned,
        }
        .checked()
    }

    /// Looks a format up by its name; `float32` counts.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        NAMED.iter().chain([&FLOAT32]).find(|f| f.name == name)
    }

    /// Whether the codes mean the same as the other's, whatever the two are called.
    #[inline]
    pub(crate) fn same_numbers(&self, other: &Self) -> bool {
        let numbers = |f: &Self| {
            (f.exponent_bits, f.mantissa_bits, f.bias, f.signed, f.has_infinity, f.high_nans, f.zero)
        };
        numbers(self) == numbers(other)
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
        match (self.high_nans, self.zero) {
            (0, Zero::Unsigned) if self.signed => Some(self.sign_bit()),
            (0, _) => None,
            // Quiet: the top mantissa bit set, as IEEE 754-2019 section 6.2.1 recommends.
            (n, _) if self.has_infinity => Some(self.magnitude_mask() - n / 2),
            // Without infinities overflow is NaN, and the code next to the largest finite one.
            _ => Some(self.max_code() + 1),
        }
    }

    /// The code that overflow gives when it does not saturate: infinity, else NaN, else the largest finite.
    /// In the first two cases it is the code after the largest finite one.
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
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for format in &NAMED {
            assert_eq!(FloatFormat::named(&format.name), Some(format));
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

    #[test]
    fn p3109_formats() {
        let codes = |signed, extended| {
            let f = FloatFormat::p3109(8, 3, signed, extended).unwrap();
            (f.bias, f.exponent_bits, f.max_code(), f.infinity_code(), f.nan_code())
        };
        assert_eq!(codes(true, true), (16, 5, 0x7e, Some(0x7f), Some(0x80)));
        assert_eq!(codes(true, false), (16, 5, 0x7f, None, Some(0x80)));
        assert_eq!(codes(false, true), (32, 6, 0xfd, Some(0xfe), Some(0xff)));
        assert_eq!(codes(false, false), (32, 6, 0xfe, None, Some(0xff)));
        assert!(FloatFormat::p3109(8, 8, true, true).is_err());
        assert!(FloatFormat::p3109(8, 8, false, true).is_ok());
        assert!(FloatFormat::p3109(17, 3, true, true).is_err());
        assert!(FloatFormat::p3109(16, 1, true, true).unwrap_err().to_string().contains("bias"));
    }

    #[test]
    fn refuses_what_is_no_format() {
        let good = ieee("good", 5, 4);
        assert!(good.clone().checked().is_ok());
        let bad = [
            FloatFormat { exponent_bits: 0, ..good.clone() },
            FloatFormat { mantissa_bits: 11, ..good.clone() },
            FloatFormat { bias: -1, ..good.clone() },
            FloatFormat { bias: 1024, ..good.clone() },
            FloatFormat { high_nans: 1 << 9, ..good.clone() },
            FloatFormat { exponent_bits: 11, mantissa_bits: 4, bias: 0, ..good.clone() },
            FloatFormat { exponent_bits: u32::MAX, ..good },
        ];
        for format in bad {
            assert!(format.clone().checked().is_err(), "{format:?}");
        }
    }
}
