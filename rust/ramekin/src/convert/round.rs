//! Rounding to a format's grid without leaving the machine float: encode and decode in registers.

use super::decode::{DecodePlan, decode_one, narrow};
use super::encode::{encode_one, with_words};
use super::plan::{EncodePlan, fits, shape, truncates, with_direction, with_shape};
use super::{CHUNK, Conversion, encode};
use crate::float::Float;
use crate::format::{FloatFormat, Zero};
use crate::isa::{Kernel, Level};
use crate::random::Words;
use crate::rounding::direction;
use crate::simd::Simd;

struct RoundTo<'a, F: Float, const SHAPE: u8, const DIRECTION: u8> {
    encode: EncodePlan<F>,
    words: Words,
    decode: DecodePlan<F>,
    src: &'a [F],
    dst: &'a mut [F],
}

impl<F: Float, const SHAPE: u8, const DIRECTION: u8> Kernel for RoundTo<'_, F, SHAPE, DIRECTION> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (encode, decode) = (self.encode, self.decode);
        with_words::<_, _, DIRECTION>(self.words, self.src, self.dst, |x, word| {
            decode_one::<F, SHAPE>(&decode, encode_one::<F, SHAPE, DIRECTION>(&encode, x, word))
        });
    }
}

/// Replaces each number by the one of `format` that [`encode`](fn@encode) would choose.
///
/// # Panics
///
/// If the lengths differ or the CPU lacks `level`.
pub fn round_to<F: Float>(level: Level, format: &FloatFormat, options: Conversion, src: &[F], dst: &mut [F]) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    if format.mantissa_bits == F::MANTISSA_BITS {
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = encode::saturated(src, options.saturate);
        }
        return;
    }
    if !fits::<F>(format) {
        let (mut wide, mut rounded) = ([0f64; CHUNK], [0f64; CHUNK]);
        for (i, (src, dst)) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)).enumerate() {
            let (wide, rounded) = (&mut wide[..src.len()], &mut rounded[..src.len()]);
            for (wide, &src) in wide.iter_mut().zip(src) {
                *wide = src.to_f64();
            }
            round_to(level, format, options.after(i * CHUNK), wide, rounded);
            narrow(level, rounded, dst);
        }
        return;
    }
    let words = options.words;
    let (plan, back) = (EncodePlan::<F>::new(format, options), DecodePlan::<F>::new(format));
    with_shape!(format, truncates::<F>(format), plan.limit == plan.nan, SHAPE => with_direction!(options.rounding, DIRECTION => {
        level.run(RoundTo::<F, SHAPE, DIRECTION> { encode: plan, words, decode: back, src, dst });
    }));
}

/// A format's grid, for kernels that round as they go: of formats with two zeros.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    encode: EncodePlan<f64>,
    decode: DecodePlan<f64>,
}

impl Grid {
    pub(crate) fn new(format: &FloatFormat) -> Self {
        assert!(
            format.zero == Zero::Signed && format.signed && fits::<f64>(format) && !truncates::<f64>(format)
        );
        Self { encode: EncodePlan::new(format, Conversion::default()), decode: DecodePlan::new(format) }
    }

    /// The number of the format nearest to `x`, ties to even; infinity where that overflows.
    #[inline(always)]
    pub(crate) fn nearest(&self, x: f64) -> f64 {
        const SHAPE: u8 = shape::SIGNED_ZERO;
        let code = encode_one::<f64, SHAPE, { direction::TIES_TO_EVEN }>(&self.encode, x, 0);
        decode_one::<f64, SHAPE>(&self.decode, code)
    }
}
