//! What a product multiplies by.

use std::ops::Range;

use super::operand::Operand;
use super::packed::PackedMatrix;
use super::stack::Stack;

/// The right-hand side of a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// As it lies in memory.
    Operand(&'a Operand<'a>),
    /// Packed before.
    Packed(&'a PackedMatrix),
}

/// The right-hand sides of a batch of products.
#[derive(Clone, Copy, Debug)]
pub enum Rights<'a> {
    /// One for each, or the same again where the stack repeats it.
    Stack(&'a Stack<'a>),
    /// The same for all, packed before.
    Packed(&'a PackedMatrix),
}

/// The right-hand side of a product, or some columns of it.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Operand(Operand<'a>),
    /// So many columns from the first of a panel on.
    Packed(&'a PackedMatrix, usize, usize),
}

impl<'a> Side<'a> {
    pub fn new(right: Right<'a>) -> Self {
        match right {
            Right::Operand(operand) => Self::Operand(*operand),
            Right::Packed(packed) => Self::Packed(packed, 0, packed.shape().1),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Operand(operand) => operand.shape(),
            Self::Packed(packed, _, columns) => (packed.shape().0, *columns),
        }
    }

    /// Some of the columns; the first must be the first of a panel if they are packed.
    pub fn columns(self, columns: Range<usize>) -> Self {
        match self {
            Self::Operand(operand) => Self::Operand(operand.columns(columns)),
            Self::Packed(packed, first, _) => Self::Packed(packed, first + columns.start, columns.len()),
        }
    }
}
