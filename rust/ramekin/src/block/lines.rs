//! Rows of an array in the machine float that they are worked on in.

use std::ops::Range;

use super::array::Array;
use crate::float::{Bits, Float};
use crate::isa::Level;

/// Parts of some rows: where they lie if that will do, else read into a buffer.
pub(super) struct Lines<'a, F> {
    level: Level,
    array: &'a Array<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    buffer: Vec<F>,
}

impl<'a, F: Float> Lines<'a, F> {
    pub fn new(level: Level, array: &'a Array<'a>) -> Self {
        Self { level, array, rows: 0..0, columns: 0..0, buffer: Vec::new() }
    }

    /// Goes to other rows and columns, of which there are some.
    pub fn read(&mut self, rows: &Range<usize>, columns: &Range<usize>) {
        (self.rows, self.columns) = (rows.clone(), columns.clone());
        if self.array.in_place::<F>(rows.start, columns).is_none() {
            let zero = F::from_bits_of(F::Bits::ZERO);
            self.buffer.resize(rows.len() * columns.len(), zero);
            self.array.read(self.level, rows.clone(), columns.clone(), &mut self.buffer);
        }
    }

    /// All of them one after the other, where they were read.
    pub fn joined(&self) -> Option<&[F]> {
        let read = self.array.in_place::<F>(self.rows.start, &self.columns).is_none();
        read.then_some(&self.buffer)
    }

    /// The part of one of the rows.
    pub fn line(&self, row: usize) -> &[F] {
        self.array.in_place(row, &self.columns).unwrap_or_else(|| {
            let len = self.columns.len();
            &self.buffer[(row - self.rows.start) * len..][..len]
        })
    }
}
