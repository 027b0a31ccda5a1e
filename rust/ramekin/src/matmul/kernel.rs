//! The microkernel: a tile of the product in registers.

use crate::simd::Simd;

/// Rows and columns of the tile that an instruction set keeps in registers.
#[inline(always)]
pub(super) const fn tile_shape<S: Simd>() -> (usize, usize) {
    (S::TILE.0, S::TILE.1 * S::LANES)
}

/// The most elements a tile has.
const MAX_TILE: usize = 12 * 32;

/// Continues the chains of one tile by the depth of the panels.
///
/// `a` and `b` are panels as [`super::panel::pack`] makes them. The tile's corner is `c[0]`, its rows are `ldc`
/// apart, `rows` by `columns` of it exist. `first` starts the chains at +0 instead of at what `c` holds.
#[inline(always)]
pub(super) fn tile<S: Simd>(
    simd: S,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    (rows, columns): (usize, usize),
    first: bool,
) {
    let (mr, nr) = tile_shape::<S>();
    if (rows, columns) == (mr, nr) {
        return full_tile(simd, a, b, c, ldc, first);
    }
    // An edge: the whole tile in a buffer, of which the part that exists comes and goes.
    let mut buffer = [0.0f32; MAX_TILE];
    if !first {
        for (to, from) in buffer.chunks_exact_mut(nr).zip(c.chunks(ldc)).take(rows) {
            to[..columns].copy_from_slice(&from[..columns]);
        }
    }
    full_tile(simd, a, b, &mut buffer, nr, first);
    for (from, to) in buffer.chunks_exact(nr).zip(c.chunks_mut(ldc)).take(rows) {
        to[..columns].copy_from_slice(&from[..columns]);
    }
}

#[inline(always)]
fn full_tile<S: Simd>(simd: S, a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, first: bool) {
    // Array lengths must be constants, which an associated constant cannot be yet: one arm per shape.
    match S::TILE {
        (12, 2) => chains::<S, 12, 2>(simd, a, b, c, ldc, first),
        (6, 2) => chains::<S, 6, 2>(simd, a, b, c, ldc, first),
        (4, 2) => chains::<S, 4, 2>(simd, a, b, c, ldc, first),
        _ => unreachable!("no microkernel of this shape"),
    }
}

#[inline(always)]
fn chains<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    first: bool,
) {
    let width = NV * S::LANES;
    let mut tile = [[simd.splat(0.0); NV]; MR];
    if !first {
        for (i, row) in tile.iter_mut().enumerate() {
            let c = &c[i * ldc..][..width];
            for (j, chain) in row.iter_mut().enumerate() {
                // SAFETY: c has NV * LANES elements and j < NV.
                *chain = unsafe { simd.load(c.as_ptr().add(j * S::LANES)) };
            }
        }
    }
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(width)) {
        // SAFETY: b has NV * LANES elements and j < NV.
        let b: [S::F32; NV] = std::array::from_fn(|j| unsafe { simd.load(b.as_ptr().add(j * S::LANES)) });
        for (row, &a) in tile.iter_mut().zip(a) {
            let a = simd.splat(a);
            for (chain, &b) in row.iter_mut().zip(&b) {
                *chain = simd.fma(a, b, *chain);
            }
        }
    }
    for (i, row) in tile.iter().enumerate() {
        let c = &mut c[i * ldc..][..width];
        for (j, &chain) in row.iter().enumerate() {
            // SAFETY: c has NV * LANES elements and j < NV.
            unsafe { simd.store(c.as_mut_ptr().add(j * S::LANES), chain) };
        }
    }
}
