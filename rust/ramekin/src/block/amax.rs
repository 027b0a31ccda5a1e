//! The largest magnitudes of blocks.

use crate::float::{Bits, Float};
use crate::isa::Kernel;
use crate::simd::{Ahead, ROWS, STREAMS, Simd};

/// Raises `most`, one for each block of `width` columns, to the largest magnitudes of a part of a row that starts
/// `first` columns into its first block. Magnitudes are compared as bits, so that NaN is the largest of all.
pub(super) struct Amax<'a, F: Float> {
    pub row: &'a [F],
    pub first: usize,
    pub width: usize,
    /// Whether memory is to be brought near: there is more than stays in a core's own caches.
    pub far: bool,
    pub most: &'a mut [F::Bits],
}

impl<F: Float> Kernel for Amax<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { row, first, width, far, most } = self;
        let ahead = if far { Ahead::Bytes(2 * PART * size_of::<F>()) } else { Ahead::Nothing };
        // The common widths, so that the compiler knows them.
        let done = match (F::as_f32(row), width, first) {
            (Some(row), 32, 0) => by_blocks::<F, S, 32>(simd, row, ahead, most),
            (Some(row), 16, 0) => by_blocks::<F, S, 16>(simd, row, ahead, most),
            _ => 0,
        };
        let (mut rest, mut here) = (&row[done..], width - first);
        for most in &mut most[done / width..] {
            let (block, after) = rest.split_at(here.min(rest.len()));
            *most = (*most).max(largest(block, ahead));
            (rest, here) = (after, width);
        }
    }
}

/// Goes through whole blocks, some at a time, and tells how many elements they have.
#[inline(always)]
fn by_blocks<F: Float, S: Simd, const WIDTH: usize>(
    simd: S,
    row: &[f32],
    ahead: Ahead,
    most: &mut [F::Bits],
) -> usize {
    let (blocks, _) = row.as_chunks::<WIDTH>();
    let (groups, _) = blocks.as_chunks::<ROWS>();
    for (blocks, most) in groups.iter().zip(most.chunks_exact_mut(ROWS)) {
        ahead.bring(blocks.as_flattened());
        for (most, here) in most.iter_mut().zip(simd.largest(blocks)) {
            *most = (*most).max(F::Bits::from_u32(here));
        }
    }
    groups.len() * ROWS * WIDTH
}

/// Elements that are compared at a time.
const PART: usize = 128;

/// The largest magnitude of a block.
#[inline(always)]
fn largest<F: Float>(block: &[F], ahead: Ahead) -> F::Bits {
    let (parts, rest) = block.as_chunks::<PART>();
    let mut all = [F::Bits::ZERO; PART];
    let each = parts.len() / STREAMS;
    for i in 0..each {
        for stream in 0..STREAMS {
            let part = &parts[stream * each + i];
            ahead.bring(part);
            raise(&mut all, part);
        }
    }
    for part in &parts[STREAMS * each..] {
        raise(&mut all, part);
    }
    raise(&mut all, rest);
    all.into_iter().fold(F::Bits::ZERO, Ord::max)
}

/// Raises each to the magnitude of an element, if that is larger.
#[inline(always)]
fn raise<F: Float>(all: &mut [F::Bits; PART], part: &[F]) {
    for (most, x) in all.iter_mut().zip(part) {
        *most = (*most).max(x.bits() & (F::Bits::ONES >> 1));
    }
}
