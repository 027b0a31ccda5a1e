//! Blocks for the caches and shares for the threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::block::{Block, Pack, RowBlock};
use super::kernel::tile_shape;
use super::operand::Operand;
use super::outer::{Scale, Tiles, end_scales, scales_down, whole};
use super::pairs;
use super::panel::{DEPTH, Smallest, Unit, panel_len};
use super::right::{Right, Rights, Side};
use super::scratch::{Packed, Scratch};
use super::stack::Stack;
use super::vector;
use crate::isa::{Kernel, Level};
use crate::parallel::{Helpers, Never, Stop, ThreadsError, share_with};
use crate::simd::Simd;

/// Columns of a block: the packed block of B stays in the cache that the cores share.
pub(super) const COLUMNS: usize = 1024;
/// Rows of a block: the packed block of A stays in a core's second-level cache.
const ROWS: usize = 96;
/// Below so many multiply-adds, waking another thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;
/// The most elements of the product that a thread makes aside, where they do not come in the order of its rows.
const ASIDE: usize = 1 << 18;
/// Elements of partial sums that are held at a time.
const PART: usize = 1 << 18;

/// `c = a b`, by the definition in [this module](super). `c` is row-major.
///
/// # Errors
///
/// If the thread pool's setting is wrong.
///
/// # Panics
///
/// If the shapes do not fit, `b` was packed for another level, the CPU lacks `level`, or the operands' scales do not
/// fit ([`tiles_fit`](super::tiles_fit)).
pub fn matmul(level: Level, a: &Operand<'_>, b: Right<'_>, c: &mut [f32]) -> Result<(), ThreadsError> {
    one(level, a, Side::new(b), c, &Never)
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
    stop: &dyn Stop,
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
    let helpers = if all < PARALLEL_WORK { None } else { Helpers::new()? };
    if let Some(helpers) = &helpers
        && count >= helpers.threads()
    {
        // Whole products for each thread: nothing is packed twice.
        let run = Run { level, helpers: None, stop };
        share_with(Some(helpers), stop, c.chunks_exact_mut(m * n).enumerate(), count, |(i, c)| {
            run.product(&a.matrix(i), right(i), c);
        });
        return Ok(());
    }
    c.chunks_exact_mut(m * n).enumerate().try_for_each(|(i, c)| one(level, &a.matrix(i), right(i), c, stop))
}

/// One product, which ends early once `stop` is true.
pub(super) fn one(
    level: Level,
    a: &Operand<'_>,
    b: Side<'_>,
    c: &mut [f32],
    stop: &dyn Stop,
) -> Result<(), ThreadsError> {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let small = m.saturating_mul(n).saturating_mul(k) < PARALLEL_WORK;
    let helpers = if small { None } else { Helpers::new()? };
    Run { level, helpers: helpers.as_ref(), stop }.product(a, b, c);
    Ok(())
}

/// Multiplies sums, which are not of tiles, by the scales at their ends.
pub(super) fn finish(level: Level, a: &Operand<'_>, b: Side<'_>, c: &mut [f32], stop: &dyn Stop) {
    if !c.is_empty() && a.shape().1 > 0 {
        Run { level, helpers: None, stop }.finish(a, b, c, false);
    }
}

/// How products run.
#[derive(Clone, Copy)]
struct Run<'a> {
    level: Level,
    /// Who shares the work, if anybody.
    helpers: Option<&'a Helpers>,
    /// Whether to end early.
    stop: &'a dyn Stop,
}

