//! A block of rows of A against a packed block of B.

use std::ops::Range;

use super::kernel::{Corner, Ends, tile, tile_shape};
use super::operand::Operand;
use super::outer::{Tiles, scales_down, whole};
use super::panel::{DEPTH, Layout, ROW, Smallest, Unit, pack, panel_len, rows_len, unpair};
use super::scratch::{Packed, Scratch};
use crate::isa::Kernel;
use crate::simd::{Simd, prefetch};

/// A packed block of B: `columns` by `depth`.
#[derive(Clone)]
pub(super) struct Block<'a> {
    pub units: &'a [u32],
    pub unit: Unit,
    pub columns: Range<usize>,
    pub depth: Range<usize>,
    /// The smallest element of the columns from the first `k` to the end of this block.
    pub smallest: Smallest,
}

impl<'a> Block<'a> {
    #[inline(always)]
    fn panels(&self, width: usize) -> impl Iterator<Item = (Range<usize>, &'a [u32])> + use<'a> {
        let (start, end) = (self.columns.start, self.columns.end);
        let panels = self.units.chunks(panel_len(width, self.unit.of(self.depth.len())));
        (start..end).step_by(width).map(move |j| j..end.min(j + width)).zip(panels)
    }
}

/// Packs columns of B, given transposed, into panels.
pub(super) struct Pack<'a> {
    pub operand: &'a Operand<'a>,
    pub unit: Unit,
    pub columns: Range<usize>,
    pub depth: Range<usize>,
    pub packed: &'a mut [u32],
}

impl Kernel for Pack<'_> {
    type Output = Smallest;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Smallest {
        let layout = Layout::Panels { width: tile_shape::<S>().1 };
        pack(simd, self.operand, (self.columns, self.depth), (self.unit, layout), self.packed)
    }
}

/// Continues the chains of some rows of the product by a block's depth.
pub(super) struct RowBlock<'a> {
    pub a: &'a Operand<'a>,
    pub rows: Range<usize>,
    pub b: Block<'a>,
    /// The rows of the product, `n` long each.
    pub c: &'a mut [f32],
    pub n: usize,
    /// The depth of the whole product.
    pub k: usize,
    /// Tiles of the depth, of which the block and each part of it hold whole ones but for the last.
    pub tiles: Option<Tiles<'a>>,
    /// The smallest element of the rows up to this block; updated where pairs are packed.
    pub smallest: &'a mut Smallest,
}

impl Kernel for RowBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let width = tile_shape::<S>().1;
        let mut scratch = Scratch::new(Packed::Rows, rows_len(self.rows.len()) + panel_len(width, DEPTH));
        let (rows, panel) = scratch.units().split_at_mut(rows_len(self.rows.len()));
        let pairs = self.b.unit == Unit::Pair && S::HAS_PAIRS && self.a.may_be_bfloat16();
        let mut unit = if pairs { Unit::Pair } else { Unit::Float };
        let step = whole(DEPTH, self.tiles.map(|tiles| tiles.length));
        let (all, mut start) = (self.b.depth.len(), 0);
        // One place that packs, and one that multiplies: they are large.
        while start < all {
            let part = if unit == Unit::Pair { 0..all } else { start..all.min(start + step) };
            let depth = self.b.depth.start + part.start..self.b.depth.start + part.end;
            let smallest = pack(simd, self.a, (self.rows.clone(), depth), (unit, Layout::Rows), rows);
            if unit == Unit::Pair {
                *self.smallest = self.smallest.and(smallest);
                if !self.smallest.never_underflows(self.b.smallest) {
                    unit = Unit::Float;
                    continue;
                }
            }
            start = part.end;
            self.multiply(simd, unit, rows, panel, part);
        }
    }
}

impl RowBlock<'_> {
    /// `part` of the block's depth, which `rows` holds in units of `unit`.
    #[inline(always)]
    fn multiply<S: Simd>(
        &mut self,
        simd: S,
        unit: Unit,
        rows: &[u32],
        floats: &mut [u32],
        part: Range<usize>,
    ) {
        let (most, width) = tile_shape::<S>();
        let first = self.b.depth.start + part.start;
        let length = self.tiles.map_or(part.len(), |tiles| tiles.length);
        let mut left = vec![];
        if let Some(Tiles { left: scales, .. }) = &self.tiles {
            left.resize(part.len().div_ceil(length) * self.rows.len(), 1.0);
            for (i, left) in left.chunks_exact_mut(self.rows.len()).enumerate() {
                scales_down(scales.as_ref(), self.rows.start, first + i * length, left);
            }
        }
        let mut right = [1.0; WIDTH];
        let units = unit.of(part.len());
        let mut panels = self.b.panels(width).peekable();
        while let Some((columns, panel)) = panels.next() {
            // The first tile of a panel would find it in the cache that the cores share. Its predecessor's tiles bring it
            // nearer, each a part.
            let next: &[u32] = panels.peek().map_or(&[], |(_, next)| next);
            let high = self.rows.len().div_ceil(most);
            let part_of_next = next.len().div_ceil(part.len().div_ceil(length) * high);
            let panel = if self.b.unit == unit {
                &panel[part.start * width..]
            } else {
                // Pairs that must go one by one. Parts begin at even elements.
                unpair(&panel[part.start / 2 * width..][..Unit::Pair.of(part.len()) * width], width, floats);
                &floats[..units * width]
            };
            for (i, start) in (0..part.len()).step_by(length).enumerate() {
                let here = first + start..first + part.len().min(start + length);
                if let Some(tiles) = &self.tiles {
                    scales_down(tiles.right.as_ref(), columns.start, here.start, &mut right[..columns.len()]);
                }
                // Tiles begin at even elements where there are pairs.
                let (panel, rows) = (&panel[unit.of(start) * width..], &rows[unit.of(start)..]);
                for (t, rows_here) in shares(self.rows.len(), most).enumerate() {
                    let scales =
                        self.tiles.map(|_| (&left[i * self.rows.len() + rows_here.start..], &right[..]));
                    let ends = Ends { first: here.start == 0, last: here.end == self.k, scales };
                    // What the product holds where the next tile goes is fetched while this one is made.
                    if !ends.first {
                        for i in rows_here.end..(rows_here.end + most).min(self.rows.len()) {
                            let at = self.c.as_ptr().wrapping_add(i * self.n + columns.start);
                            prefetch(at);
                            prefetch(at.wrapping_add(S::LANES));
                        }
                    }
                    let corner = Corner {
                        c: &mut self.c[rows_here.start * self.n + columns.start..],
                        stride: self.n,
                        rows: rows_here.len(),
                        columns: columns.len(),
                    };
                    let brought = (i * high + t) * part_of_next;
                    let next = &next[brought.min(next.len())..(brought + part_of_next).min(next.len())];
                    let operands = (&rows[rows_here.start * ROW..], panel, next);
                    tile(simd, unit, operands, unit.of(here.len()), corner, ends);
                }
            }
        }
    }
}

/// The most columns of a tile.
const WIDTH: usize = 32;

/// `n` in as few equal shares as are at most `most` each.
#[inline(always)]
fn shares(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = n.div_ceil(most).max(1);
    let (share, larger) = (n / count, n % count);
    (0..count).map(move |i| {
        let start = i * share + i.min(larger);
        start..start + share + usize::from(i < larger)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for n in 1..100 {
            let all: Vec<_> = shares(n, 12).collect();
            assert!(all.iter().all(|r| (1..=12).contains(&r.len())));
            assert_eq!(all.into_iter().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
            assert_eq!(shares(n, 12).count(), n.div_ceil(12));
        }
    }
}
