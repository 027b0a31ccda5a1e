//! Blocks for the caches and shares for the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, Pack, RowBlock};
use super::kernel::tile_shape;
use super::operand::Operand;
use super::packed::PackedMatrix;
use super::pairs;
use super::panel::{DEPTH, Smallest, Unit, fits_bfloat16, panel_len};
use super::scratch::Scratch;
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

/// The right-hand side of a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// As it lies in memory.
    Operand(&'a Operand<'a>),
    /// Packed before.
    Packed(&'a PackedMatrix),
}

impl Right<'_> {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Operand(operand) => operand.shape(),
            Self::Packed(packed) => packed.shape(),
        }
    }
}

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
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let threads =
        if m.saturating_mul(n).saturating_mul(k) < PARALLEL_WORK { 1 } else { parallel::threads()? };
    if threads == 1 {
        product(level, a, b, c, 1);
        Ok(())
    } else {
        parallel::install(|| product(level, a, b, c, threads))
    }
}

/// The products of several pairs of matrices of the same shapes, one after the other in `c`.
///
/// # Errors
///
/// As [`matmul`].
///
/// # Panics
///
/// As [`matmul`].
pub fn matmul_batch(
    level: Level,
    pairs: &[(Operand<'_>, Operand<'_>)],
    c: &mut [f32],
) -> Result<(), ThreadsError> {
    let Some((a, b)) = pairs.first() else { return Ok(()) };
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    assert_eq!(c.len(), pairs.len() * m * n, "the results have another size");
    if m * n == 0 {
        return Ok(());
    }
    let all = m.saturating_mul(n).saturating_mul(k).saturating_mul(pairs.len());
    if pairs.len() < 2 || all < PARALLEL_WORK || pairs.len() < parallel::threads()? {
        for ((a, b), c) in pairs.iter().zip(c.chunks_exact_mut(m * n)) {
            matmul(level, a, Right::Operand(b), c)?;
        }
        return Ok(());
    }
    // Whole products for each thread: nothing is packed twice.
    parallel::install(|| {
        pairs.par_iter().zip(c.par_chunks_exact_mut(m * n)).for_each(|((a, b), c)| {
            product(level, a, Right::Operand(b), c, 1);
        });
    })
}

fn product(level: Level, a: &Operand<'_>, b: Right<'_>, c: &mut [f32], threads: usize) {
    let ((m, k), (depth, n)) = (a.shape(), b.shape());
    assert_eq!(k, depth, "the inner dimensions differ");
    assert_eq!(c.len(), m * n, "the result has another size");
    if k == 0 {
        c.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let (mr, nr) = level.run(Shape);
    match b {
        Right::Operand(b) if m == 1 => vector::product(level, a, &b.transposed(), c, threads),
        Right::Operand(b) if n == 1 => vector::product(level, &b.transposed(), a, c, threads),
        // Few columns fill no vector: rows and columns change places.
        Right::Operand(b) if n <= nr / 2 && m > n => {
            let mut turned = vec![0.0; m * n];
            product(level, &b.transposed(), Right::Operand(&a.transposed()), &mut turned, threads);
            for (i, row) in c.chunks_exact_mut(n).enumerate() {
                for (x, turned) in row.iter_mut().zip(turned.chunks_exact(m)) {
                    *x = turned[i];
                }
            }
        }
        // Few rows: the threads share the columns.
        Right::Operand(b) if threads > 1 && m < 2 * mr * threads && n >= 2 * nr * threads => {
            let share = n.div_ceil(threads).next_multiple_of(nr);
            let parts: Vec<_> = spans(n, share).collect();
            let parts: Vec<(Range<usize>, Vec<f32>)> = parts
                .into_par_iter()
                .map(|columns| {
                    let mut part = vec![0.0; m * columns.len()];
                    blocks(level, a, Right::Operand(&b.columns(columns.clone())), &mut part, (mr, nr), 1);
                    (columns, part)
                })
                .collect();
            for (columns, part) in parts {
                for (row, part) in c.chunks_exact_mut(n).zip(part.chunks_exact(columns.len())) {
                    row[columns.clone()].copy_from_slice(part);
                }
            }
        }
        _ => blocks(level, a, b, c, (mr, nr), threads),
    }
}

fn blocks(
    level: Level,
    a: &Operand<'_>,
    b: Right<'_>,
    c: &mut [f32],
    (mr, nr): (usize, usize),
    threads: usize,
) {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    // Equal shares, so that no thread idles at the end.
    let shares = m.div_ceil(ROWS).next_multiple_of(threads.min(m.div_ceil(mr)));
    let rows = m.div_ceil(shares).next_multiple_of(mr);
    let shares = m.div_ceil(rows);
    let multiply = |block: &Block<'_>, c: &mut [f32], smallest: &mut [Smallest]| {
        let multiply = |(i, (c, smallest)): (usize, (&mut [f32], &mut Smallest))| {
            let rows = i * rows..m.min((i + 1) * rows);
            level.run(RowBlock { a, rows, b: block.clone(), c, n, k, smallest });
        };
        if threads == 1 {
            c.chunks_mut(rows * n).zip(smallest).enumerate().for_each(multiply);
        } else {
            c.par_chunks_mut(rows * n).zip(smallest).enumerate().for_each(multiply);
        }
    };
    match b {
        Right::Packed(packed) => {
            assert_eq!(packed.level(), level, "packed for another level");
            for columns in packed.blocks() {
                let mut smallest = vec![Smallest::NONE; shares];
                for block in columns {
                    multiply(&block, c, &mut smallest);
                }
            }
        }
        Right::Operand(b) => {
            let unit = unit(level, fits_bfloat16(a.format) && fits_bfloat16(b.format));
            let b = b.transposed();
            let mut scratch = Scratch::new(block_len(n, k, nr, unit));
            for columns in spans(n, COLUMNS) {
                let mut seen = Smallest::NONE;
                let mut smallest = vec![Smallest::NONE; shares];
                for depth in spans(k, DEPTH * unit.elements()) {
                    let memory = scratch.units();
                    seen = seen.and(pack_block(level, &b, unit, (&columns, &depth), nr, memory, threads));
                    let block =
                        Block { units: memory, unit, columns: columns.clone(), depth, smallest: seen };
                    multiply(&block, c, &mut smallest);
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

/// What B is packed in, where both operands' numbers are bfloat16's or not.
pub(super) fn unit(level: Level, bfloat16: bool) -> Unit {
    if bfloat16 && level.run(HasPairs) && pairs::agree(level) { Unit::Pair } else { Unit::Float }
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

/// Whether a level has the instruction for pairs.
struct HasPairs;

impl Kernel for HasPairs {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        S::HAS_PAIRS
    }
}
