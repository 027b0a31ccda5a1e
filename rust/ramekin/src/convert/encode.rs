//! Machine floats to codes, rounded once.

use super::bytes::by_bytes;
use super::half::{ToBfloat16, ToFloat16};
use super::plan::{EncodePlan, fits, shape, truncates, with_direction, with_shape};
use super::{CHUNK, Conversion};
use crate::float::{Bits, Code, Float};
use crate::format::{BFLOAT16, FLOAT16, FloatFormat};
use crate::isa::{Kernel, Level};
use crate::random::{self, Words};
use crate::rounding::{Rounding, direction};
use crate::simd::{Ahead, Simd};

/// The definition: one machine float to one code, in the low bits of the result; what lies above them is
/// unspecified. `word` is read by stochastic rounding only.
#[inline(always)]
pub(crate) fn encode_one<F: Float, const SHAPE: u8, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    x: F,
    word: u32,
) -> u32 {
    let bits = x.bits();
    let magnitude = bits & (F::Bits::ONES >> 1);
    let negative = bits > (F::Bits::ONES >> 1);
    // Whether a directed rounding goes away from zero.
    let outward = match DIRECTION {
        direction::TOWARD_POSITIVE => !negative,
        _ => negative,
    };
    let code = match (SHAPE, DIRECTION) {
        (shape::POWER_OF_TWO, _) => {
            let code = power_of_two::<F, DIRECTION>(p, magnitude, outward, word);
            // Zero, negative numbers and NaN have no code: one unsigned comparison finds them all.
            let none = bits.minus(F::Bits::ONE) >= F::INFINITY;
            return if none { p.nan } else { code }.low_u32();
        }
        (shape::TRUNCATED, _) => shorten::<F, DIRECTION>(p, magnitude, outward, word),
        (_, direction::STOCHASTIC) => stochastic(p, magnitude, word),
        _ => {
            // A finite number that does not go away from zero: one comparison tells the sign too.
            let inward = match DIRECTION {
                direction::TOWARD_POSITIVE => bits.signed_less(F::INFINITY | !(F::Bits::ONES >> 1)),
                direction::TOWARD_NEGATIVE => bits < F::INFINITY,
                _ => magnitude < F::INFINITY,
            };
            add_and_round::<F, DIRECTION>(p, magnitude, inward)
        }
    };
    // From here on bits above the code may be anything.
    let is_nan = SHAPE != shape::NAN_OVERFLOW && SHAPE != shape::NUMBERS && magnitude > F::INFINITY;
    let code = if is_nan { p.nan } else { code };
    if SHAPE == shape::UNSIGNED {
        // Negative numbers have no code either; -0 is zero.
        return if bits > !(F::Bits::ONES >> 1) { p.nan } else { code }.low_u32();
    }
    let sign = (bits >> p.sign_shift) & p.sign_bit;
    if SHAPE == shape::UNSIGNED_ZERO || SHAPE == shape::NAN_OVERFLOW {
        let signless = code & p.magnitude_mask == F::Bits::ZERO;
        // The same, said in two ways: each is the shorter one where it stands.
        return match DIRECTION {
            direction::TOWARD_POSITIVE | direction::TO_ODD if negative & !signless => code ^ p.sign_bit,
            direction::TOWARD_POSITIVE | direction::TO_ODD => code,
            _ if signless => code,
            _ => code ^ sign,
        }
        .low_u32();
    }
    (code ^ sign).low_u32()
}

/// One where the condition holds.
#[inline(always)]
fn one_if<B: Bits>(condition: bool) -> B {
    if condition { B::ONE } else { B::ZERO }
}

