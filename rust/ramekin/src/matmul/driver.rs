//! Blocks for the caches and shares for the threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::block::{Block, Pack, RowBlock};
use super::kernel::tile_shape;
use super::operand::Operand;
use super::pairs;
use super::panel::{DEPTH, Smallest, Unit, fits_bfloat16, panel_len};
use super::right::{Right, Rights, Side};
use super::scratch::{Packed, Scratch};
use super::stack::Stack;
use super::vector;
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

/// Columns of a block: the packed block of B stays in the cache that the cores share.
pub(super) const COLUMNS: usize = 2048;
/// Rows of a block: the packed block of A stays in a core's second-level cache.
const ROWS: usize = 96;
/// Below so many multiply-adds, waking another thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;
/// The most elements of the product that a thread makes aside, where they do not come in the order of its rows.
const ASIDE: usize = 1 << 18;

/// `c = a b`, by the definition in [this module](super). `c` is row-major.
///
/// # Errors
///
/// If the thread pool's setting is wrong.
///
/// # Panics
///
/// If the shapes do not fit, `b` was packed for another level, or the CPU lacks `level`.
pub fn matmul(level: Level, a: &Operand<'_>, b: Right<'_>, c: &mut [f32]) -> Result<(), ThreadsError> {
    one(level, a, Side::new(b), c, &AtomicBool::new(false))
}

/// The products of a batch of pairs of matrices, one after the other in `c`.
///
/// Once `stop` is true the products end early, within milliseconds, and leave `c` unfinished.
///
/// # Errors
///
/// As [`matmul`].
///
/// # Panics
///
/// As [`matmul`], or if the batches differ in number.
pub fn matmul_batch(
    level: Level,
    a: &Stack<'_>,
    b: Rights<'_>,
    c: &mut [f32],
    stop: &AtomicBool,
) -> Result<(), ThreadsError> {
    let (count, (m, k)) = (a.count(), a.shape());
    let (repeated, n) = match b {
        Rights::Stack(b) => {
            assert_eq!(count, b.count(), "the batches differ");
            (b.repeated().map(Side::Operand), b.shape().1)
        }
        Rights::Packed(b) => (Some(Side::new(Right::Packed(b))), b.shape().1),
    };
    assert_eq!(c.len(), count * m * n, "the results have another size");
    if c.is_empty() {
        return Ok(());
    }
    // The same matrix on the right: rows of a batch are rows of one product.
    if let (Some(b), Some(a)) = (repeated, a.rows()) {
        return one(level, &a, b, c, stop);
    }
    let right = |i| match b {
        Rights::Stack(b) => Side::Operand(b.matrix(i)),
        Rights::Packed(b) => Side::new(Right::Packed(b)),
    };
    let all = m.saturating_mul(n).saturating_mul(k).saturating_mul(count);
    let threads = if all < PARALLEL_WORK { 1 } else { parallel::threads()? };
    if threads > 1 && count >= threads {
        // Whole products for each thread: nothing is packed twice.
        let run = Run { level, threads: 1, stop };
        return parallel::install(|| {
            c.par_chunks_exact_mut(m * n)
                .enumerate()
                .for_each(|(i, c)| run.product(&a.matrix(i), right(i), c));
        });
    }
    c.chunks_exact_mut(m * n).enumerate().try_for_each(|(i, c)| one(level, &a.matrix(i), right(i), c, stop))
}

/// One product, which ends early once `stop` is true.
pub(super) fn one(
    level: Level,
    a: &Operand<'_>,
    b: Side<'_>,
    c: &mut [f32],
    stop: &AtomicBool,
) -> Result<(), ThreadsError> {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let threads =
        if m.saturating_mul(n).saturating_mul(k) < PARALLEL_WORK { 1 } else { parallel::threads()? };
    let run = Run { level, threads, stop };
    if threads == 1 {
        run.product(a, b, c);
        Ok(())
    } else {
        parallel::install(|| run.product(a, b, c))
    }
}

/// How products run.
#[derive(Clone, Copy)]
struct Run<'a> {
    level: Level,
    threads: usize,
    /// Whether to end early.
    stop: &'a AtomicBool,
}

