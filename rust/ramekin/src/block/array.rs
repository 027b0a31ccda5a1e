//! Arrays to quantise, as they lie in memory.

use std::fmt;
use std::ops::Range;

use super::floats::Convert;
use crate::convert::decode;
use crate::float::{Code, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::simd::{Simd, prefetch_far};

/// The memory that an array lies in.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Codes of a format of up to 8 bits.
    U8(&'a [u8], &'a FloatFormat),
    /// Codes of a format of 9 to 16 bits.
    U16(&'a [u16], &'a FloatFormat),
    /// float32 itself.
    F32(&'a [f32]),
    /// float64 itself.
    F64(&'a [f64]),
}

impl Elements<'_> {
    fn len(&self) -> usize {
        match self {
            Self::U8(all, _) => all.len(),
            Self::U16(all, _) => all.len(),
            Self::F32(all) => all.len(),
            Self::F64(all) => all.len(),
        }
    }
}

/// An array of at least one dimension, the last of which are the columns of its rows.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    elements: Elements<'a>,
    /// Of all dimensions but the last.
    lengths: Vec<usize>,
    strides: Vec<isize>,
    columns: (usize, isize),
    offset: usize,
}

/// An element would lie outside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayError;

impl fmt::Display for ArrayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element lies outside the memory")
    }
}

impl std::error::Error for ArrayError {}

impl<'a> Array<'a> {
    /// An array whose first element is at `offset`, with a length and a stride, in elements, for each dimension.
    ///
    /// # Errors
    ///
    /// If there are no dimensions or an element lies outside the memory.
    pub fn new(
        elements: Elements<'a>,
        dimensions: &[(usize, isize)],
        offset: usize,
    ) -> Result<Self, ArrayError> {
        let (&columns, leading) = dimensions.split_last().ok_or(ArrayError)?;
        if dimensions.iter().all(|&(length, _)| length > 0) {
            // The corners are the extremes of every affine index.
            let mut corners = [offset as i128; 2];
            for &(length, stride) in dimensions {
                let reach = (length as i128 - 1) * stride as i128;
                corners[usize::from(reach > 0)] += reach;
            }
            if corners[0] < 0 || corners[1] >= elements.len() as i128 {
                return Err(ArrayError);
            }
        }
        let (lengths, strides) = leading.iter().copied().unzip();
        Ok(Self { elements, lengths, strides, columns, offset })
    }

    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub(super) fn columns(&self) -> usize {
        self.columns.0
    }

    /// Whether every element is exactly a float32.
    pub(super) fn is_float32(&self) -> bool {
        match self.elements {
            Elements::F64(_) => false,
            Elements::F32(_) => true,
            Elements::U8(_, format) | Elements::U16(_, format) => crate::convert::fits::<f32>(format),
        }
    }

    /// Whether rows follow one another without a gap.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut next = self.columns.0 as isize;
        self.columns.1 == 1
            && self.lengths.iter().zip(&self.strides).rev().all(|(&length, &stride)| {
                let follows = length == 1 || stride == next;
                next *= length as isize;
                follows
            })
    }

    /// All rows of a contiguous array as one.
    pub(super) fn in_one_row(self) -> Self {
        debug_assert!(self.is_contiguous());
        let all = self.lengths.iter().product::<usize>() * self.columns.0;
        Self { lengths: Vec::new(), strides: Vec::new(), columns: (all, 1), ..self }
    }

    /// Where a row starts.
    fn row(&self, mut row: usize) -> isize {
        let mut at = self.offset as isize;
        for (&length, &stride) in self.lengths.iter().zip(&self.strides).rev() {
            at += (row % length) as isize * stride;
            row /= length;
        }
        at
    }

    /// A part of a row where it lies, if it is of `F` and its elements are neighbours.
    pub(super) fn in_place<F: Float>(&self, row: usize, columns: &Range<usize>) -> Option<&'a [F]> {
        let all = match self.elements {
            Elements::F32(all) => F::of_f32(all)?,
            Elements::F64(all) => F::of_f64(all)?,
            _ => return None,
        };
        let start = self.row(row) as usize;
        (self.columns.1 == 1).then(|| &all[start + columns.start..start + columns.end])
    }

    /// Copies parts of some rows, one after the other, as `F`: rounded to nearest even if need be.
    pub(super) fn read<F: Float>(
        &self,
        level: Level,
        rows: Range<usize>,
        columns: Range<usize>,
        lines: &mut [F],
    ) {
        let starts: Vec<isize> =
            rows.map(|row| self.row(row) + columns.start as isize * self.columns.1).collect();
        let place = Place { starts: &starts, stride: self.columns.1, columns: columns.len() };
        match self.elements {
            Elements::F32(all) => {
                if let Some(lines) = F::as_f32_mut(lines)
                    && level.run(Turn { all, place: &place, lines })
                {
                    return;
                }
                place.each_line(all, lines, |from, to| level.run(Convert { from, to }));
            }
            Elements::F64(all) => place.each_line(all, lines, |from, to| {
                level.run(Convert { from, to });
            }),
            Elements::U8(all, format) => decoded(&place, level, format, all, lines),
            Elements::U16(all, format) => decoded(&place, level, format, all, lines),
        }
    }
}

fn decoded<C: Code, F: Float>(
    place: &Place<'_>,
    level: Level,
    format: &FloatFormat,
    all: &[C],
    lines: &mut [F],
) {
    place.each_line(all, lines, |codes, line| decode(level, format, codes, line));
}

