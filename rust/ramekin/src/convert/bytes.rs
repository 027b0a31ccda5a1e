//! float32 to codes of up to eight bits where the adder takes a direction: the same codes as `encode_one` gives, in
//! fewer steps.

use std::any::Any;

use super::encode::Encode;
use super::plan::{EncodePlan, shape};
use crate::float::{Code, Float};
use crate::isa::{Kernel, Level};
use crate::random::Words;
use crate::rounding::direction;
use crate::simd::{Ahead, BYTES, ByteSteps, FLOATS, Simd, sign};

/// Rounds whole blocks of `src`.
struct ToBytes<'a, const SHAPE: u8, const DIRECTION: u8> {
    plan: EncodePlan<f32>,
    steps: ByteSteps,
    src: &'a [f32],
    dst: &'a mut [u8],
}

impl<const SHAPE: u8, const DIRECTION: u8> Kernel for ToBytes<'_, SHAPE, DIRECTION> {
    /// How many elements were converted: all whole blocks, or none where the level has no such steps.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        if !S::HAS_DIRECTIONS {
            return 0;
        }
        // Copies on the stack of their own: the stores below cannot alias them, so they stay in registers.
        let (plan, steps) = (self.plan, self.steps);
        let ahead = Ahead::of(self.src);
        let (src, _) = self.src.as_chunks::<BYTES>();
        let (dst, _) = self.dst.as_chunks_mut::<BYTES>();
        for (dst, src) in dst.iter_mut().zip(src) {
            ahead.bring(src);
            if simd.are_numbers::<DIRECTION>(src) {
                to_bytes::<S, SHAPE, DIRECTION, BYTES>(simd, &steps, src, None, dst);
            } else {
                // (A function of its own: together they would need more registers than there are.)
                simd.call(Encode::<f32, u8, SHAPE, DIRECTION> { plan, words: Words::default(), src, dst });
            }
        }
        src.len() * BYTES
    }
}

/// [`Simd::to_bytes`] for a family of formats.
#[inline(always)]
pub(super) fn to_bytes<S: Simd, const SHAPE: u8, const DIRECTION: u8, const N: usize>(
    simd: S,
    steps: &ByteSteps,
    src: &[f32; BYTES],
    factors: Option<[&f32; BYTES / FLOATS]>,
    dst: &mut [u8; N],
) {
    match SHAPE {
        shape::UNSIGNED => simd.to_bytes::<DIRECTION, { sign::NONE }, N>(steps, src, factors, dst),
        shape::UNSIGNED_ZERO | shape::NAN_OVERFLOW => {
            simd.to_bytes::<DIRECTION, { sign::NOT_OF_ZERO }, N>(steps, src, factors, dst);
        }
        _ => simd.to_bytes::<DIRECTION, { sign::KEPT }, N>(steps, src, factors, dst),
    }
}

/// Takes the short way where it applies, and tells how many elements it took.
pub(super) fn by_bytes<F: Float, C: Code, const SHAPE: u8, const DIRECTION: u8>(
    level: Level,
    plan: &EncodePlan<F>,
    src: &[F],
    dst: &mut [C],
) -> usize {
    let other = matches!(SHAPE, shape::POWER_OF_TWO | shape::TRUNCATED) || DIRECTION == direction::STOCHASTIC;
    if other || src.len() < BYTES {
        return 0;
    }
    let plan = (plan as &dyn Any).downcast_ref::<EncodePlan<f32>>();
    let (Some(src), Some(dst), Some(plan)) = (F::as_f32(src), C::as_u8(dst), plan) else { return 0 };
    plan.byte_steps(DIRECTION)
        .map_or(0, |steps| level.run(ToBytes::<SHAPE, DIRECTION> { plan: *plan, steps, src, dst }))
}
