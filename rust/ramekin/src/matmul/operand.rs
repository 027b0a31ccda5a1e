//! A matrix as it lies in memory: codes of a format, with strides, and scales if it has any.

use std::fmt;
use std::ops::Range;

use super::scales::Scales;
use crate::convert::fits;
use crate::format::{FLOAT32, FloatFormat, Zero};

/// The memory that a matrix lies in.
#[derive(Clone, Copy, Debug)]
pub enum Codes<'a> {
    /// Codes of a format of up to 8 bits.
    U8(&'a [u8]),
    /// Codes of a format of 9 to 16 bits.
    U16(&'a [u16]),
    /// float32 itself.
    F32(&'a [f32]),
    /// Codes of a format of less than 8 bits side by side, low bits first, as [`pack`](crate::convert::pack) lays
    /// them out. Offsets and strides count bits.
    Packed(&'a [u8]),
}

impl Codes<'_> {
    /// The places that offsets count.
    fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
            Self::F32(values) => values.len(),
            Self::Packed(bytes) => bytes.len().saturating_mul(8),
        }
    }

    /// Whether the format's codes lie so.
    pub(super) fn hold(&self, format: &FloatFormat) -> bool {
        match self {
            Self::U8(_) => format.bits() <= 8,
            Self::U16(_) => (9..=16).contains(&format.bits()),
            Self::F32(_) => *format == FLOAT32,
            Self::Packed(_) => format.bits() < 8,
        }
    }

    /// Whether every place of an affine index lies within: `width` places each, of `shape`.
    pub(super) fn reach(
        &self,
        width: usize,
        shape: (usize, usize),
        strides: (isize, isize),
        offset: usize,
    ) -> bool {
        if shape.0 == 0 || shape.1 == 0 {
            return true;
        }
        // The corners are the extremes of every affine index.
        let reach = |n: usize, stride: isize| i128::from(stride as i64) * (n as i128 - 1);
        let (rows, columns) = (reach(shape.0, strides.0), reach(shape.1, strides.1));
        let lowest = offset as i128 + rows.min(0) + columns.min(0);
        let highest = offset as i128 + rows.max(0) + columns.max(0);
        lowest >= 0 && highest + width as i128 <= self.len() as i128
    }
}

/// A matrix: element `(i, j)` is at `offset + i * strides.0 + j * strides.1` of its codes. It may have scales, by
/// which its elements or the products' are multiplied: see [`Scales`].
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub(crate) codes: Codes<'a>,
    pub(crate) format: &'a FloatFormat,
    pub(crate) shape: (usize, usize),
    pub(crate) strides: (isize, isize),
    pub(crate) offset: usize,
    /// Whether the codes are integers in two's complement.
    pub(super) integers: bool,
    pub(super) scales: Option<Scales<'a>>,
    /// A scale of the whole tensor.
    pub(super) tensor_scale: Option<f32>,
}

/// Why codes are no matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandError {
    /// The format's codes are not of the integers given.
    Width,
    /// The format has numbers that float32 lacks.
    Range,
    /// An element would lie outside the codes.
    Bounds,
    /// A block of no elements shares a scale.
    Block,
    /// A scale would lie outside the scales.
    Scales,
    /// The format's magnitudes are no integers.
    Integers,
}

impl fmt::Display for OperandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Width => "the codes' width is not the format's",
            Self::Range => "the format has numbers that are none of float32's",
            Self::Bounds => "an element lies outside the codes",
            Self::Block => "a block has no elements",
            Self::Scales => "a scale lies outside the scales",
            Self::Integers => {
                "the format's magnitudes are no integers; accepted: one exponent bit, signed, without special \
                 values, at most 8 bits"
            }
        })
    }
}

impl std::error::Error for OperandError {}

impl<'a> Operand<'a> {
    /// A matrix of `shape` (rows, columns) whose neighbours are `strides` elements apart.
    ///
    /// # Errors
    ///
    /// If the codes' width does not fit the format, the format has numbers that float32 lacks, or an element lies
    /// outside the codes.
    pub fn new(
        codes: Codes<'a>,
        format: &'a FloatFormat,
        shape: (usize, usize),
        strides: (isize, isize),
        offset: usize,
    ) -> Result<Self, OperandError> {
        if !codes.hold(format) {
            return Err(OperandError::Width);
        }
        if *format != FLOAT32 && !fits::<f32>(format) {
            return Err(OperandError::Range);
        }
        let width = if let Codes::Packed(_) = codes { format.bits() as usize } else { 1 };
        if !codes.reach(width, shape, strides, offset) {
            return Err(OperandError::Bounds);
        }
        let (integers, scales, tensor_scale) = (false, None, None);
        Ok(Self { codes, format, shape, strides, offset, integers, scales, tensor_scale })
    }

