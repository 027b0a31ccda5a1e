//! The walk that all accumulators share: rectangles of the result, by blocks of `k`.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::super::driver::spans;
use super::super::operand::Operand;
use super::super::panel::{Layout, ROW, Smallest, Unit, pack, panel_len, rows_len};
use super::super::scratch::{Packed, Scratch};
use crate::fpenv;
use crate::isa::{Kernel, Level};
use crate::parallel::{Helpers, Stop, share_with};
use crate::simd::Simd;

/// Columns whose sums are kept together: a panel of B.
pub(super) const WIDTH: usize = 16;

/// The most terms in a block: a panel of B of this depth stays in the first-level cache.
pub(in super::super) const DEPTH: usize = 256;

/// How the terms of an element are added up.
pub(super) trait Rule: Sync {
    /// The running sums of [`WIDTH`] neighbours.
    type Sums: Copy + Send;
    /// Rows and columns of the result whose running sums are held at a time.
    const RECTANGLE: (usize, usize);
    /// The sums of no terms.
    fn start(&self) -> Self::Sums;
    /// Terms that are added at once, at most [`DEPTH`]: a block holds whole steps, except before a chunk's end.
    fn step(&self) -> usize {
        1
    }
    /// Terms from one start of a step to one that must be the start of another.
    fn chunk(&self) -> usize {
        usize::MAX
    }
    /// Continues the sums of `R` rows.
    fn extend<S: Simd, const R: usize>(&self, simd: S, terms: Terms<'_, R>, sums: &mut [Self::Sums; R]);
    /// The sums as float32, NaN canonical.
    fn finish(&self, sums: &Self::Sums) -> [f32; WIDTH];
}

/// Consecutive terms of the sums of `R` rows and a panel's columns, as bits of float32.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a, const R: usize> {
    /// Of each row of A, as many elements as B has lines, or more.
    pub a: [&'a [u32]; R],
    /// A line for each `k`.
    pub b: &'a [[u32; WIDTH]],
    /// The first `k`.
    pub first: usize,
}

impl<const R: usize> Terms<'_, R> {
    /// Some of the terms, counted from the first of these.
    #[inline(always)]
    pub fn part(&self, range: Range<usize>) -> Self {
        let mut a = self.a;
        for row in &mut a {
            *row = &row[range.clone()];
        }
        Self { a, b: &self.b[range.clone()], first: self.first + range.start }
    }
}

/// `c = a b` by a rule. Once it is to stop it ends early.
pub(super) fn product<R: Rule>(
    level: Level,
    rule: &R,
    a: &Operand<'_>,
    b: &Operand<'_>,
    c: &mut [f32],
    helpers: Option<&Helpers>,
    stop: &dyn Stop,
) {
    let ((m, _), (_, n)) = (a.shape(), b.shape());
    if m == 0 || n == 0 {
        return;
    }
    let b = &b.transposed();
    let threads = helpers.map_or(1, Helpers::threads);
    if threads > 1 && m < 8 * threads && n >= WIDTH * threads {
        // Few rows: the threads share the columns.
        let share = n.div_ceil(threads).next_multiple_of(WIDTH);
        let c = Mutex::new(c);
        share_with(helpers, stop, spans(n, share), n.div_ceil(share), |columns| {
            let mut part = vec![0.0; m * columns.len()];
            band(level, rule, (a, 0..m), (b, columns.clone()), &mut part, stop);
            let mut c = c.lock().unwrap_or_else(PoisonError::into_inner);
            for (row, part) in c.chunks_exact_mut(n).zip(part.chunks_exact(columns.len())) {
                row[columns.clone()].copy_from_slice(part);
            }
        });
        return;
    }
    // Equal shares, so that no thread idles at the end.
    let shares = m.div_ceil(R::RECTANGLE.0).next_multiple_of(threads.min(m.div_ceil(8)));
    let rows = m.div_ceil(shares);
    let share = |(i, c): (usize, &mut [f32])| {
        band(level, rule, (a, i * rows..m.min((i + 1) * rows)), (b, 0..n), c, stop);
    };
    share_with(helpers, stop, c.chunks_mut(rows * n).enumerate(), m.div_ceil(rows), share);
}