/// A magnitude to its code, normal and subnormal numbers alike, by letting the adder round.
///
/// 1. What overflows becomes the number whose code overflow gives; overflow is judged after rounding, since that
///    number is the one after the largest finite.
/// 2. Add the power of two whose unit in the last place is the format's at this magnitude (the spacing of the
///    subnormals below the smallest normal number): the adder rounds to nearest even, and the low bits of the sum
///    count units. The constant's own low bits hold the code's exponent field, less one where the leading
///    significand bit counts as a unit, so that the low bits are the code, carries included, and an even code is
///    what a tie goes to.
/// 3. What the adder lost is exact in `rounded - exact`, and turns its answer into that of other directions.
///    `inward` tells which finite numbers do not go away from zero, where the direction is none to nearest.
#[inline(always)]
fn add_and_round<F: Float, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    magnitude: F::Bits,
    inward: bool,
) -> F::Bits {
    let clamped = match DIRECTION {
        direction::TIES_TO_EVEN | direction::TIES_TO_AWAY => magnitude.min(p.ceiling),
        direction::TO_ODD if inward => magnitude.min(p.inward_ceiling),
        // Infinity is no overflow: it does not stop at the largest finite number.
        direction::TO_ODD => p.ceiling,
        _ => magnitude.min(p.directed_ceiling),
    };
    let exponent = (clamped & F::INFINITY).max(p.min_normal);
    let magic = exponent.plus(exponent >> p.shift).plus(p.to_magic);
    let (exact, magic) = (F::from_bits_of(clamped), F::from_bits_of(magic));
    let sum = exact + magic;
    let nearest = sum.bits();
    if DIRECTION == direction::TIES_TO_EVEN {
        return nearest;
    }
    let rounded = sum - magic;
    let less_if = |code: F::Bits, condition| if condition { code.minus(p.one) } else { code };
    match DIRECTION {
        direction::TIES_TO_AWAY => {
            let half = F::from_bits_of(exponent.minus(p.to_half));
            nearest.plus(one_if(exact - rounded == half))
        }
        direction::TOWARD_ZERO => less_if(nearest, inward & (rounded > exact)),
        direction::TOWARD_POSITIVE | direction::TOWARD_NEGATIVE => {
            let up = if rounded < exact { nearest.plus(p.one) } else { nearest };
            less_if(up, inward & (rounded != exact))
        }
        _ => {
            let down = less_if(nearest, rounded > exact);
            if rounded != exact { down | p.one } else { down }
        }
    }
}

/// Exponent and mantissa fields without the bits that go: below the last kept bit, whose value as a significand bit
/// is `last`, add what makes truncation round. A carry runs into the exponent, as it should.
#[inline(always)]
fn round_off<F: Float, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    fields: F::Bits,
    last: F::Bits,
    outward: bool,
    word: u32,
) -> F::Bits {
    let increment = match DIRECTION {
        direction::TIES_TO_EVEN => p.below_half.plus(last),
        direction::TIES_TO_AWAY => p.below_half.plus(F::Bits::ONE),
        direction::TOWARD_POSITIVE | direction::TOWARD_NEGATIVE if outward => p.dropped,
        direction::STOCHASTIC => aligned::<F>(word, p.shift),
        _ => F::Bits::ZERO,
    };
    let kept = fields.plus(increment) >> p.shift;
    match DIRECTION {
        direction::TO_ODD => kept | one_if(fields & p.dropped != F::Bits::ZERO),
        _ => kept,
    }
}

/// A magnitude to its code in a format that is a shortened `F`: subnormals and infinity are where F has them.
#[inline(always)]
fn shorten<F: Float, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    magnitude: F::Bits,
    outward: bool,
    word: u32,
) -> F::Bits {
    let last = (magnitude >> p.shift) & F::Bits::ONE;
    let code = round_off::<F, DIRECTION>(p, magnitude, last, outward, word);
    bounded::<F, DIRECTION>(p, code, magnitude, outward)
}

/// Overflow, judged after rounding. The code it gives is the one after the largest finite or, for formats without
/// specials, that itself: the smaller of the two is right. Directions toward zero stop at the largest finite.
#[inline(always)]
fn bounded<F: Float, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    code: F::Bits,
    magnitude: F::Bits,
    outward: bool,
) -> F::Bits {
    match DIRECTION {
        direction::TIES_TO_EVEN | direction::TIES_TO_AWAY | direction::STOCHASTIC => code.min(p.limit),
        _ if magnitude == F::INFINITY => p.limit,
        direction::TOWARD_POSITIVE | direction::TOWARD_NEGATIVE if outward => code.min(p.limit),
        _ => code.min(p.max_code),
    }
}

