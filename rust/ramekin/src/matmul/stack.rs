//! Matrices of one shape in the same memory: a batch.

use super::operand::{Codes, Operand, OperandError};
use super::scales::Scales;
use crate::format::FloatFormat;

/// A batch of matrices: some dimensions, the batch's, before those of each matrix.
///
/// A stride of 0 repeats what is there, so a batch that is broadcast takes no memory.
#[derive(Clone, Debug)]
pub struct Stack<'a> {
    first: Operand<'a>,
    /// Lengths and strides, the last running fastest.
    batch: Vec<(usize, isize)>,
    /// The strides of the scales over the same dimensions; empty if there are none.
    scales: Vec<isize>,
}

impl<'a> Stack<'a> {
    /// Matrices of `shape` whose neighbours are `strides` elements apart, over dimensions of a length and a stride
    /// each. The first element of the first matrix is at `offset` of the codes.
    ///
    /// # Errors
    ///
    /// As [`Operand::new`], for any matrix of the batch.
    pub fn new(
        codes: Codes<'a>,
        format: &'a FloatFormat,
        batch: Vec<(usize, isize)>,
        (shape, strides): ((usize, usize), (isize, isize)),
        offset: usize,
    ) -> Result<Self, OperandError> {
        // Where there are no elements the strides may lead anywhere.
        let empty = shape.0 == 0 || shape.1 == 0 || batch.iter().any(|&(length, _)| length == 0);
        let matrix = |shape, offset| Operand::new(codes, format, shape, strides, offset);
        if empty {
            let first = Operand { shape, ..matrix((0, 0), offset)? };
            return Ok(Self { first, batch, scales: vec![] });
        }
        for corner in corners(offset, batch.iter().copied()) {
            matrix(shape, usize::try_from(corner).map_err(|_| OperandError::Bounds)?)?;
        }
        Ok(Self { first: matrix(shape, offset)?, batch, scales: vec![] })
    }

    /// The same with scales, given for the first matrix, whose strides over the batch's dimensions are these.
    ///
    /// # Errors
    ///
    /// As [`Operand::scaled`], for any matrix of the batch.
    ///
    /// # Panics
    ///
    /// If the strides are not as many as the batch's dimensions.
    pub fn scaled(self, scales: Scales<'a>, strides: Vec<isize>) -> Result<Self, OperandError> {
        assert_eq!(strides.len(), self.batch.len(), "the batch has other dimensions");
        let scaled = |offset| self.first.scaled(scales.moved_to(offset));
        if self.count() > 0 {
            let lengths = self.batch.iter().map(|&(length, _)| length);
            for corner in corners(scales.offset, lengths.zip(strides.iter().copied())) {
                scaled(usize::try_from(corner).map_err(|_| OperandError::Scales)?)?;
            }
        }
        // Without matrices there need be no scales.
        let first = if self.count() > 0 { scaled(scales.offset)? } else { self.first };
        Ok(Self { first, scales: strides, ..self })
    }

    /// See [`Operand::of_integers`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn of_integers(self) -> Result<Self, OperandError> {
        Ok(Self { first: self.first.of_integers()?, ..self })
    }

    /// See [`Operand::with_tensor_scale`].
    #[must_use]
    pub fn with_tensor_scale(self, scale: f32) -> Self {
        Self { first: self.first.with_tensor_scale(scale), ..self }
    }

    /// How many matrices there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.batch.iter().map(|&(length, _)| length).product()
    }

    /// Rows and columns of each.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.first.shape
    }

    /// The first of the matrices, whose format and blocks are those of all, if there is one.
    pub(super) fn first(&self) -> &Operand<'a> {
        &self.first
    }

    /// One of the matrices.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[must_use]
    pub fn matrix(&self, index: usize) -> Operand<'a> {
        assert!(index < self.count(), "the batch ends before");
        let (mut offset, mut rest) = (self.first.offset as isize, index);
        let mut scales = self.first.scales;
        for (i, &(length, stride)) in self.batch.iter().enumerate().rev() {
            let at = (rest % length) as isize;
            offset += at * stride;
            if let Some(scales) = &mut scales {
                scales.offset = (scales.offset as isize + at * self.scales[i]) as usize;
            }
            rest /= length;
        }
        Operand { offset: offset as usize, scales, ..self.first }
    }

    /// The one matrix that the whole batch repeats.
    pub(super) fn repeated(&self) -> Option<Operand<'a>> {
        let repeats = |(i, &(length, stride)): (usize, &(usize, isize))| {
            let scales = self.scales.get(i).is_none_or(|&stride| stride == 0);
            length == 1 || (stride == 0 && scales && length > 0)
        };
        self.batch.iter().enumerate().all(repeats).then_some(self.first)
    }

    /// All rows of all matrices, of which there are some, as those of one, where a single stride leads through them,
    /// and one through their scales.
    pub(super) fn rows(&self) -> Option<Operand<'a>> {
        let Operand { shape: (mut rows, columns), strides: (mut by_row, by_column), mut scales, .. } =
            self.first;
        for (i, &(length, stride)) in self.batch.iter().enumerate().rev() {
            if rows == 1 {
                by_row = stride;
            } else if length != 1 && stride != rows as isize * by_row {
                return None;
            }
            if let Some(scales) = &mut scales {
                let by_matrix = self.scales[i];
                if rows == 1 {
                    (scales.block.0, scales.strides.0) = (1, by_matrix);
                } else if length != 1 {
                    let same = by_matrix == 0 && scales.strides.0 == 0;
                    let block = scales.block.0;
                    let go_on =
                        rows.is_multiple_of(block) && by_matrix == (rows / block) as isize * scales.strides.0;
                    if !same && !go_on {
                        return None;
                    }
                }
            }
            rows *= length;
        }
        Some(Operand { shape: (rows, columns), strides: (by_row, by_column), scales, ..self.first })
    }
}

