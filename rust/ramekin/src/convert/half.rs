//! float32 to the two 16-bit formats by ties-to-even, the commonest conversions of all: the same codes as
//! `encode_one` gives, in fewer steps. Both run into infinity by themselves, so this is for conversions that do not
//! saturate.

use crate::isa::Kernel;
use crate::simd::{Ahead, HALVES, Simd};

/// To float16, by the CPU's own instruction.
pub(super) struct ToFloat16<'a> {
    pub src: &'a [f32],
    pub dst: &'a mut [u16],
}

impl Kernel for ToFloat16<'_> {
    /// How many elements were converted: all whole blocks, or none where there is no instruction.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        if !S::HAS_FLOAT16 {
            return 0;
        }
        let (src, _) = self.src.as_chunks::<HALVES>();
        let (dst, _) = self.dst.as_chunks_mut::<HALVES>();
        let ahead = Ahead::of(self.src);
        for (dst, src) in dst.iter_mut().zip(src) {
            ahead.bring(src);
            simd.to_float16(src, dst);
        }
        src.len() * HALVES
    }
}

/// To bfloat16.
pub(super) struct ToBfloat16<'a> {
    pub src: &'a [f32],
    pub dst: &'a mut [u16],
}

impl Kernel for ToBfloat16<'_> {
    /// How many elements were converted: all whole blocks.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (src, _) = self.src.as_chunks::<HALVES>();
        let (dst, _) = self.dst.as_chunks_mut::<HALVES>();
        let ahead = Ahead::of(self.src);
        for (dst, src) in dst.iter_mut().zip(src) {
            ahead.bring(src);
            simd.to_bfloat16(src, dst);
        }
        src.len() * HALVES
    }
}