/// A positive number to its code in E8M0.
#[inline(always)]
fn power_of_two<F: Float, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    magnitude: F::Bits,
    outward: bool,
    word: u32,
) -> F::Bits {
    let (zero, one) = (F::Bits::ZERO, F::Bits::ONE);
    // 1. From 2^-126 on: the exponent field, the mantissa rounded into it. To nearest, ties go up, as in
    //    ml_dtypes: the last significand bit is the leading one, hence always odd.
    let fields = magnitude.minus(p.rebias);
    let normal = round_off::<F, DIRECTION>(p, fields, one, outward, word);
    // 2. Below: code 0, which is 2^-127, and what lies above that goes up under rounding to nearest, as in
    //    ml_dtypes: there code 0 is taken for a zero, half-way to which lies 2^-127 itself.
    let above = magnitude > p.half_spacing;
    let small = match DIRECTION {
        direction::STOCHASTIC if F::BIAS == 127 => {
            // A subnormal float32, 2^-127 (1 + f): f rounds as a mantissa does.
            let fraction = (magnitude << 1) & p.dropped;
            fraction.plus(aligned::<F>(word, p.shift)) >> p.shift
        }
        direction::STOCHASTIC => normal,
        direction::TOWARD_ZERO => zero,
        direction::TOWARD_POSITIVE | direction::TOWARD_NEGATIVE => one_if(outward),
        _ => one,
    };
    let small = if above { small } else { zero };
    let code = if magnitude < p.min_normal { small } else { normal };
    bounded::<F, DIRECTION>(p, code, magnitude, outward)
}

/// A magnitude to its code, away from zero with the probability of its distance.
#[inline(always)]
fn stochastic<F: Float>(p: &EncodePlan<F>, magnitude: F::Bits, word: u32) -> F::Bits {
    let fields = magnitude.minus(p.rebias);
    let normal = round_off::<F, { direction::STOCHASTIC }>(p, fields, F::Bits::ZERO, false, word);
    let subnormal = stochastic_subnormal(p, magnitude, word);
    (if magnitude < p.min_normal { subnormal } else { normal }).min(p.limit)
}

/// The top `bits` bits of a word, or the word with zeros below: what it adds below the last of `bits` bits.
#[inline(always)]
fn aligned<F: Float>(word: u32, bits: u32) -> F::Bits {
    let word = F::Bits::from_u32(word);
    if bits <= 32 { word >> (32 - bits) } else { word << (bits - 32) }
}

/// A magnitude below the smallest normal number, rounded stochastically to a multiple of the spacing.
#[inline(always)]
fn stochastic_subnormal<F: Float>(p: &EncodePlan<F>, magnitude: F::Bits, word: u32) -> F::Bits {
    let one = F::Bits::ONE;
    // 1. Significand and exponent field; the field of a subnormal of F counts as 1.
    let field = magnitude >> F::MANTISSA_BITS;
    let leading = one << F::MANTISSA_BITS;
    let significand =
        (magnitude & leading.minus(one)) | if field == F::Bits::ZERO { F::Bits::ZERO } else { leading };
    let field = field.max(one);
    // 2. How many of its bits lie below the spacing: more than `shift`, by as much as it lies lower.
    let lowest = p.min_normal >> F::MANTISSA_BITS;
    let below = lowest.minus(field.min(lowest)).low_u32() + p.shift;
    // 3. Whole multiples, and the first 32 bits of the fraction. The significand has at most MANTISSA_BITS + 1
    //    bits, so larger shifts than these leave nothing.
    let whole = significand >> below.min(F::WIDTH - 1);
    let fraction = if below <= 32 {
        (significand << (32 - below)).low_u32()
    } else {
        (significand >> (below - 32).min(F::WIDTH - 1)).low_u32()
    };
    // 4. A carry out of fraction + word rounds up.
    whole.plus(if fraction > !word { one } else { F::Bits::ZERO })
}

/// Elements that are converted between one look ahead and the next.
const GROUP: usize = 64;

/// Applies `convert` to each element and its word. Without stochastic rounding no words are made.
#[inline(always)]
pub(super) fn with_words<T: Copy, U, const DIRECTION: u8>(
    words: Words,
    src: &[T],
    dst: &mut [U],
    convert: impl Fn(T, u32) -> U,
) {
    if DIRECTION != direction::STOCHASTIC {
        let ahead = Ahead::of(src);
        let (groups, rest) = src.as_chunks::<GROUP>();
        let (group_dst, rest_dst) = dst.as_chunks_mut::<GROUP>();
        for (dst, src) in group_dst.iter_mut().zip(groups) {
            ahead.bring(src);
            for (dst, &src) in dst.iter_mut().zip(src) {
                *dst = convert(src, 0);
            }
        }
        for (dst, &src) in rest_dst.iter_mut().zip(rest) {
            *dst = convert(src, 0);
        }
        return;
    }
    let mut buffer = [0; random::BLOCK];
    let mut done = 0;
    while done < src.len() {
        // Blocks begin at multiples of four words; the first may begin before the first element.
        let position = words.after(done).position;
        let skip = (position % 4) as usize;
        random::fill(words.seed, position / 4, &mut buffer);
        let here = (random::BLOCK - skip).min(src.len() - done);
        let (src, dst) = (&src[done..done + here], &mut dst[done..done + here]);
        for ((dst, &src), &word) in dst.iter_mut().zip(src).zip(&buffer[skip..]) {
            *dst = convert(src, word);
        }
        done += here;
    }
}