/// The lowest and the highest of the places that some dimensions lead to: the extremes of every affine index.
fn corners(offset: usize, dimensions: impl Iterator<Item = (usize, isize)>) -> [i128; 2] {
    let mut corners = [offset as i128; 2];
    for (length, stride) in dimensions {
        let reach = (length as i128 - 1) * stride as i128;
        corners[usize::from(reach > 0)] += reach;
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FLOAT16;

    fn stack(
        codes: &[u16],
        batch: &[(usize, isize)],
        shape: (usize, usize),
        strides: (isize, isize),
        offset: usize,
    ) -> Result<Vec<usize>, OperandError> {
        let stack = Stack::new(Codes::U16(codes), &FLOAT16, batch.to_vec(), (shape, strides), offset)?;
        Ok((0..stack.count()).map(|i| stack.matrix(i).offset).collect())
    }

    #[test]
    fn matrices_lie_where_the_strides_say() {
        let codes = [0; 24];
        assert_eq!(stack(&codes, &[(2, 12), (2, 6)], (2, 3), (3, 1), 0), Ok(vec![0, 6, 12, 18]));
        assert_eq!(stack(&codes, &[(2, 0), (3, -6)], (2, 3), (3, 1), 12), Ok(vec![12, 6, 0, 12, 6, 0]));
        assert_eq!(stack(&codes, &[], (2, 3), (-3, 1), 3), Ok(vec![3]));
        assert_eq!(stack(&codes, &[(0, 1000)], (2, 3), (3, 1), 0), Ok(vec![]));
        assert_eq!(stack(&[], &[(0, 0)], (2, 3), (3, 1), 0), Ok(vec![]));
        assert_eq!(stack(&codes, &[(2, -6)], (2, 0), (3, 1), 0).map(|all| all.len()), Ok(2));
        for (batch, offset) in [((2, 12), 7), ((5, 6), 0), ((2, -6), 5), ((2, isize::MAX), 0)] {
            assert_eq!(stack(&codes, &[batch], (2, 3), (3, 1), offset), Err(OperandError::Bounds));
        }
    }

    #[test]
    fn rows_of_a_batch_are_rows_where_one_stride_leads_through_them() {
        let codes = [0; 48];
        let rows = |batch: &[(usize, isize)], shape, strides| {
            let stack =
                Stack::new(Codes::U16(&codes), &FLOAT16, batch.to_vec(), (shape, strides), 0).unwrap();
            stack.rows().map(|one| (one.shape, one.strides))
        };
        assert_eq!(rows(&[(2, 12), (2, 6)], (2, 3), (3, 1)), Some(((8, 3), (3, 1))));
        assert_eq!(rows(&[(3, 6), (1, 99)], (2, 3), (3, 1)), Some(((6, 3), (3, 1))));
        // One row each: the batch's own stride.
        assert_eq!(rows(&[(2, 12), (3, 4)], (1, 3), (77, 1)), Some(((6, 3), (4, 1))));
        assert_eq!(rows(&[(4, 0)], (1, 3), (3, 1)), Some(((4, 3), (0, 1))));
        assert_eq!(rows(&[(2, 7)], (2, 3), (3, 1)), None);
        assert_eq!(rows(&[(2, 2)], (2, 3), (1, 4)), Some(((4, 3), (1, 4))));
        assert_eq!(rows(&[(2, 0)], (2, 3), (3, 1)), None);
    }
}
