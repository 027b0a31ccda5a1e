//! The microkernel: a tile of the product in registers.

use super::panel::{ROW, Unit};
use crate::simd::{Simd, prefetch, prefetch_far};

/// Lines of a panel to fetch ahead.
const AHEAD: usize = 16;

/// Units in a line of the cache.
const LINE: usize = 16;

/// Rows of A are fetched ahead by a line at a time.
const GROUP: usize = LINE;

/// Rows and columns of the tile that an instruction set keeps in registers.
#[inline(always)]
pub(super) const fn tile_shape<S: Simd>() -> (usize, usize) {
    (S::TILE.0, S::TILE.1 * S::LANES)
}

/// The part of the product that a tile covers: `rows` by `columns`, its rows `stride` apart.
pub(super) struct Corner<'a> {
    pub c: &'a mut [f32],
    pub stride: usize,
    pub rows: usize,
    pub columns: usize,
}

/// What happens to the chains of a tile at its ends.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    /// The sums start at +0 instead of at what the product holds.
    pub first: bool,
    /// They end here: NaN becomes the canonical one.
    pub last: bool,
    /// The scales of rows and columns, by whose products chains that start and end here are added to the sums. If not
    /// given, the chains are the sums.
    pub scales: Option<(&'a [f32], &'a [f32])>,
}