impl Run<'_> {
    fn stopped(&self) -> bool {
        self.stop.stopped()
    }

    fn threads(self) -> usize {
        self.helpers.map_or(1, Helpers::threads)
    }

    /// Applies `work` to each of `count` items.
    fn share<T: Send>(
        self,
        items: impl Iterator<Item = T> + Send,
        count: usize,
        work: impl Fn(T) + Sync + Send,
    ) {
        share_with(self.helpers, self.stop, items, count, work);
    }

    fn product(self, a: &Operand<'_>, b: Side<'_>, c: &mut [f32]) {
        let ((m, k), (depth, n)) = (a.shape(), b.shape());
        assert_eq!(k, depth, "the inner dimensions differ");
        assert_eq!(c.len(), m * n, "the result has another size");
        if k == 0 {
            c.fill(0.0);
        }
        if m == 0 || n == 0 || k == 0 || self.stopped() {
            return;
        }
        let tiles = Tiles::new(a, &b);
        match (&tiles, b) {
            (Some(tiles), Side::Operand(b)) if m == 1 || n == 1 || tiles.length > DEPTH => {
                self.tile_by_tile(tiles, a, &b, c);
            }
            (_, b) => self.chains(a, b, c),
        }
        self.finish(a, b, c, tiles.is_some());
    }

    /// Multiplies sums by the scales at their ends.
    fn finish(self, a: &Operand<'_>, b: Side<'_>, c: &mut [f32], tiled: bool) {
        let right = match b {
            Side::Operand(b) => end_scales(&b.transposed(), tiled),
            Side::Packed(packed, ..) => packed.end_scales().map(<[f32]>::to_vec),
        };
        let left = end_scales(a, tiled);
        if (left.is_some() || right.is_some()) && !self.stopped() {
            let ones = |n| vec![1.0; n];
            let (m, n) = (a.shape().0, b.shape().1);
            self.scale(c, None, &left.unwrap_or_else(|| ones(m)), &right.unwrap_or_else(|| ones(n)));
        }
    }

    /// Where a tile of `k` does not fit a block, or vectors are multiplied: each tile's sums are a product of its own.
    fn tile_by_tile(self, tiles: &Tiles<'_>, a: &Operand<'_>, b: &Operand<'_>, c: &mut [f32]) {
        let ((m, k), n) = (a.shape(), b.shape().1);
        let (a, b) = (a.elements().transposed(), b.elements().transposed());
        c.fill(0.0);
        let most = (PART / n).max(192);
        let mut part = vec![0.0; most.min(m) * n];
        let (mut left, mut right) = (vec![0.0; most.min(m)], vec![0.0; n]);
        for (rows, c) in spans(m, most).zip(c.chunks_mut(most * n)) {
            let (part, left) = (&mut part[..c.len()], &mut left[..rows.len()]);
            let a = a.columns(rows.clone()).transposed();
            for terms in spans(k, tiles.length) {
                scales_down(tiles.left.as_ref(), rows.start, terms.start, left);
                scales_down(tiles.right.as_ref(), 0, terms.start, &mut right);
                let b = Side::Operand(b.columns(terms.clone()).transposed());
                self.chains(&a.columns(terms), b, part);
                if self.stopped() {
                    return;
                }
                self.scale(c, Some(part), left, &right);
            }
        }
    }

    /// See [`Scale`].
    fn scale(self, c: &mut [f32], part: Option<&[f32]>, left: &[f32], right: &[f32]) {
        let n = right.len();
        let few = c.len() < PARALLEL_WORK / 64;
        let run = if few { Self { helpers: None, ..self } } else { self };
        let rows = left.len().div_ceil(run.threads());
        let scale = |(i, c): (usize, &mut [f32])| {
            let part = part.map(|part| &part[i * rows * n..][..c.len()]);
            self.level.run(Scale { left: &left[i * rows..][..c.len() / n], part, c, right });
        };
        run.share(c.chunks_mut(rows * n).enumerate(), run.threads(), scale);
    }

    /// The sums, but for the scales at their ends.
    fn chains(self, a: &Operand<'_>, b: Side<'_>, c: &mut [f32]) {
        let (level, threads) = (self.level, self.threads());
        let (m, n) = (a.shape().0, b.shape().1);
        let (mr, nr) = level.run(Shape);
        match b {
            Side::Operand(b) if m == 1 => vector::product(level, a, &b.transposed(), c, self.helpers),
            Side::Operand(b) if n == 1 => vector::product(level, &b.transposed(), a, c, self.helpers),
            // Few columns fill no vector: rows and columns change places.
            Side::Operand(b) if n <= nr / 2 && m > n => {
                let shares = (m * n).div_ceil(ASIDE * threads);
                let mut turned = Vec::new();
                for rows in spans(m, m.div_ceil(shares)) {
                    turned.resize(n * rows.len(), 0.0);
                    let right = Side::Operand(a.transposed().columns(rows.clone()));
                    self.chains(&b.transposed(), right, &mut turned);
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
                let run = Self { helpers: None, ..self };
                self.share(spans(n, share), shares, |columns| {
                    let mut part = vec![0.0; m * columns.len()];
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
        let (level, threads) = (self.level, self.threads());
        let ((m, k), (_, n)) = (a.shape(), b.shape());
        // Equal shares, so that no thread idles at the end. A tile of fewer rows takes less time in proportion: whole
        // tiles matter only where there are few.
        let shares = m.div_ceil(ROWS).next_multiple_of(threads.min(m.div_ceil(mr)));
        let rows = m.div_ceil(shares);
        let shares = m.div_ceil(rows);
        let tiles = Tiles::new(a, &b);
        let multiply = |block: &Block<'_>, c: &mut [f32], smallest: &mut [Smallest]| {
            let multiply = |(i, (c, smallest)): (usize, (&mut [f32], &mut Smallest))| {
                let rows = i * rows..m.min((i + 1) * rows);
                level.run(RowBlock { a, rows, b: block.clone(), c, n, k, tiles, smallest });
            };
            self.share(c.chunks_mut(rows * n).zip(smallest).enumerate(), shares, multiply);
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
                let tile = tiles.map(|tiles| tiles.length);
                let even = tile.is_none_or(|tile| tile.is_multiple_of(2));
                let pairs = even && a.may_be_bfloat16() && b.may_be_bfloat16() && pairs::pay(level);
                let unit = if pairs { Unit::Pair } else { Unit::Float };
                let b = b.transposed();
                // Pairs may turn out not to hold what is scaled.
                let largest = if b.inner_scales().is_some() { Unit::Float } else { unit };
                let mut scratch = Scratch::new(Packed::Block, block_len(n, k, nr, largest));
                for columns in spans(n, COLUMNS) {
                    let mut seen = Smallest::NONE;
                    let mut smallest = vec![Smallest::NONE; shares];
                    let mut start = 0;
                    while start < k {
                        if self.stopped() {
                            return;
                        }
                        let unit = if seen == Smallest::LOST { Unit::Float } else { unit };
                        let depth = start..k.min(start + whole(DEPTH * unit.elements(), tile));
                        let memory = scratch.units();
                        let packed =
                            pack_block(level, &b, unit, (&columns, &depth), nr, memory, self.helpers);
                        seen = seen.and(packed);
                        if packed == Smallest::LOST {
                            continue;
                        }
                        start = depth.end;
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
    helpers: Option<&Helpers>,
) -> Smallest {
    let pack = |columns: Range<usize>, packed: &mut [u32]| {
        level.run(Pack { operand: b, unit, columns, depth: depth.clone(), packed })
    };
    let Some(helpers) = helpers else {
        return pack(columns.clone(), memory);
    };
    // Whole panels for each thread.
    let panels = columns.len().div_ceil(nr);
    let share = panels.div_ceil(4 * helpers.threads()).max(4);
    let len = panel_len(nr, unit.of(depth.len()));
    let smallest = Mutex::new(Smallest::NONE);
    let parts = memory[..panels * len].chunks_mut(share * len).enumerate();
    share_with(Some(helpers), &Never, parts, panels.div_ceil(share), |(i, packed)| {
        let first = columns.start + i * share * nr;
        let found = pack(first..columns.end.min(first + share * nr), packed);
        let mut smallest = smallest.lock().unwrap_or_else(PoisonError::into_inner);
        *smallest = smallest.and(found);
    });
    smallest.into_inner().unwrap_or_else(PoisonError::into_inner)
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
