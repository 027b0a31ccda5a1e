//! What elements and scales are, and who shares a scale.

use std::fmt;

use super::scale::ScaleRounding;
use crate::convert::pack::packed_len;
use crate::format::{FloatFormat, Zero};

/// How scales are found and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale<'a> {
    /// A power of two, as a code of OCP's E8M0: the exponent of the largest magnitude, rounded so.
    PowerOfTwo(ScaleRounding),
    /// A number of a small format, as NVFP4's; with a scale of the whole tensor above it, or without.
    Small {
        /// The scales' format.
        format: &'a FloatFormat,
        /// Whether the tensor has a scale.
        tensor: bool,
    },
    /// A float32: the quotient of the largest magnitude and the format's, or a power of two.
    Float32(Option<ScaleRounding>),
}

/// Elements of a format that share scales in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme<'a> {
    pub(super) element: &'a FloatFormat,
    pub(super) integer: bool,
    pub(super) scale: Scale<'a>,
    pub(super) block: Option<(usize, usize)>,
}

/// Why there is no such scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemeError(String);

impl fmt::Display for SchemeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SchemeError {}

/// Exponents that an element's numbers may have, from the spacing of its subnormals on: float64 holds their product
/// with every scale and every number that they may round.
const EXPONENTS: std::ops::RangeInclusive<i32> = -400..=400;

impl<'a> Scheme<'a> {
    /// Elements of `element` in blocks of so many rows and columns, all together in one if there is no `block`.
    /// Where they are `integer`, their codes are written as two's complement.
    ///
    /// # Errors
    ///
    /// If the elements have more than 16 bits, no sign, or exponents beyond ±400, integers are no bytes, scales have
    /// more than 16 bits, no zero or no NaN, or a block has no rows or columns.
    pub fn new(
        element: &'a FloatFormat,
        integer: bool,
        scale: Scale<'a>,
        block: Option<(usize, usize)>,
    ) -> Result<Self, SchemeError> {
        let fail = |message: String| Err(SchemeError(message));
        if element.bits() > 16 || !element.signed {
            return fail(format!("elements of {element}; accepted: signed formats of at most 16 bits"));
        }
        let lowest = element.min_exponent() - element.mantissa_bits as i32;
        if !EXPONENTS.contains(&lowest) || !EXPONENTS.contains(&element.max_exponent()) {
            return fail(format!("elements of {element}; accepted: exponents from -400 to 400"));
        }
        if integer && (element.bits() != 8 || element.nan_code().is_some()) {
            return fail(format!("integers of {element}; accepted: 8 bits without NaN"));
        }
        if let Scale::Small { format, .. } = scale {
            let suits = format.bits() <= 16 && format.zero != Zero::None && format.nan_code().is_some();
            if !suits || !EXPONENTS.contains(&format.max_exponent()) {
                return fail(format!(
                    "scales of {format}; accepted: formats of at most 16 bits with zero and NaN"
                ));
            }
        }
        if let Some((rows, columns)) = block
            && (rows == 0 || columns == 0)
        {
            return fail(format!("blocks of {rows} by {columns}; accepted: 1 by 1 and larger"));
        }
        Ok(Self { element, integer, scale, block })
    }

    /// The format of the elements.
    #[must_use]
    pub fn element(&self) -> &'a FloatFormat {
        self.element
    }

    /// How scales are found and stored.
    #[must_use]
    pub fn scale(&self) -> Scale<'a> {
        self.scale
    }

    /// Rows and columns of a block; None for one block of all.
    #[must_use]
    pub fn block(&self) -> Option<(usize, usize)> {
        self.block
    }

    /// Integers that hold the codes of so many elements of a row.
    ///
    /// Codes of fewer than 8 bits are packed, low bits first; each row starts at a byte.
    ///
    /// # Panics
    ///
    /// If their number is no `usize`; it is for every row that is there.
    #[must_use]
    pub fn row_codes(&self, columns: usize) -> usize {
        match self.element.bits() {
            bits @ ..8 => packed_len(columns, bits).expect("a row too long to be there"),
            _ => columns,
        }
    }

    /// Whether rows of so many columns are as good as one, where they follow one another: they are whole blocks and
    /// whole bytes of codes.
    pub(super) fn joins(&self, columns: usize) -> bool {
        let whole = (columns % 8 * self.element.bits() as usize).is_multiple_of(8);
        whole && matches!(self.block, Some((1, width)) if columns.is_multiple_of(width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FLOAT32;

    #[test]
    fn refuses_what_is_no_scheme() {
        let named = |name| FloatFormat::named(name).unwrap();
        let (e4m3, e8m0) = (named("float8_e4m3fn"), named("float8_e8m0fnu"));
        let power = Scale::PowerOfTwo(ScaleRounding::Floor);
        let new = |element, integer, scale, block| Scheme::new(element, integer, scale, block).is_ok();
        assert!(new(e4m3, false, power, Some((1, 32))));
        assert!(new(named("bfloat16"), false, power, None));
        assert!(!new(e4m3, true, power, None));
        assert!(!new(&FLOAT32, false, power, None));
        assert!(!new(e8m0, false, power, None));
        assert!(!new(e4m3, false, power, Some((0, 32))));
        assert!(!new(e4m3, false, Scale::Small { format: e8m0, tensor: true }, None));
        assert!(!new(e4m3, false, Scale::Small { format: named("float6_e2m3fn"), tensor: true }, None));
    }
}