    /// A matrix of rows one after the other.
    ///
    /// # Errors
    ///
    /// As [`Operand::new`].
    pub fn row_major(
        codes: Codes<'a>,
        format: &'a FloatFormat,
        shape: (usize, usize),
    ) -> Result<Self, OperandError> {
        Self::new(codes, format, shape, (shape.1 as isize, 1), 0)
    }

    /// The same with its codes read as two's complement integers in units of the format's smallest number.
    ///
    /// So are the elements of MXINT8 (OCP MX v1.0, section 5.3.4) stored. The magnitudes of a format with a single
    /// exponent bit count those units; the lowest integer, which no magnitude is, is taken at its value too.
    ///
    /// # Errors
    ///
    /// If the format's magnitudes are no integers, or it has more than 8 bits.
    pub fn of_integers(self) -> Result<Self, OperandError> {
        let FloatFormat { exponent_bits, signed, high_nans, has_infinity, zero, .. } = *self.format;
        let plain = high_nans == 0 && !has_infinity && zero == Zero::Signed;
        let fits = self.format.bits() <= 8 && exponent_bits == 1 && signed && plain;
        if fits { Ok(Self { integers: true, ..self }) } else { Err(OperandError::Integers) }
    }

    /// The same with scales.
    ///
    /// # Errors
    ///
    /// If an element's scale lies outside them.
    pub fn scaled(self, scales: Scales<'a>) -> Result<Self, OperandError> {
        Ok(Self { scales: Some(scales.of(self.shape)?), ..self })
    }

    /// The same with a scale of the whole tensor, by which products are multiplied at the end.
    #[must_use]
    pub fn with_tensor_scale(self, scale: f32) -> Self {
        Self { tensor_scale: Some(scale), ..self }
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Whether the elements are their codes' values, each in an integer of its own.
    #[inline(always)]
    pub(super) fn has_plain_elements(&self) -> bool {
        !self.integers && self.inner_scales().is_none() && !matches!(self.codes, Codes::Packed(_))
    }

    /// The same, without any scales of sums.
    pub(crate) fn is_plain(&self) -> bool {
        self.has_plain_elements() && self.scales.is_none() && self.tensor_scale.is_none()
    }

    /// A format that has the elements' values: the codes' own, or float32, to which scaled ones are rounded.
    pub(super) fn value_format(&self) -> &'a FloatFormat {
        if self.integers || self.inner_scales().is_some() { &FLOAT32 } else { self.format }
    }

    /// Whether neighbours in memory are neighbours in a row.
    #[inline(always)]
    pub(super) fn runs_across(&self) -> bool {
        let (down, across) = self.strides;
        let one = if let Codes::Packed(_) = self.codes { self.format.bits() as isize } else { 1 };
        across == one || (down != one && across.unsigned_abs() <= down.unsigned_abs())
    }

    /// Where an element is in the codes.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> isize {
        self.offset as isize + row as isize * self.strides.0 + column as isize * self.strides.1
    }

    /// Some of the columns.
    pub(crate) fn columns(self, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= self.shape.1);
        let scales = self.scales.map(|scales| scales.from(columns.start));
        // The first of no columns may lie anywhere.
        let offset = self.at(0, columns.start) as usize;
        Self { shape: (self.shape.0, columns.len()), offset, scales, ..self }
    }

    /// The same memory with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        let scales = self.scales.map(Scales::transposed);
        Self {
            shape: (self.shape.1, self.shape.0),
            strides: (self.strides.1, self.strides.0),
            scales,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BFLOAT16, FLOAT16};

    #[test]
    fn refuses_what_is_no_matrix() {
        let codes = [0u16; 6];
        let new = |shape, strides, offset| {
            Operand::new(Codes::U16(&codes), &FLOAT16, shape, strides, offset).map(|o| o.shape())
        };
        assert_eq!(new((2, 3), (3, 1), 0), Ok((2, 3)));
        assert_eq!(new((2, 3), (-3, -1), 5), Ok((2, 3)));
        assert_eq!(new((2, 3), (3, 1), 1), Err(OperandError::Bounds));
        assert_eq!(new((2, 3), (-3, 1), 2), Err(OperandError::Bounds));
        assert_eq!(new((0, 3), (100, 100), 9), Ok((0, 3)));
        let wrong = Operand::row_major(Codes::U8(&[0; 6]), &BFLOAT16, (2, 3));
        assert_eq!(wrong.map(|o| o.shape()), Err(OperandError::Width));
    }
}
