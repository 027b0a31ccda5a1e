//! Codes to machine floats, exactly.

use super::CHUNK;
use super::plan::{fits, shape, truncates, with_shape};
use super::table::decode_by_table;
use crate::float::{Bits, Code, Float};
use crate::format::{FLOAT16, FloatFormat};
use crate::isa::{Kernel, Level};
use crate::simd::Simd;

/// The loop-invariant numbers of a conversion from a format's codes to `F`.
#[derive(Clone, Copy)]
pub(crate) struct DecodePlan<F: Float> {
    shift: u32,
    sign_shift: u32,
    sign_bit: F::Bits,
    magnitude_mask: F::Bits,
    max_code: F::Bits,
    /// The code of infinity, or one that no code reaches.
    infinity: F::Bits,
    /// What takes the exponent field of the format to that of `F`.
    rebias: F::Bits,
    /// The lowest bit of F's exponent field.
    leading: F::Bits,
    smallest_normal: F,
    smallest_normal_code: F::Bits,
    /// The value of code 0 of a format without zero.
    lowest: F,
}

impl<F: Float> DecodePlan<F> {
    pub(crate) fn new(format: &FloatFormat) -> Self {
        let code = F::Bits::from_u32;
        Self {
            shift: F::MANTISSA_BITS - format.mantissa_bits,
            sign_shift: F::WIDTH - format.bits(),
            sign_bit: code(format.sign_bit()),
            magnitude_mask: code(format.magnitude_mask()),
            max_code: code(format.max_code()),
            infinity: format.infinity_code().map_or(F::Bits::ONES, code),
            rebias: F::Bits::from_i32(F::BIAS - format.bias) << F::MANTISSA_BITS,
            leading: F::Bits::ONE << F::MANTISSA_BITS,
            smallest_normal: F::power_of_two(format.min_exponent()),
            smallest_normal_code: F::Bits::ONE << format.mantissa_bits,
            lowest: F::power_of_two_or_subnormal(-format.bias),
        }
    }
}

/// The definition: one code to its value. Bits above the format's are ignored.
#[inline(always)]
pub(crate) fn decode_one<F: Float, const SHAPE: u8>(p: &DecodePlan<F>, code: u32) -> F {
    let code = F::Bits::from_u32(code);
    let magnitude = code & p.magnitude_mask;
    let sign = (code & p.sign_bit) << p.sign_shift;
    let fields = magnitude << p.shift;
    if SHAPE == shape::TRUNCATED {
        // The fields are F's own, NaN payloads included.
        return F::from_bits_of(fields | sign);
    }
    if SHAPE == shape::POWER_OF_TWO {
        // The field is the exponent, that of code 0 too, which as fields of F would be zero.
        let moved = F::from_bits_of(fields.plus(p.rebias));
        let value = if magnitude == F::Bits::ZERO { p.lowest } else { moved };
        return if magnitude > p.max_code { F::from_bits_of(F::NAN) } else { value };
    }
    // 1. A normal number: the exponent field moves to F's bias.
    // 2. A subnormal one: its mantissa under the leading bit of the smallest normal number, which is then taken
    //    away, exactly. (Scaling the fields, read as F, would do both, but CPUs are slow on subnormal operands.)
    let moved = fields.plus(p.rebias);
    let subnormal = (F::from_bits_of(moved.plus(p.leading)) - p.smallest_normal).bits();
    let value = if magnitude < p.smallest_normal_code { subnormal } else { moved };
    // 3. Codes above the largest finite are infinity or NaN.
    let special = if magnitude == p.infinity { F::INFINITY } else { F::NAN };
    let mut bits = if magnitude > p.max_code { special } else { value };
    if SHAPE == shape::UNSIGNED_ZERO || SHAPE == shape::NAN_OVERFLOW {
        bits = if code & (p.magnitude_mask | p.sign_bit) == p.sign_bit { F::NAN } else { bits };
    }
    F::from_bits_of(bits | sign)
}

/// The loop that inlines into other kernels.
#[inline(always)]
pub(crate) fn decode_slice<F: Float, C: Code>(
    format: &FloatFormat,
    plan: &DecodePlan<F>,
    src: &[C],
    dst: &mut [F],
) {
    let plan = *plan;
    with_shape!(format, truncates::<F>(format), false, SHAPE => {
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = decode_one::<F, SHAPE>(&plan, src.widen());
        }
    });
}

struct Decode<'a, F, C> {
    format: &'a FloatFormat,
    src: &'a [C],
    dst: &'a mut [F],
}

impl<F: Float, C: Code> Kernel for Decode<'_, F, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        decode_slice(self.format, &DecodePlan::new(self.format), self.src, self.dst);
    }
}

/// float16 by the CPU's own instruction.
struct Halves<'a> {
    src: &'a [u16],
    dst: &'a mut [f32],
}

impl Kernel for Halves<'_> {
    /// How many codes were decoded: all whole vectors, or none where there is no instruction.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        if !S::HAS_FLOAT16 {
            return 0;
        }
        let (src, dst) = (self.src.chunks_exact(S::LANES), self.dst.chunks_exact_mut(S::LANES));
        for (src, dst) in src.zip(dst) {
            // SAFETY: LANES codes and as many floats.
            unsafe { simd.store(dst.as_mut_ptr(), simd.quiet(simd.float16_values(src.as_ptr()))) };
        }
        self.src.len() / S::LANES * S::LANES
    }
}

/// Takes the short ways to float32 where they apply, and tells how many codes it took.
fn by_instructions<F: Float, C: Code>(level: Level, format: &FloatFormat, src: &[C], dst: &mut [F]) -> usize {
    let Some(dst) = F::as_f32_mut(dst) else { return 0 };
    if let Some(src) = C::of_u8(src) {
        decode_by_table(level, format, src, dst)
    } else if let Some(src) = C::of_u16(src)
        && *format == FLOAT16
    {
        level.run(Halves { src, dst })
    } else {
        0
    }
}

struct Narrow<'a, F> {
    src: &'a [f64],
    dst: &'a mut [F],
}

impl<F: Float> Kernel for Narrow<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (dst, &src) in self.dst.iter_mut().zip(self.src) {
            *dst = F::from_f64(src);
        }
    }
}

/// Rounds float64 to `F`, to nearest even.
pub(super) fn narrow<F: Float>(level: Level, src: &[f64], dst: &mut [F]) {
    level.run(Narrow { src, dst });
}

/// Writes the value of each code of `format` in `src`. Bits above the format's are ignored. A number of the
/// format that is none of `F`'s (only formats that are not named have such) is rounded to nearest even.
///
/// # Panics
///
/// If the lengths differ, `C` is narrower than a code, or the CPU lacks `level`.
pub fn decode<F: Float, C: Code>(level: Level, format: &FloatFormat, src: &[C], dst: &mut [F]) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    assert!(C::WIDTH >= format.bits(), "{format} does not fit {} bits", C::WIDTH);
    if !fits::<F>(format) {
        // Numbers that are none of F's are rounded to nearest even.
        let mut wide = [0f64; CHUNK];
        for (src, dst) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)) {
            let wide = &mut wide[..src.len()];
            decode(level, format, src, wide);
            narrow(level, wide, dst);
        }
        return;
    }
    let done = by_instructions(level, format, src, dst);
    level.run(Decode { format, src: &src[done..], dst: &mut dst[done..] });
}
