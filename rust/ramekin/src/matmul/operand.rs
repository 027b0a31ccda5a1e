//! A matrix as it lies in memory: codes of a format, with strides.

use std::fmt;
use std::ops::Range;

use crate::convert::fits;
use crate::format::{FLOAT32, FloatFormat};

/// The memory that a matrix lies in.
#[derive(Clone, Copy, Debug)]
pub enum Codes<'a> {
    /// Codes of a format of up to 8 bits.
    U8(&'a [u8]),
    /// Codes of a format of 9 to 16 bits.
    U16(&'a [u16]),
    /// float32 itself.
    F32(&'a [f32]),
}

impl Codes<'_> {
    fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
            Self::F32(values) => values.len(),
        }
    }
}

/// A matrix: element `(i, j)` is at `offset + i * strides.0 + j * strides.1` of its codes.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub(crate) codes: Codes<'a>,
    pub(crate) format: &'a FloatFormat,
    pub(crate) shape: (usize, usize),
    pub(crate) strides: (isize, isize),
    pub(crate) offset: usize,
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
}

impl fmt::Display for OperandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Width => "the codes' width is not the format's",
            Self::Range => "the format has numbers that are none of float32's",
            Self::Bounds => "an element lies outside the codes",
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
        let wide_enough = match codes {
            Codes::U8(_) => format.bits() <= 8,
            Codes::U16(_) => (9..=16).contains(&format.bits()),
            Codes::F32(_) => *format == FLOAT32,
        };
        if !wide_enough {
            return Err(OperandError::Width);
        }
        if *format != FLOAT32 && !fits::<f32>(format) {
            return Err(OperandError::Range);
        }
        if shape.0 > 0 && shape.1 > 0 {
            // The corners are the extremes of every affine index.
            let reach = |n: usize, stride: isize| i128::from(stride as i64) * (n as i128 - 1);
            let (rows, columns) = (reach(shape.0, strides.0), reach(shape.1, strides.1));
            let lowest = offset as i128 + rows.min(0) + columns.min(0);
            let highest = offset as i128 + rows.max(0) + columns.max(0);
            if lowest < 0 || highest >= codes.len() as i128 {
                return Err(OperandError::Bounds);
            }
        }
        Ok(Self { codes, format, shape, strides, offset })
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

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Where an element is in the codes.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> isize {
        self.offset as isize + row as isize * self.strides.0 + column as isize * self.strides.1
    }

    /// Some of the columns.
    pub(crate) fn columns(self, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= self.shape.1);
        // The first of no columns may lie anywhere.
        Self { shape: (self.shape.0, columns.len()), offset: self.at(0, columns.start) as usize, ..self }
    }

    /// The same memory with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { shape: (self.shape.1, self.shape.0), strides: (self.strides.1, self.strides.0), ..self }
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
