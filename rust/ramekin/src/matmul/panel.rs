//! Packing: a block of an operand, decoded and laid out as the microkernel reads it.
//!
//! A block is `outer` (rows of A, columns of B) by `depth`. Its elements are packed in 32-bit *units*: a float32, or
//! a pair of bfloat16, of which the upper half is the one of smaller `k`.

use std::ops::Range;

use super::operand::Operand;
use super::tile::{Area, LINES, RUN, Reader, Tile};
use crate::format::{FLOAT32, FloatFormat};
use crate::simd::Simd;

/// Units of depth in a block. What the product holds is read and written once for each block, and a tile's registers
/// filled and emptied; a panel of B of this depth comes from the second-level cache, which keeps up.
pub(super) const DEPTH: usize = 1024;

/// Units from one row of a packed block of A to the next. Not a power of two, lest rows fall on the same cache sets.
pub(super) const ROW: usize = DEPTH + 16;

/// Blocks of A and panels of B have room for whole squares of units of every instruction set's vectors.
const SQUARE: usize = 16;

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Float,
    Pair,
}

impl Unit {
    /// Elements in a unit.
    #[inline(always)]
    pub const fn elements(self) -> usize {
        match self {
            Self::Float => 1,
            Self::Pair => 2,
        }
    }

    /// Units that hold so many elements.
    #[inline(always)]
    pub const fn of(self, elements: usize) -> usize {
        elements.div_ceil(self.elements())
    }
}

/// Where units go.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Row after row, [`ROW`] apart: A.
    Rows,
    /// Panels of `width` columns, each unit of depth a line of its own; panels are [`panel_len`] apart: B.
    Panels { width: usize },
}

/// Units that a block of A takes.
#[inline(always)]
pub(super) const fn rows_len(rows: usize) -> usize {
    rows.next_multiple_of(SQUARE) * ROW
}

/// Units from one panel of B to the next.
#[inline(always)]
pub(super) const fn panel_len(width: usize, units: usize) -> usize {
    width * units.next_multiple_of(SQUARE)
}

/// The smallest magnitude among nonzero elements, as the bits of a float32 less one: zero counts as the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Smallest(u32);

impl Smallest {
    /// Of no elements.
    pub const NONE: Self = Self(u32::MAX);

    /// Of elements among which some are none of bfloat16's.
    pub const LOST: Self = Self(0);

    /// Of codes of bfloat16, each less one and without its sign.
    #[inline(always)]
    fn of(least: [u16; RUN]) -> Self {
        let least = least.into_iter().fold(u16::MAX, u16::min);
        if least == u16::MAX { Self::NONE } else { Self(((u32::from(least) + 1) << 16) - 1) }
    }

    /// Of two sets of elements together.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The exponent of bfloat16's unit in the last place there; None for a subnormal.
    fn unit(self) -> Option<i32> {
        let field = (self.0.saturating_add(1) >> 23).min(254) as i32;
        (field > 0).then_some(field - 127 - 7)
    }

    /// Whether sums of products of elements not smaller than these are zero or normal float32 numbers, whatever the
    /// order: then no instruction that flushes subnormals can tell.
    pub fn never_underflows(self, other: Self) -> bool {
        match (self.unit(), other.unit()) {
            // Every product, hence every sum before rounding, is a multiple of 2^(a + b).
            (Some(a), Some(b)) => a + b >= -126,
            _ => false,
        }
    }
}

/// Whether every number of the format is one of bfloat16's.
pub(super) fn fits_bfloat16(format: &FloatFormat) -> bool {
    *format != FLOAT32 && format.mantissa_bits <= 7 && {
        // Its subnormals must have room: they are normal numbers of bfloat16, or bfloat16's own.
        let lowest = format.min_exponent() - format.mantissa_bits as i32;
        lowest >= -126 - 7 && format.max_exponent() <= 127
    }
}

