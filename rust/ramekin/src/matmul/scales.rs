//! Scales of the blocks of a matrix.

use super::operand::{Codes, Operand, OperandError};
use super::tile::{Area, LINES, RUN, Tile};
use crate::convert::{Code, DecodePlan, decode_slice, fits};
use crate::format::{FLOAT32, FloatFormat};
use crate::isa::Kernel;
use crate::simd::Simd;

/// The scales of a matrix: one for each block of neighbours.
///
/// Scales in a small format belong to the *elements*: an element is its code's value times the scale of its block,
/// rounded once to float32. (MX: OCP Microscaling Formats v1.0, section 6.3; NVFP4 likewise, but for its tensor
/// scale.)
///
/// Scales in float32 belong to the *sums*. Where they do not change along `k`, a product's element is
/// `sum * (sa * sb)`. Where an operand has several of them along `k`, each of `t` terms, sums start anew with each of
/// these tiles, and `c = +0;  for each partial sum: c = fma(partial, sa * sb, c)` (DeepSeek-V3 technical report, 2024,
/// section 3.3). All that in float32, to nearest even.
#[derive(Clone, Copy, Debug)]
pub struct Scales<'a> {
    codes: Codes<'a>,
    format: &'a FloatFormat,
    /// Rows and columns that share a scale.
    pub(super) block: (usize, usize),
    /// Where in its block the matrix begins.
    origin: (usize, usize),
    pub(super) strides: (isize, isize),
    pub(super) offset: usize,
}

impl<'a> Scales<'a> {
    /// Scales of blocks of so many rows and columns: that of element `(i, j)` is at
    /// `offset + i / block.0 * strides.0 + j / block.1 * strides.1` of the codes.
    ///
    /// # Errors
    ///
    /// If the codes' width does not fit the format, or they are packed, the format has numbers that float32 lacks, or
    /// a block has no elements.
    pub fn new(
        codes: Codes<'a>,
        format: &'a FloatFormat,
        block: (usize, usize),
        strides: (isize, isize),
        offset: usize,
    ) -> Result<Self, OperandError> {
        if !codes.hold(format) || matches!(codes, Codes::Packed(_)) {
            return Err(OperandError::Width);
        }
        if *format != FLOAT32 && !fits::<f32>(format) {
            return Err(OperandError::Range);
        }
        if block.0 == 0 || block.1 == 0 {
            return Err(OperandError::Block);
        }
        Ok(Self { codes, format, block, origin: (0, 0), strides, offset })
    }

    /// Of a matrix of this shape.
    pub(super) fn of(self, shape: (usize, usize)) -> Result<Self, OperandError> {
        let blocks = (shape.0.div_ceil(self.block.0), shape.1.div_ceil(self.block.1));
        if !self.codes.reach(1, blocks, self.strides, self.offset) {
            return Err(OperandError::Scales);
        }
        // Where there is one block, its stride may be anything.
        let stride = |blocks, stride| if blocks == 1 { 0 } else { stride };
        Ok(Self { strides: (stride(blocks.0, self.strides.0), stride(blocks.1, self.strides.1)), ..self })
    }

    pub(super) fn transposed(self) -> Self {
        let turned = |(down, across)| (across, down);
        let strides = (self.strides.1, self.strides.0);
        Self { block: turned(self.block), origin: turned(self.origin), strides, ..self }
    }

    /// The same blocks with other scales.
    pub(super) fn moved_to(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// From some column on.
    pub(super) fn from(self, column: usize) -> Self {
        Self { origin: (self.origin.0, self.origin.1 + column), ..self }
    }

    /// The float32 scales of the rows from `first` on, in some column.
    #[inline(always)]
    pub(super) fn down(&self, first: usize, column: usize, out: &mut [f32]) {
        let Codes::F32(values) = self.codes else { unreachable!("scales of elements") };
        let (row, column) = (self.origin.0 + first, self.origin.1 + column);
        let mut at = self.offset as isize
            + (row / self.block.0) as isize * self.strides.0
            + (column / self.block.1) as isize * self.strides.1;
        // Not a division for each.
        let mut left = self.block.0 - row % self.block.0;
        for out in out {
            if left == 0 {
                at += self.strides.0;
                left = self.block.0;
            }
            left -= 1;
            *out = values[at as usize];
        }
    }
}

impl<'a> Operand<'a> {
    /// The scales of the elements.
    #[inline(always)]
    pub(super) fn inner_scales(&self) -> Option<&Scales<'a>> {
        self.scales.as_ref().filter(|scales| !matches!(scales.codes, Codes::F32(_)))
    }

    /// The scales of the sums.
    #[inline(always)]
    pub(super) fn outer_scales(&self) -> Option<&Scales<'a>> {
        self.scales.as_ref().filter(|scales| matches!(scales.codes, Codes::F32(_)))
    }

    /// The elements alone, without the scales of the sums.
    pub(super) fn elements(self) -> Self {
        Self { scales: self.inner_scales().copied(), tensor_scale: None, ..self }
    }

    /// Terms in each of the tiles of `k`, which runs along the rows, if the sums have several scales along it.
    pub(super) fn tile(&self) -> Option<usize> {
        self.outer_scales().map(|scales| scales.block.1).filter(|&tile| tile < self.shape.1)
    }

    /// Whether all elements may be numbers of bfloat16, but for scaled ones that are too small: by the widths of their
    /// significands.
    pub(super) fn may_be_bfloat16(&self) -> bool {
        let significand = |format: &FloatFormat| format.mantissa_bits + 1;
        match self.inner_scales() {
            None => super::panel::fits_bfloat16(self.format),
            // A power of two adds no bits.
            Some(scales) if scales.format.mantissa_bits == 0 => significand(self.format) <= 8,
            Some(scales) => significand(self.format) + significand(scales.format) <= 8,
        }
    }
}

