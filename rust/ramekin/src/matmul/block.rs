//! A block of rows of A against a packed block of B.

use std::ops::Range;

use super::kernel::{Corner, Ends, tile, tile_shape};
use super::operand::Operand;
use super::panel::{DEPTH, Layout, ROW, Smallest, Unit, fits_bfloat16, pack, panel_len, rows_len, unpair};
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
        if self.b.unit == Unit::Pair && S::HAS_PAIRS && fits_bfloat16(self.a.format) {
            let block = (self.rows.clone(), self.b.depth.clone());
            let smallest = pack(simd, self.a, block, (Unit::Pair, Layout::Rows), rows);
            *self.smallest = self.smallest.and(smallest);
            if self.smallest.never_underflows(self.b.smallest) {
                self.multiply(simd, Unit::Pair, rows, panel, 0..self.b.depth.len());
                return;
            }
        }
        for start in (0..self.b.depth.len()).step_by(DEPTH) {
            let part = start..self.b.depth.len().min(start + DEPTH);
            let depth = self.b.depth.start + part.start..self.b.depth.start + part.end;
            pack(simd, self.a, (self.rows.clone(), depth), (Unit::Float, Layout::Rows), rows);
            self.multiply(simd, Unit::Float, rows, panel, part);
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
        let ends = Ends {
            first: self.b.depth.start + part.start == 0,
            last: self.b.depth.start + part.end == self.k,
        };
        let units = unit.of(part.len());
        for (columns, panel) in self.b.panels(width) {
            let panel = if self.b.unit == unit {
                &panel[part.start * width..]
            } else {
                // Pairs that must go one by one. Parts begin at even elements.
                unpair(&panel[part.start / 2 * width..][..Unit::Pair.of(part.len()) * width], width, floats);
                &floats[..units * width]
            };
            for rows_here in shares(self.rows.len(), most) {
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
                tile(simd, unit, (&rows[rows_here.start * ROW..], panel), units, corner, ends);
            }
        }
    }
}

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