/// Packs `outer` by `depth` of `operand`, whose rows are the outer dimension. Pairs tell their smallest element; where
/// that is [`Smallest::LOST`], the block must be packed as float32.
#[inline(always)]
pub(super) fn pack<S: Simd>(
    simd: S,
    operand: &Operand<'_>,
    (outer, depth): (Range<usize>, Range<usize>),
    (unit, layout): (Unit, Layout),
    packed: &mut [u32],
) -> Smallest {
    let units = unit.of(depth.len());
    let needed = match layout {
        Layout::Rows => rows_len(outer.len()),
        Layout::Panels { width } => outer.len().div_ceil(width) * panel_len(width, units),
    };
    assert!(packed.len() >= needed && units <= DEPTH, "no room for the block");
    let reader = Reader::new(operand);
    // Lines run where neighbours are, and tile follows tile along the lines: as many streams as a tile has lines.
    let along_depth = operand.runs_across();
    let (across, along) = if along_depth { (&outer, &depth) } else { (&depth, &outer) };
    let mut least = [u16::MAX; RUN];
    let mut lost = 0;
    let (mut tile, mut halves) = (Tile::new(), Tile::new());
    for line in across.clone().step_by(LINES) {
        let lines = LINES.min(across.end - line);
        for first in along.clone().step_by(RUN) {
            let run = RUN.min(along.end - first);
            let (o, d) = if along_depth { (line, first) } else { (first, line) };
            let area = Area { first: (o, d), across: along_depth, lines, run };
            let scaled = reader.scales();
            if scaled || unit == Unit::Float {
                reader.read(simd, area, &mut tile);
            }
            let (lines, run) = if unit == Unit::Pair {
                if scaled {
                    lost |= narrow(&tile, &mut halves, lines);
                } else {
                    reader.read_unscaled(simd, area, &mut halves);
                }
                least = smaller(&halves, lines, least);
                if along_depth {
                    pair_runs(&halves, &mut tile, lines, run)
                } else {
                    pair_lines(&mut halves, &mut tile, lines, run)
                }
            } else {
                (lines, run)
            };
            let unit = (d - depth.start) / unit.elements();
            let target = Target { packed: &mut *packed, layout, units, outer: o - outer.start, unit };
            target.place(simd, &tile, along_depth, lines, run);
        }
    }
    if lost == 0 { Smallest::of(least) } else { Smallest::LOST }
}

/// The upper halves of the elements; not zero if the lower ones hold anything.
#[inline(always)]
fn narrow(tile: &Tile<f32>, halves: &mut Tile<u16>, lines: usize) -> u32 {
    let mut lost = 0;
    for (halves, line) in halves.0.iter_mut().zip(&tile.0).take(lines) {
        for (half, x) in halves.iter_mut().zip(line) {
            lost |= x.to_bits() & 0xffff;
            *half = (x.to_bits() >> 16) as u16;
        }
    }
    lost
}

/// The smaller ones of those known and a tile's codes, each less one and without its sign.
#[inline(always)]
fn smaller(tile: &Tile<u16>, lines: usize, mut least: [u16; RUN]) -> [u16; RUN] {
    for line in tile.0.iter().take(lines) {
        for (least, code) in least.iter_mut().zip(line) {
            *least = (*least).min((code & 0x7fff).wrapping_sub(1));
        }
    }
    least
}

#[inline(always)]
fn pair(first: u16, second: u16) -> f32 {
    f32::from_bits(u32::from(first) << 16 | u32::from(second))
}

/// Neighbours on a line become pairs; the last one's partner may be a zero.
#[inline(always)]
fn pair_runs(halves: &Tile<u16>, pairs: &mut Tile<f32>, lines: usize, run: usize) -> (usize, usize) {
    for (pairs, halves) in pairs.0.iter_mut().zip(&halves.0).take(lines) {
        for (pair_, halves) in pairs.iter_mut().zip(halves.chunks_exact(2)) {
            *pair_ = pair(halves[0], halves[1]);
        }
    }
    (lines, run.div_ceil(2))
}

/// Neighbouring lines become lines of pairs; the last one's partner may be zeros.
#[inline(always)]
fn pair_lines(halves: &mut Tile<u16>, pairs: &mut Tile<f32>, lines: usize, run: usize) -> (usize, usize) {
    if lines % 2 == 1 {
        halves.0[lines].fill(0);
    }
    let units = lines.div_ceil(2);
    for (pairs, halves) in pairs.0.iter_mut().zip(halves.0.chunks_exact(2)).take(units) {
        for ((pair_, &first), &second) in pairs.iter_mut().zip(&halves[0]).zip(&halves[1]) {
            *pair_ = pair(first, second);
        }
    }
    (units, run)
}

/// Where a tile of units goes.
struct Target<'a> {
    packed: &'a mut [u32],
    layout: Layout,
    /// Units of depth in the block.
    units: usize,
    /// The tile's first place in the outer dimension, a multiple of [`LINES`] or [`RUN`].
    outer: usize,
    /// Its first unit of depth, a multiple of `LINES / 2`.
    unit: usize,
}