/// Neighbours whose scales are looked at together: no vector has more.
const GROUP: usize = 16;

/// The scales of a tile's elements.
struct Factors<const N: usize> {
    /// Those along the first block of lines, then along the next.
    values: [f32; N],
    /// How many are along a line.
    along: usize,
    /// Lines, and elements of a line, that share one, and how many are left of the first of them.
    block: (usize, usize),
    first: (usize, usize),
}

/// The scales of a tile, to be decoded.
struct Found<'a> {
    /// Lines of scales are along lines of the tile.
    scales: Scales<'a>,
    first: isize,
    /// Lines of scales, and scales of a line.
    counts: (usize, usize),
    /// Lines, and elements of a line, before the tile that share its first scale.
    within: (usize, usize),
}

impl<'a> Found<'a> {
    #[inline(always)]
    fn new(scales: &Scales<'a>, area: Area) -> Self {
        let turned = if area.across { *scales } else { scales.transposed() };
        let (line, start) = if area.across { area.first } else { (area.first.1, area.first.0) };
        let (line, start) = (turned.origin.0 + line, turned.origin.1 + start);
        let block = turned.block;
        let within = (line % block.0, start % block.1);
        let count = |within: usize, elements: usize, block: usize| (within + elements).div_ceil(block);
        let counts = (count(within.0, area.lines, block.0), count(within.1, area.run, block.1));
        let first = turned.offset as isize
            + (line / block.0) as isize * turned.strides.0
            + (start / block.1) as isize * turned.strides.1;
        Self { scales: turned, first, counts, within }
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.counts.0 * self.counts.1
    }

    /// Their values, of which there is room for `N`.
    #[inline(always)]
    fn factors<const N: usize>(&self) -> Factors<N> {
        let Self { scales, first, counts, within } = self;
        let mut codes = [0u32; N];
        match scales.codes {
            Codes::U8(from) => gather(scales, from, *first, *counts, &mut codes),
            Codes::U16(from) => gather(scales, from, *first, *counts, &mut codes),
            _ => unreachable!("no scales of elements"),
        }
        let mut values = [0.0; N];
        let all = self.count();
        decode_slice(scales.format, &DecodePlan::new(scales.format), &codes[..all], &mut values[..all]);
        let block = scales.block;
        let first = (block.0 - within.0, block.1 - within.1);
        Factors { values, along: counts.1, block, first }
    }
}

impl<const N: usize> Factors<N> {
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, tile: &mut Tile<f32>, lines: usize, run: usize) {
        // Whether groups have one scale each.
        let in_groups = self.block.1.is_multiple_of(GROUP) && self.first.1.is_multiple_of(GROUP);
        let mut spread = [0.0; RUN];
        let mut left = 0;
        let mut values = &self.values[..];
        for (i, line) in tile.0.iter_mut().enumerate().take(lines) {
            let fresh = left == 0;
            if fresh {
                let here;
                (left, here) = if i == 0 { (self.first.0, 0) } else { (self.block.0, self.along) };
                values = &values[here..];
                if !in_groups {
                    self.spread(&values[..self.along], &mut spread);
                }
            }
            left -= 1;
            if in_groups {
                let mut rest = self.first.1;
                let mut values = values.iter();
                let mut value = values.next().copied().unwrap_or(1.0);
                for group in line[..run.next_multiple_of(GROUP)].chunks_exact_mut(GROUP) {
                    if rest == 0 {
                        value = values.next().copied().unwrap_or(1.0);
                        rest = self.block.1;
                    }
                    rest -= GROUP;
                    let scale = simd.splat(value);
                    for at in (0..GROUP).step_by(S::LANES) {
                        // SAFETY: LANES divides GROUP.
                        unsafe {
                            let at = group.as_mut_ptr().add(at);
                            simd.store(at, simd.mul(simd.load(at), scale));
                        }
                    }
                }
            } else {
                for (x, scale) in line.iter_mut().zip(&spread) {
                    *x *= scale;
                }
            }
            // Zeros times infinity or NaN are none.
            line[run..].fill(0.0);
        }
    }

    /// The scale of each element of a line.
    #[inline(always)]
    fn spread(&self, values: &[f32], spread: &mut [f32; RUN]) {
        let mut at = 0usize;
        for (i, &value) in values.iter().enumerate() {
            let length = if i == 0 { self.first.1 } else { self.block.1 };
            let end = RUN.min(at.saturating_add(length));
            spread[at..end].fill(value);
            at = end;
        }
    }
}

/// The codes of `counts` scales, lines of them one after the other.
#[inline(always)]
fn gather<C: Code>(scales: &Scales<'_>, from: &[C], first: isize, counts: (usize, usize), codes: &mut [u32]) {
    for (i, line) in codes.chunks_exact_mut(counts.1).enumerate().take(counts.0) {
        let start = first + i as isize * scales.strides.0;
        for (j, code) in line.iter_mut().enumerate() {
            *code = from[(start + j as isize * scales.strides.1) as usize].widen();
        }
    }
}

/// The scales that a tile has of blocks of 16 elements, even if it begins within some: room for more would take longer to
/// clear than they take to decode.
const FEW: usize = LINES * (RUN / 16 + 1);

/// Multiplies the elements of a tile by their scales.
pub(super) struct Scale<'a> {
    pub scales: &'a Scales<'a>,
    pub area: Area,
    pub tile: &'a mut Tile<f32>,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { scales, area, tile } = self;
        let found = Found::new(scales, area);
        if found.count() <= FEW {
            found.factors::<FEW>().multiply(simd, tile, area.lines, area.run);
        } else {
            found.factors::<{ LINES * RUN }>().multiply(simd, tile, area.lines, area.run);
        }
    }
}
