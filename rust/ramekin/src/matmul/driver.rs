//! Blocks for the caches and rows for the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{tile, tile_shape};
use super::operand::Operand;
use super::panel::pack;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

/// Depth of a block: a panel of B of this depth stays in the first-level cache.
const DEPTH: usize = 256;
/// Columns of a block: the packed block of B stays in the cache that the cores share.
const COLUMNS: usize = 2048;
/// Rows of a block: the packed block of A stays in a core's second-level cache.
const ROWS: usize = 144;
/// Below so many multiply-adds, waking another thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;

/// `c = a b`, by the definition in [this module](super). `c` is row-major.
///
/// # Errors
///
/// If the thread pool's setting is wrong.
///
/// # Panics
///
/// If the shapes do not fit or the CPU lacks `level`.
pub fn matmul(level: Level, a: &Operand<'_>, b: &Operand<'_>, c: &mut [f32]) -> Result<(), ThreadsError> {
    let ((m, k), (depth, n)) = (a.shape(), b.shape());
    assert_eq!(k, depth, "the inner dimensions differ");
    assert_eq!(c.len(), m * n, "the result has another size");
    if k == 0 {
        c.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 {
        return Ok(());
    }
    let shape = level.run(Shape);
    if m.saturating_mul(n).saturating_mul(k) < PARALLEL_WORK {
        blocks(level, shape, a, b, c, 1);
        return Ok(());
    }
    let threads = parallel::threads()?;
    parallel::install(|| blocks(level, shape, a, b, c, threads))
}

fn blocks(
    level: Level,
    shape: (usize, usize),
    a: &Operand<'_>,
    b: &Operand<'_>,
    c: &mut [f32],
    threads: usize,
) {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let (mr, nr) = shape;
    let b = b.transposed();
    // Equal shares, so that no thread idles at the end.
    let shares = m.div_ceil(ROWS).next_multiple_of(threads.min(m.div_ceil(mr)));
    let rows = m.div_ceil(shares).next_multiple_of(mr);
    let mut packed = vec![0.0f32; COLUMNS.min(n).next_multiple_of(nr) * DEPTH.min(k)];

    for columns in spans(n, COLUMNS) {
        for depth in spans(k, DEPTH) {
            let packed = &mut packed[..columns.len().next_multiple_of(nr) * depth.len()];
            let pack_panel = |(i, panel): (usize, &mut [f32])| {
                let first = columns.start + i * nr;
                let rows = first..columns.end.min(first + nr);
                level.run(Pack { operand: &b, rows, depth: depth.clone(), panel });
            };
            let multiply = |packed: &[f32], (i, c): (usize, &mut [f32])| {
                let first = i * rows;
                level.run(RowBlock {
                    a,
                    rows: first..m.min(first + rows),
                    depth: depth.clone(),
                    packed,
                    c,
                    n,
                    columns: columns.clone(),
                    last: depth.end == k,
                });
            };
            let panel_len = nr * depth.len();
            if threads == 1 {
                packed.chunks_exact_mut(panel_len).enumerate().for_each(pack_panel);
                c.chunks_mut(rows * n).enumerate().for_each(|block| multiply(packed, block));
            } else {
                packed.par_chunks_exact_mut(panel_len).enumerate().for_each(pack_panel);
                c.par_chunks_mut(rows * n).enumerate().for_each(|block| multiply(packed, block));
            }
        }
    }
}

fn spans(n: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(step).map(move |first| first..n.min(first + step))
}

/// The tile of a level.
struct Shape;

impl Kernel for Shape {
    type Output = (usize, usize);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (usize, usize) {
        tile_shape::<S>()
    }
}

/// One panel of B.
struct Pack<'a> {
    operand: &'a Operand<'a>,
    rows: Range<usize>,
    depth: Range<usize>,
    panel: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        pack(self.operand, self.rows, self.depth, tile_shape::<S>().1, self.panel);
    }
}

/// A block of rows of A against the packed block of B.
struct RowBlock<'a> {
    a: &'a Operand<'a>,
    rows: Range<usize>,
    depth: Range<usize>,
    packed: &'a [f32],
    /// The block's rows of the result, `n` long each.
    c: &'a mut [f32],
    n: usize,
    columns: Range<usize>,
    last: bool,
}

impl Kernel for RowBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (mr, nr) = tile_shape::<S>();
        let (depth, first) = (self.depth.len(), self.depth.start == 0);
        let mut packed = vec![0.0f32; self.rows.len().next_multiple_of(mr) * depth];
        pack(self.a, self.rows.clone(), self.depth, mr, &mut packed);
        for (j, b) in self.columns.clone().step_by(nr).zip(self.packed.chunks_exact(nr * depth)) {
            for (i, a) in (0..self.rows.len()).step_by(mr).zip(packed.chunks_exact(mr * depth)) {
                let exists = (mr.min(self.rows.len() - i), nr.min(self.columns.end - j));
                tile(simd, a, b, &mut self.c[i * self.n + j..], self.n, exists, first);
            }
        }
        if self.last {
            for row in self.c.chunks_exact_mut(self.n) {
                for x in &mut row[self.columns.clone()] {
                    *x = if x.is_nan() { f32::from_bits(0x7fc0_0000) } else { *x };
                }
            }
        }
    }
}