impl Target<'_> {
    /// Where the unit at a place of the tile goes.
    #[inline(always)]
    fn at(&self, outer: usize, unit: usize) -> usize {
        let (outer, unit) = (self.outer + outer, self.unit + unit);
        match self.layout {
            Layout::Rows => outer * ROW + unit,
            Layout::Panels { width } => {
                outer / width * panel_len(width, self.units) + unit * width + outer % width
            }
        }
    }

    #[inline(always)]
    fn place<S: Simd>(self, simd: S, tile: &Tile<f32>, along_depth: bool, lines: usize, run: usize) {
        match (self.layout, along_depth) {
            (Layout::Rows, true) => {
                for (i, line) in tile.0.iter().enumerate().take(lines) {
                    let at = self.at(i, 0);
                    copy(&line[..run], &mut self.packed[at..at + run]);
                }
            }
            (Layout::Panels { width }, false) => {
                for (i, line) in tile.0.iter().enumerate().take(lines) {
                    for (j, piece) in line[..run].chunks(width).enumerate() {
                        let at = self.at(j * width, i);
                        copy(piece, &mut self.packed[at..at + piece.len()]);
                    }
                }
            }
            (Layout::Rows, false) => self.turn(simd, tile, (lines, run), ROW),
            (Layout::Panels { width }, true) => self.turn(simd, tile, (lines, run), width),
        }
    }

    /// Places squares turned about their diagonal; `stride` is between what were neighbours on a line. Squares at the
    /// edges carry what the tile holds beyond its elements into places that are never read or not yet written.
    #[inline(always)]
    fn turn<S: Simd>(self, simd: S, tile: &Tile<f32>, (lines, run): (usize, usize), stride: usize) {
        for line in (0..lines).step_by(S::LANES) {
            for j in (0..run).step_by(S::LANES) {
                let at = match self.layout {
                    Layout::Rows => self.at(j, line),
                    Layout::Panels { .. } => self.at(line, j),
                };
                assert!(at + (S::LANES - 1) * stride + S::LANES <= self.packed.len(), "no room for a square");
                // SAFETY: LANES divides LINES and RUN, so the square lies within the tile; the assertion checks
                // the other side.
                unsafe {
                    let from = tile.0[line].as_ptr().add(j).cast();
                    simd.transpose(from, 4 * RUN as isize, self.packed.as_mut_ptr().add(at), stride);
                }
            }
        }
    }
}

#[inline(always)]
fn copy(from: &[f32], to: &mut [u32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.to_bits();
    }
}

/// A panel of pairs as float32: the units from `first` on, two lines of `width` for each.
#[inline(always)]
pub(super) fn unpair(pairs: &[u32], width: usize, lines: &mut [u32]) {
    for (pairs, lines) in pairs.chunks_exact(width).zip(lines.chunks_exact_mut(2 * width)) {
        let (first, second) = lines.split_at_mut(width);
        for ((first, second), pair) in first.iter_mut().zip(second).zip(pairs) {
            *first = pair & 0xffff_0000;
            *second = pair << 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BFLOAT16, FLOAT16, NAMED};

    #[test]
    fn small_formats_fit_bfloat16() {
        let fitting: Vec<_> = NAMED.iter().filter(|f| fits_bfloat16(f)).map(|f| &*f.name).collect();
        assert_eq!(fitting.len(), 12, "{fitting:?}");
        assert!(!fits_bfloat16(&FLOAT16) && !fits_bfloat16(&FLOAT32) && fits_bfloat16(&BFLOAT16));
    }

    #[test]
    fn underflow_is_judged_from_the_smallest_elements() {
        let smallest = |x: f32| Smallest(x.to_bits() - 1);
        let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
        // Units in the last place of bfloat16 are 2^-7 of the number: 2^-112 in all.
        assert!(smallest(power(-56)).never_underflows(smallest(power(-56))));
        assert!(!smallest(power(-56)).never_underflows(smallest(power(-57))));
        assert!(!smallest(f32::from_bits(0x0040_0000)).never_underflows(smallest(power(100))));
        assert!(Smallest::NONE.never_underflows(smallest(power(-126))));
    }

    #[test]
    fn pairs_come_apart_again() {
        let pairs = [0x3f80_4000u32, 0x1234_5678];
        let mut lines = [0; 4];
        unpair(&pairs, 2, &mut lines);
        assert_eq!(lines, [0x3f80_0000, 0x1234_0000, 0x4000_0000, 0x5678_0000]);
    }
}