/// The definition, for all elements.
pub(super) struct Encode<'a, F: Float, C, const SHAPE: u8, const DIRECTION: u8> {
    pub plan: EncodePlan<F>,
    pub words: Words,
    pub src: &'a [F],
    pub dst: &'a mut [C],
}

impl<F: Float, C: Code, const SHAPE: u8, const DIRECTION: u8> Kernel for Encode<'_, F, C, SHAPE, DIRECTION> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // A copy on the stack of its own: the stores below cannot alias it, so it stays in registers.
        let plan = self.plan;
        let mask = (plan.magnitude_mask | plan.sign_bit).low_u32();
        with_words::<_, _, DIRECTION>(self.words, self.src, self.dst, |x, word| {
            let code = encode_one::<F, SHAPE, DIRECTION>(&plan, x, word);
            // Bits above an 8- or 16-bit code are cut off, those between it and bit 16 are zero.
            C::truncate(if C::WIDTH == 32 { code & mask } else { code })
        });
    }
}

/// Rounds `src` to codes of `format`.
///
/// # Panics
///
/// If the lengths differ, `C` is narrower than a code, or the CPU lacks `level`.
pub fn encode<F: Float, C: Code>(
    level: Level,
    format: &FloatFormat,
    options: Conversion,
    src: &[F],
    dst: &mut [C],
) {
    assert_eq!(src.len(), dst.len(), "source and destination differ in length");
    assert!(C::WIDTH >= format.bits(), "{format} does not fit {} bits", C::WIDTH);
    if format.mantissa_bits == F::MANTISSA_BITS {
        // Nothing to round: float32's code is its bits.
        assert_eq!((F::WIDTH, format.bits()), (32, 32), "no rounding from here to {format}");
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = C::truncate(saturated(src, options.saturate).bits().low_u32());
        }
        return;
    }
    if !fits::<F>(format) {
        // A format with numbers that are none of F's, or subnormal ones: through float64, which has them all.
        let mut wide = [0f64; CHUNK];
        for (i, (src, dst)) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)).enumerate() {
            for (wide, &src) in wide.iter_mut().zip(src) {
                *wide = src.to_f64();
            }
            encode(level, format, options.after(i * CHUNK), &wide[..src.len()], dst);
        }
        return;
    }
    let done = by_halves(level, format, options, src, dst);
    let (src, dst, options) = (&src[done..], &mut dst[done..], options.after(done));
    let (plan, words) = (EncodePlan::<F>::new(format, options), options.words);
    with_shape!(format, truncates::<F>(format), plan.limit == plan.nan, SHAPE => with_direction!(options.rounding, DIRECTION => {
        let done = by_bytes::<F, C, SHAPE, DIRECTION>(level, &plan, src, dst);
        let (src, dst) = (&src[done..], &mut dst[done..]);
        level.run(Encode::<F, C, SHAPE, DIRECTION> { plan, words, src, dst });
    }));
}

/// Takes the short way to the 16-bit formats where it applies, and tells how many elements it took.
fn by_halves<F: Float, C: Code>(
    level: Level,
    format: &FloatFormat,
    options: Conversion,
    src: &[F],
    dst: &mut [C],
) -> usize {
    if options.saturate || options.rounding != Rounding::TiesToEven || format.bits() != 16 {
        return 0;
    }
    let (Some(src), Some(dst)) = (F::as_f32(src), C::as_u16(dst)) else { return 0 };
    if *format == FLOAT16 {
        level.run(ToFloat16 { src, dst })
    } else if *format == BFLOAT16 {
        level.run(ToBfloat16 { src, dst })
    } else {
        0
    }
}

/// The identity, but for infinity when it saturates and the payload of NaNs.
pub(super) fn saturated<F: Float>(x: F, saturate: bool) -> F {
    let magnitude = x.bits() & (F::Bits::ONES >> 1);
    let sign = x.bits() ^ magnitude;
    if magnitude > F::INFINITY {
        F::from_bits_of(F::NAN | sign)
    } else if saturate && magnitude == F::INFINITY {
        F::from_bits_of(F::INFINITY.minus(F::Bits::ONE) | sign)
    } else {
        x
    }
}