/// Some rows of `a` times some columns of `b`, which is given transposed.
fn band<R: Rule>(
    level: Level,
    rule: &R,
    (a, rows): (&Operand<'_>, Range<usize>),
    (b, columns): (&Operand<'_>, Range<usize>),
    c: &mut [f32],
    stop: &dyn Stop,
) {
    // Rounding at the end, too, is in the default environment.
    let _guard = fpenv::Guard::new();
    let (most_rows, most_columns) = R::RECTANGLE;
    let stride = columns.len();
    for (part, c) in spans(rows.len(), most_rows).zip(c.chunks_mut(most_rows * stride)) {
        let rows = rows.start + part.start..rows.start + part.end;
        for part in spans(stride, most_columns) {
            let columns = columns.start + part.start..columns.start + part.end;
            rectangle(level, rule, (a, rows.clone()), (b, columns), (&mut c[part.start..], stride), stop);
        }
    }
}

/// The same for so many rows and columns that all their sums are held. Rows of `c` are `stride` apart.
fn rectangle<R: Rule>(
    level: Level,
    rule: &R,
    (a, rows): (&Operand<'_>, Range<usize>),
    (b, columns): (&Operand<'_>, Range<usize>),
    (c, stride): (&mut [f32], usize),
    stop: &dyn Stop,
) {
    let k = a.shape().1;
    let panels = columns.len().div_ceil(WIDTH);
    let mut sums = vec![rule.start(); panels * rows.len()];
    let mut scratch =
        Scratch::new(Packed::Block, rows_len(rows.len()) + panels * panel_len(WIDTH, DEPTH.min(k)));
    let (packed_a, packed_b) = scratch.units().split_at_mut(rows_len(rows.len()));
    let mut first = 0;
    while first < k {
        if stop.stopped() {
            return;
        }
        let end = block_end(rule.step(), rule.chunk(), first, k);
        level.run(Pack {
            operand: a,
            outer: rows.clone(),
            depth: first..end,
            layout: Layout::Rows,
            packed: packed_a,
        });
        let layout = Layout::Panels { width: WIDTH };
        level.run(Pack { operand: b, outer: columns.clone(), depth: first..end, layout, packed: packed_b });
        let (a, b) = (&*packed_a, &*packed_b);
        level.run(Extend { rule, a, b, rows: rows.len(), first, depth: end - first, sums: &mut sums });
        first = end;
    }
    for (panel, sums) in sums.chunks(rows.len()).enumerate() {
        let column = panel * WIDTH;
        let width = WIDTH.min(columns.len() - column);
        for (row, sums) in sums.iter().enumerate() {
            c[row * stride + column..][..width].copy_from_slice(&rule.finish(sums)[..width]);
        }
    }
}

/// Where a block ends that starts at `first`: after whole chunks, if one fits, else after whole steps of one.
fn block_end(step: usize, chunk: usize, first: usize, k: usize) -> usize {
    let whole_steps = DEPTH / step * step;
    let mut end = first;
    loop {
        let chunk_end = (end / chunk).saturating_add(1).saturating_mul(chunk);
        let next = k.min(chunk_end).min(end + whole_steps);
        if next == end || next - first > DEPTH {
            return end;
        }
        end = next;
    }
}

struct Pack<'a> {
    operand: &'a Operand<'a>,
    outer: Range<usize>,
    depth: Range<usize>,
    layout: Layout,
    packed: &'a mut [u32],
}

impl Kernel for Pack<'_> {
    type Output = Smallest;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Smallest {
        pack(simd, self.operand, (self.outer, self.depth), (Unit::Float, self.layout), self.packed)
    }
}

/// Continues the sums of a rectangle by a packed block.
struct Extend<'a, R: Rule> {
    rule: &'a R,
    a: &'a [u32],
    b: &'a [u32],
    rows: usize,
    first: usize,
    depth: usize,
    /// Panel by panel.
    sums: &'a mut [R::Sums],
}

impl<R: Rule> Kernel for Extend<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // As many rows as keep their sums in registers, in float64; not 8, or the compiler makes vectors of rows.
        match S::LANES {
            16 => self.panels::<S, 6>(simd),
            8 => self.panels::<S, 2>(simd),
            _ => self.panels::<S, 1>(simd),
        }
    }
}

impl<R: Rule> Extend<'_, R> {
    #[inline(always)]
    fn panels<S: Simd, const N: usize>(self, simd: S) {
        let panels = self.b.chunks(panel_len(WIDTH, self.depth));
        for (panel, sums) in panels.zip(self.sums.chunks_mut(self.rows)) {
            let b = &panel.as_chunks::<WIDTH>().0[..self.depth];
            let (groups, rest) = sums.as_chunks_mut::<N>();
            let mut row = 0;
            for sums in groups {
                let terms = Terms { a: rows::<N>(self.a, row, self.depth), b, first: self.first };
                self.rule.extend(simd, terms, sums);
                row += N;
            }
            for sums in rest {
                let terms = Terms { a: rows::<1>(self.a, row, self.depth), b, first: self.first };
                self.rule.extend(simd, terms, std::array::from_mut(sums));
                row += 1;
            }
        }
    }
}

/// Rows of a packed block of A.
#[inline(always)]
fn rows<const N: usize>(a: &[u32], first: usize, depth: usize) -> [&[u32]; N] {
    let mut rows: [&[u32]; N] = [&[]; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &a[(first + i) * ROW..][..depth];
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_whole_steps_and_chunks() {
        let blocks = |step, chunk, k| {
            let mut ends = vec![];
            while ends.last() != Some(&k) {
                ends.push(block_end(step, chunk, ends.last().copied().unwrap_or(0), k));
            }
            ends
        };
        assert_eq!(blocks(1, usize::MAX, 600), [256, 512, 600]);
        assert_eq!(blocks(100, usize::MAX, 600), [200, 400, 600]);
        assert_eq!(blocks(1, 100, 600), [200, 400, 600]);
        assert_eq!(blocks(32, 128, 300), [256, 300]);
        assert_eq!(blocks(32, 300, 600), [256, 300, 556, 600]);
        assert_eq!(blocks(256, 1, 300), [256, 300]);
        assert_eq!(blocks(3, 255, 600), [255, 510, 600]);
        assert_eq!(blocks(1, usize::MAX - 1, 5), [5]);
    }
}
