//! The largest magnitudes of blocks.

use crate::float::{Bits, Float};
use crate::isa::Kernel;
use crate::simd::Simd;

/// Raises `most`, one for each block of `width` columns, to the largest magnitudes of a part of a row that starts
/// `first` columns into its first block. Magnitudes are compared as bits, so that NaN is the largest of all.
pub(super) struct Amax<'a, F: Float> {
    pub row: &'a [F],
    pub first: usize,
    pub width: usize,
    pub most: &'a mut [F::Bits],
}

impl<F: Float> Kernel for Amax<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match (self.width, self.first) {
            // The common widths, so that the compiler knows them.
            (32, 0) => by_blocks::<F, 32>(self.row, self.most),
            (16, 0) => by_blocks::<F, 16>(self.row, self.most),
            (width, first) => {
                let (mut rest, mut here) = (self.row, width - first);
                for most in self.most {
                    let (block, after) = rest.split_at(here.min(rest.len()));
                    *most = (*most).max(largest(block));
                    (rest, here) = (after, width);
                }
            }
        }
    }
}

#[inline(always)]
fn by_blocks<F: Float, const WIDTH: usize>(row: &[F], most: &mut [F::Bits]) {
    let (blocks, rest) = row.as_chunks::<WIDTH>();
    for (most, block) in most.iter_mut().zip(blocks) {
        *most = (*most).max(largest(block));
    }
    if let Some(most) = most.get_mut(blocks.len()) {
        *most = (*most).max(largest(rest));
    }
}

#[inline(always)]
fn largest<F: Float>(block: &[F]) -> F::Bits {
    let mut most = F::Bits::ZERO;
    for x in block {
        most = most.max(x.bits() & (F::Bits::ONES >> 1));
    }
    most
}