/// Continues the chains of one tile by `units` of depth.
///
/// `a` is a block of rows, from the tile's first row on, `b` a panel, both as [`super::panel::pack`] makes them. `next` is
/// what a later tile will read, and is brought near meanwhile.
#[inline(always)]
pub(super) fn tile<S: Simd>(
    simd: S,
    unit: Unit,
    (a, b, next): (&[u32], &[u32], &[u32]),
    units: usize,
    corner: Corner<'_>,
    ends: Ends<'_>,
) {
    let (mr, nr) = tile_shape::<S>();
    let Corner { rows, columns, stride, .. } = corner;
    assert!((1..=mr).contains(&rows) && (1..=nr).contains(&columns) && units <= ROW);
    assert!(a.len() >= (rows - 1) * ROW + units && b.len() >= units * nr, "panels end early");
    assert!(corner.c.len() >= (rows - 1) * stride + columns, "the tile leaves the product");
    assert!(ends.scales.is_none_or(|(a, b)| a.len() >= rows && b.len() >= nr), "scales end early");
    // Register arrays need constant lengths: a kernel for each number of rows, none for more than a tile has.
    macro_rules! with_rows {
        ($($n:literal)*) => {
            match rows {
                $($n if $n <= S::TILE.0 => with_rows!(@ $n),)*
                _ => unreachable!("a tile has no so many rows"),
            }
        };
        (@ $n:literal) => {
            // SAFETY: the assertions above.
            unsafe {
                match (unit, columns <= S::LANES) {
                    (Unit::Float, true) => chains::<S, $n, 1, false>(simd, (a, b, next), units, corner, ends),
                    (Unit::Float, false) => chains::<S, $n, 2, false>(simd, (a, b, next), units, corner, ends),
                    (Unit::Pair, true) if S::HAS_PAIRS => chains::<S, $n, 1, true>(simd, (a, b, next), units, corner, ends),
                    (Unit::Pair, false) if S::HAS_PAIRS => chains::<S, $n, 2, true>(simd, (a, b, next), units, corner, ends),
                    (Unit::Pair, _) => unreachable!("no instruction for pairs"),
                }
            }
        };
    }
    with_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// # Safety
///
/// `a` must have `MR` rows of `units`, `b` as many lines of a panel's width, and `corner` must be `MR` rows of more
/// than `NV - 1` vectors and at most `NV`, within its `c`; the scales of rows and columns must be as many.
#[inline(always)]
unsafe fn chains<S: Simd, const MR: usize, const NV: usize, const PAIRS: bool>(
    simd: S,
    (a, b, next): (&[u32], &[u32], &[u32]),
    units: usize,
    corner: Corner<'_>,
    ends: Ends<'_>,
) {
    let Corner { c, stride, columns, .. } = corner;
    let whole = columns == NV * S::LANES;
    let tail = columns - (NV - 1) * S::LANES;
    let c = c.as_mut_ptr();
    // The ends go through memory, row by row; between them `terms` keeps the chains in registers.
    let mut tile = [[simd.splat(0.0); NV]; MR];
    // SAFETY: the caller vouches for all that is read and written.
    unsafe {
        if !ends.first && ends.scales.is_none() {
            for (i, row) in tile.iter_mut().enumerate() {
                for (j, chain) in row.iter_mut().enumerate() {
                    let at = c.add(i * stride + j * S::LANES);
                    *chain = if whole || j + 1 < NV { simd.load(at) } else { simd.load_first(at, tail) };
                }
            }
        }
        let mut tile =
            terms::<S, MR, NV, PAIRS>(simd, a.as_ptr().cast(), b.as_ptr().cast(), next, units, tile);
        if let Some((left, right)) = ends.scales {
            for (i, row) in tile.iter_mut().enumerate() {
                let left = simd.splat(left[i]);
                for (j, chain) in row.iter_mut().enumerate() {
                    let at = c.add(i * stride + j * S::LANES);
                    let total = if ends.first {
                        simd.splat(0.0)
                    } else if whole || j + 1 < NV {
                        simd.load(at)
                    } else {
                        simd.load_first(at, tail)
                    };
                    let scale = simd.mul(left, simd.load(right.as_ptr().add(j * S::LANES)));
                    *chain = simd.fma(*chain, scale, total);
                }
            }
        }
        for (i, row) in tile.iter().enumerate() {
            for (j, &chain) in row.iter().enumerate() {
                let at = c.add(i * stride + j * S::LANES);
                let chain = if ends.last { simd.canonical(chain) } else { chain };
                if whole || j + 1 < NV {
                    simd.store(at, chain);
                } else {
                    simd.store_first(at, tail, chain);
                }
            }
        }
    }
}

/// # Safety
///
/// As [`chains`].
#[inline(always)]
unsafe fn terms<S: Simd, const MR: usize, const NV: usize, const PAIRS: bool>(
    simd: S,
    mut a: *const f32,
    mut b: *const f32,
    next: &[u32],
    units: usize,
    mut tile: [[S::F32; NV]; MR],
) -> [[S::F32; NV]; MR] {
    let line = S::TILE.1 * S::LANES;
    let groups = units / GROUP;
    // Lines of `next` for each group.
    let share = next.len().div_ceil(LINE).div_ceil(groups.max(1));
    let mut next = next.as_ptr();
    // SAFETY: the caller vouches for `units` lines of NV vectors and as many columns of MR rows.
    unsafe {
        for _ in 0..groups {
            // More streams than the CPU fetches ahead by itself.
            for i in 0..MR {
                prefetch(a.wrapping_add(i * ROW + 2 * GROUP));
            }
            for i in 0..share {
                prefetch_far(next.wrapping_add(i * LINE));
            }
            next = next.wrapping_add(share * LINE);
            // Written out by four: counters take turns with multiply-adds.
            for _ in 0..GROUP / 4 {
                term::<S, MR, NV, PAIRS>(simd, a, b, &mut tile);
                term::<S, MR, NV, PAIRS>(simd, a.add(1), b.add(line), &mut tile);
                term::<S, MR, NV, PAIRS>(simd, a.add(2), b.add(2 * line), &mut tile);
                term::<S, MR, NV, PAIRS>(simd, a.add(3), b.add(3 * line), &mut tile);
                (a, b) = (a.add(4), b.add(4 * line));
            }
        }
        for _ in groups * GROUP..units {
            term::<S, MR, NV, PAIRS>(simd, a, b, &mut tile);
            (a, b) = (a.add(1), b.add(line));
        }
    }
    tile
}

/// Continues the chains by one unit.
///
/// # Safety
///
/// `b` must be a line of `NV` vectors, and `a` the first of `MR` rows.
#[inline(always)]
unsafe fn term<S: Simd, const MR: usize, const NV: usize, const PAIRS: bool>(
    simd: S,
    a: *const f32,
    b: *const f32,
    tile: &mut [[S::F32; NV]; MR],
) {
    // SAFETY: the caller vouches for all that is read.
    unsafe {
        let mut line = [simd.splat(0.0); NV];
        for (j, b_lanes) in line.iter_mut().enumerate() {
            // The panel comes from the second-level cache.
            prefetch(b.wrapping_add(AHEAD * S::TILE.1 * S::LANES + j * S::LANES));
            *b_lanes = simd.load(b.add(j * S::LANES));
        }
        for (i, row) in tile.iter_mut().enumerate() {
            let a = simd.splat(*a.add(i * ROW));
            for (chain, &b) in row.iter_mut().zip(&line) {
                *chain = if PAIRS { simd.fma_pairs(a, b, *chain) } else { simd.fma(a, b, *chain) };
            }
        }
    }
}
