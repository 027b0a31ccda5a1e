//! How GPU tensor cores add up, as published: a model in three numbers.

use std::fmt;

use super::accumulate::DEPTH;

/// How a GPU's tensor cores add up the products of an element of `a b`.
///
/// A *step* takes up to `terms` products, in ascending `k`, and the running value `c`, which starts at +0:
///
/// 1. A number's *exponent* is that of its leading bit, a subnormal number's the one of its format's smallest normal
///    number. A product's is the sum of its operands': its significand, between 1 and 4, is not normalised. Zeros
///    have none.
/// 2. Let `E` be the largest exponent among the nonzero products and `c`, or -133 if that is larger. Every product
///    and `c` are truncated, toward zero, to multiples of `2^(E - fraction_bits)`.
/// 3. What is left is added up exactly, and the sum truncated, toward zero, to a float32 with `mantissa_bits` bits
///    below the leading one (subnormals have the unit of the smallest normal number). Magnitudes that are then
///    2^128 or more become infinity. That is the next `c`; a sum that is exactly zero is +0.
///
/// Infinities and NaN are added as IEEE 754 does, and every NaN is the canonical one.
///
/// Operands may have any format of up to 16 bits. (float32 is refused: the hardware would read it as tfloat32.)
///
/// Sources: Xie et al., "MMA-Sim: bit-accurate reference model of tensor cores and matrix cores" (2025,
/// arXiv:2511.10909), for the algorithm and the presets; Khattak and Mikaitis, "Accurate models of NVIDIA tensor
/// cores" (2025, arXiv:2512.07004), whose models agree, for overflow and the lowest exponent (-133, which only
/// products below float32's normal numbers, hence bfloat16 operands, can tell from MMA-Sim's -126); Fasi et al.,
/// "Numerical behavior of NVIDIA tensor cores" (2021), for truncation and subnormals. The hardware's one NaN,
/// 0x7fffffff, is not modelled, nor is an accumulator of float16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorCore {
    terms: usize,
    fraction_bits: u32,
    mantissa_bits: u32,
}

/// The most bits kept below the largest exponent: sums of [`DEPTH`] terms then fit 53 bits.
const MAX_FRACTION_BITS: u32 = 40;

/// Numbers that make no [`TensorCore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorCoreError(String);

impl fmt::Display for TensorCoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TensorCoreError {}

impl TensorCore {
    /// The models that have names, with the input formats that the hardware takes there.
    pub const PRESETS: [(&'static str, Self); 4] = [
        // Volta: float16.
        ("v100-fp16", Self { terms: 4, fraction_bits: 23, mantissa_bits: 23 }),
        // Ampere: float16, bfloat16.
        ("a100-fp16", Self { terms: 8, fraction_bits: 24, mantissa_bits: 23 }),
        // Hopper: float16, bfloat16.
        ("h100-fp16", Self { terms: 16, fraction_bits: 25, mantissa_bits: 23 }),
        // Hopper: float8_e4m3fn, float8_e5m2.
        ("h100-fp8", Self { terms: 32, fraction_bits: 13, mantissa_bits: 13 }),
    ];

    /// A model of steps of `terms` products, aligned with `fraction_bits` below the largest exponent and cut to
    /// `mantissa_bits` after each step.
    ///
    /// # Errors
    ///
    /// If `terms` is not 1 to 256, `fraction_bits` not 1 to 40 or `mantissa_bits` not 1 to 23.
    pub fn new(terms: usize, fraction_bits: u32, mantissa_bits: u32) -> Result<Self, TensorCoreError> {
        let check = |what: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(TensorCoreError(format!("{what} is out of range; accepted: 1 to {most}")))
            }
        };
        check("terms", terms, DEPTH)?;
        check("fraction_bits", fraction_bits as usize, MAX_FRACTION_BITS as usize)?;
        check("mantissa_bits", mantissa_bits as usize, 23)?;
        Ok(Self { terms, fraction_bits, mantissa_bits })
    }

    /// Looks a preset up by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::PRESETS.into_iter().find(|preset| preset.0 == name).map(|preset| preset.1)
    }

    /// Products in a step.
    #[must_use]
    pub const fn terms(&self) -> usize {
        self.terms
    }

    /// Bits kept below the largest exponent.
    #[must_use]
    pub const fn fraction_bits(&self) -> u32 {
        self.fraction_bits
    }

    /// Bits that the result of a step keeps below its leading one.
    #[must_use]
    pub const fn mantissa_bits(&self) -> u32 {
        self.mantissa_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_found() {
        for (name, model) in TensorCore::PRESETS {
            let TensorCore { terms, fraction_bits, mantissa_bits } = model;
            assert_eq!(TensorCore::new(terms, fraction_bits, mantissa_bits), Ok(model));
            assert_eq!(TensorCore::named(name), Some(model));
        }
        assert_eq!(TensorCore::named("h100"), None);
    }

    #[test]
    fn refuses_what_is_no_model() {
        for (terms, fraction, mantissa, named) in [
            (0, 13, 13, "terms"),
            (257, 13, 13, "terms"),
            (4, 0, 13, "fraction_bits"),
            (4, 41, 13, "fraction_bits"),
            (4, 13, 0, "mantissa_bits"),
            (4, 13, 24, "mantissa_bits"),
        ] {
            let message = TensorCore::new(terms, fraction, mantissa).unwrap_err().to_string();
            assert!(message.starts_with(named) && message.contains("accepted"), "{message}");
        }
        assert!(TensorCore::new(256, 40, 23).is_ok());
    }
}