impl Run<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn product(self, a: &Operand<'_>, b: Side<'_>, c: &mut [f32]) {
        let Self { level, threads, .. } = self;
        let ((m, k), (depth, n)) = (a.shape(), b.shape());
        assert_eq!(k, depth, "the inner dimensions differ");
        assert_eq!(c.len(), m * n, "the result has another size");
        if k == 0 {
            c.fill(0.0);
        }
        if m == 0 || n == 0 || k == 0 || self.stopped() {
            return;
        }
        let (mr, nr) = level.run(Shape);
        match b {
            Side::Operand(b) if m == 1 => vector::product(level, a, &b.transposed(), c, threads),
            Side::Operand(b) if n == 1 => vector::product(level, &b.transposed(), a, c, threads),
            // Few columns fill no vector: rows and columns change places.
            Side::Operand(b) if n <= nr / 2 && m > n => {
                let shares = (m * n).div_ceil(ASIDE * threads);
                let mut turned = Vec::new();
                for rows in spans(m, m.div_ceil(shares)) {
                    turned.resize(n * rows.len(), 0.0);
                    let right = Side::Operand(a.transposed().columns(rows.clone()));
                    self.product(&b.transposed(), right, &mut turned);
                    let c = &mut c[rows.start * n..rows.end * n];
                    for (i, row) in c.chunks_exact_mut(n).enumerate() {
                        for (x, turned) in row.iter_mut().zip(turned.chunks_exact(rows.len())) {
                            *x = turned[i];
                        }
                    }
                }
            }
            // Few rows: the threads share the columns.
            b if threads > 1 && m < 2 * mr * threads && n >= 2 * nr * threads => {
                let shares = n.div_ceil(COLUMNS).max((m * n).div_ceil(ASIDE)).next_multiple_of(threads);
                let share = n.div_ceil(shares).next_multiple_of(nr);
                let c = Mutex::new(c);
                spans(n, share).collect::<Vec<_>>().into_par_iter().for_each(|columns| {
                    let mut part = vec![0.0; m * columns.len()];
                    let run = Run { threads: 1, ..self };
                    run.blocks(a, b.columns(columns.clone()), &mut part, (mr, nr));
                    let mut c = c.lock().unwrap_or_else(PoisonError::into_inner);
                    for (row, part) in c.chunks_exact_mut(n).zip(part.chunks_exact(columns.len())) {
                        row[columns.clone()].copy_from_slice(part);
                    }
                });
            }
            b => self.blocks(a, b, c, (mr, nr)),
        }
    }

    fn blocks(self, a: &Operand<'_>, b: Side<'_>, c: &mut [f32], (mr, nr): (usize, usize)) {
        let Self { level, threads, .. } = self;
        let ((m, k), (_, n)) = (a.shape(), b.shape());
        // Equal shares, so that no thread idles at the end.
        let shares = m.div_ceil(ROWS).next_multiple_of(threads.min(m.div_ceil(mr)));
        let rows = m.div_ceil(shares).next_multiple_of(mr);
        let shares = m.div_ceil(rows);
        let multiply = |block: &Block<'_>, c: &mut [f32], smallest: &mut [Smallest]| {
            let multiply = |(i, (c, smallest)): (usize, (&mut [f32], &mut Smallest))| {
                let rows = i * rows..m.min((i + 1) * rows);
                if !self.stopped() {
                    level.run(RowBlock { a, rows, b: block.clone(), c, n, k, smallest });
                }
            };
            if threads == 1 {
                c.chunks_mut(rows * n).zip(smallest).enumerate().for_each(multiply);
            } else {
                c.par_chunks_mut(rows * n).zip(smallest).enumerate().for_each(multiply);
            }
        };
        match b {
            Side::Packed(packed, first, columns) => {
                assert_eq!(packed.level(), level, "packed for another level");
                for blocks in packed.blocks(first..first + columns, nr) {
                    let mut smallest = vec![Smallest::NONE; shares];
                    for block in blocks {
                        multiply(&block, c, &mut smallest);
                    }
                }
            }
            Side::Operand(b) => {
                let pairs = fits_bfloat16(a.format) && fits_bfloat16(b.format) && pairs::pay(level);
                let unit = if pairs { Unit::Pair } else { Unit::Float };
                let b = b.transposed();
                let mut scratch = Scratch::new(Packed::Block, block_len(n, k, nr, unit));
                for columns in spans(n, COLUMNS) {
                    let mut seen = Smallest::NONE;
                    let mut smallest = vec![Smallest::NONE; shares];
                    for depth in spans(k, DEPTH * unit.elements()) {
                        if self.stopped() {
                            return;
                        }
                        let memory = scratch.units();
                        let place = (&columns, &depth);
                        seen = seen.and(pack_block(level, &b, unit, place, nr, memory, threads));
                        let block =
                            Block { units: memory, unit, columns: columns.clone(), depth, smallest: seen };
                        multiply(&block, c, &mut smallest);
                    }
                }
            }
        }
    }
}

/// Packs a block of B, given transposed.
pub(super) fn pack_block(
    level: Level,
    b: &Operand<'_>,
    unit: Unit,
    (columns, depth): (&Range<usize>, &Range<usize>),
    nr: usize,
    memory: &mut [u32],
    threads: usize,
) -> Smallest {
    let pack = |columns: Range<usize>, packed: &mut [u32]| {
        level.run(Pack { operand: b, unit, columns, depth: depth.clone(), packed })
    };
    if threads == 1 {
        return pack(columns.clone(), memory);
    }
    // Whole panels for each thread.
    let panels = columns.len().div_ceil(nr);
    let share = panels.div_ceil(4 * threads).max(4);
    let len = panel_len(nr, unit.of(depth.len()));
    memory[..panels * len]
        .par_chunks_mut(share * len)
        .enumerate()
        .map(|(i, packed)| {
            let first = columns.start + i * share * nr;
            pack(first..columns.end.min(first + share * nr), packed)
        })
        .reduce(|| Smallest::NONE, Smallest::and)
}

/// Units that the largest block of B takes.
pub(super) fn block_len(n: usize, k: usize, nr: usize, unit: Unit) -> usize {
    COLUMNS.min(n).div_ceil(nr) * panel_len(nr, DEPTH.min(unit.of(k)))
}

pub(super) fn spans(n: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(step).map(move |first| first..n.min(first + step))
}

/// The tile of a level.
pub(super) struct Shape;

impl Kernel for Shape {
    type Output = (usize, usize);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (usize, usize) {
        tile_shape::<S>()
    }
}