/// Where lines lie in memory.
struct Place<'a> {
    starts: &'a [isize],
    stride: isize,
    columns: usize,
}

impl Place<'_> {
    /// Hands each line, which has columns, to `convert`, from where it lies or gathered, with the place it goes to.
    fn each_line<T: Copy + Default, F>(&self, all: &[T], lines: &mut [F], convert: impl Fn(&[T], &mut [F])) {
        let columns = self.columns;
        let lines = lines.chunks_exact_mut(columns);
        if self.stride == 1 {
            for (line, &start) in lines.zip(self.starts) {
                convert(&all[start as usize..][..columns], line);
            }
            return;
        }
        // Column after column: in memory, neighbours are likely to be in the same one.
        let mut gathered = vec![T::default(); self.starts.len() * columns];
        for j in 0..columns {
            for (i, start) in self.starts.iter().enumerate() {
                gathered[i * columns + j] = all[(start + j as isize * self.stride) as usize];
            }
        }
        for (line, from) in lines.zip(gathered.chunks_exact(columns)) {
            convert(from, line);
        }
    }
}

/// How many squares ahead memory is asked for.
const AHEAD: usize = 2;

/// Reads float32 whose neighbours in memory are in different lines.
struct Turn<'a> {
    all: &'a [f32],
    place: &'a Place<'a>,
    lines: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    /// Whether they are.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Place { starts, stride, columns } = *self.place;
        let follow = starts.windows(2).all(|two| two[1] == two[0] + 1);
        if !follow || stride == 1 || starts.len() < S::LANES {
            return false;
        }
        // Squares, then what is left at both edges.
        let (rows, wide) = (starts.len() / S::LANES * S::LANES, columns / S::LANES * S::LANES);
        for j in (0..wide).step_by(S::LANES) {
            for i in (0..rows).step_by(S::LANES) {
                let first = starts[i] + j as isize * stride;
                // Lines far apart: the CPU does not foresee them.
                for line in AHEAD * S::LANES..(AHEAD + 1) * S::LANES {
                    prefetch_far(self.all.as_ptr().wrapping_offset(first + line as isize * stride));
                }
                let last = first + (S::LANES - 1) as isize * stride;
                let (lowest, highest) = (first.min(last), first.max(last) + S::LANES as isize);
                assert!(lowest >= 0 && highest as usize <= self.all.len(), "a square lies outside");
                assert!(
                    (i + S::LANES - 1) * columns + j + S::LANES <= self.lines.len(),
                    "no room for a square"
                );
                // SAFETY: the first and the last row of the square are in memory, and so are those between; the
                // second assertion checks the other side. The two slices do not overlap: one is borrowed mutably.
                unsafe {
                    let from = self.all.as_ptr().offset(first).cast::<u8>();
                    let to = self.lines.as_mut_ptr().add(i * columns + j).cast::<u32>();
                    simd.transpose(from, stride * size_of::<f32>() as isize, to, columns);
                }
            }
        }
        for (i, start) in starts.iter().enumerate() {
            for j in (if i < rows { wide } else { 0 })..columns {
                self.lines[i * columns + j] = self.all[(start + j as isize * stride) as usize];
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_wherever_they_lie() {
        let all: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let array = |dimensions: &[(usize, isize)], offset| {
            Array::new(Elements::F32(&all), dimensions, offset).unwrap()
        };
        let read = |array: &Array<'_>, rows: Range<usize>, columns: Range<usize>| {
            let mut lines = vec![-1.0f64; rows.len() * columns.len()];
            array.read(Level::Portable, rows, columns.clone(), &mut lines);
            lines.chunks(columns.len()).map(<[f64]>::to_vec).collect::<Vec<_>>()
        };
        let plain = array(&[(2, 12), (3, 4), (4, 1)], 0);
        assert!(plain.is_contiguous());
        assert_eq!(read(&plain, 3..5, 1..3), [[13.0, 14.0], [17.0, 18.0]]);
        assert_eq!(plain.in_place::<f32>(4, &(1..3)), Some(&[17.0f32, 18.0][..]));
        assert_eq!(plain.in_place::<f64>(4, &(1..3)), None);
        let turned = array(&[(4, 1), (3, 4)], 0);
        assert!(!turned.is_contiguous());
        assert_eq!(read(&turned, 1..3, 0..3), [[1.0, 5.0, 9.0], [2.0, 6.0, 10.0]]);
        let back = array(&[(2, -12), (3, -4)], 23);
        assert_eq!(read(&back, 0..2, 0..3), [[23.0, 19.0, 15.0], [11.0, 7.0, 3.0]]);
        assert_eq!(read(&plain.in_one_row(), 0..1, 22..24), [[22.0, 23.0]]);
    }

    #[test]
    fn refuses_what_lies_outside() {
        let all = [0.0f32; 6];
        let new = |dimensions: &[(usize, isize)], offset| {
            Array::new(Elements::F32(&all), dimensions, offset).is_ok()
        };
        assert!(new(&[(2, 3), (3, 1)], 0) && new(&[(2, -3), (3, 1)], 3) && new(&[(0, 99), (3, 1)], 99));
        assert!(!new(&[(2, 3), (3, 1)], 1) && !new(&[(2, -3), (3, 1)], 2) && !new(&[], 0));
        assert!(!new(&[(2, isize::MAX), (3, isize::MAX)], 0));
    }
}
