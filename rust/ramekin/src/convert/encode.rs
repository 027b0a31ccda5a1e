//! Machine floats to codes, rounded once.

use super::{CHUNK, Conversion, fits, shape, with_shape};
use crate::float::{Bits, Code, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::random::{self, Words};
use crate::rounding::Rounding;
use crate::simd::Simd;

/// Families of rounding directions whose steps differ.
pub(super) mod direction {
    pub const TIES_TO_EVEN: u8 = 0;
    pub const TIES_TO_AWAY: u8 = 1;
    /// Toward zero or away from it, by the sign.
    pub const DIRECTED: u8 = 2;
    pub const TO_ODD: u8 = 3;
    pub const STOCHASTIC: u8 = 4;
}

/// The loop-invariant numbers of a conversion from `F` to a format.
#[derive(Clone, Copy)]
pub(super) struct EncodePlan<F: Float> {
    /// How many mantissa bits go.
    shift: u32,
    /// What lies below half a unit in the last place: `2^(shift - 1) - 1`.
    below_half: F::Bits,
    /// The bits that go.
    dropped: F::Bits,
    /// What takes the exponent field of the machine float to that of the format.
    rebias: F::Bits,
    /// The smallest normal number of the format, as bits of `F`.
    min_normal: F::Bits,
    /// A power of two whose unit in the last place is the format's subnormal spacing.
    magic: F,
    /// Half the subnormal spacing.
    half_spacing: F,
    /// Whether a directed rounding goes away from zero, as a mask, by sign.
    away_if_positive: F::Bits,
    away_if_negative: F::Bits,
    max_code: F::Bits,
    /// What overflow gives.
    limit: F::Bits,
    nan: F::Bits,
    sign_shift: u32,
    sign_bit: F::Bits,
    magnitude_mask: F::Bits,
}

impl<F: Float> EncodePlan<F> {
    pub(super) fn new(format: &FloatFormat, options: Conversion) -> Self {
        let code = F::Bits::from_u32;
        let shift = F::MANTISSA_BITS - format.mantissa_bits;
        let min_exponent = format.min_exponent();
        let spacing = min_exponent - format.mantissa_bits as i32;
        let mask = |on: bool| if on { F::Bits::ONES } else { F::Bits::ZERO };
        let max_code = format.max_code();
        Self {
            shift,
            below_half: ((F::Bits::ONE << shift) >> 1).minus(F::Bits::ONE),
            dropped: (F::Bits::ONE << shift).minus(F::Bits::ONE),
            rebias: F::Bits::from_i32(F::BIAS - format.bias) << F::MANTISSA_BITS,
            min_normal: F::power_of_two(min_exponent).bits(),
            // Not read where the format's exponent field is F's own; clamped there to stay a normal number.
            magic: F::power_of_two((spacing + F::MANTISSA_BITS as i32).max(1 - F::BIAS)),
            half_spacing: F::power_of_two_or_subnormal(spacing - 1),
            away_if_positive: mask(options.rounding == Rounding::TowardPositive),
            away_if_negative: mask(options.rounding == Rounding::TowardNegative),
            max_code: code(max_code),
            limit: code(if options.saturate { max_code } else { format.overflow_code() }),
            // A format without NaN gives what ml_dtypes gives: zero of the other sign.
            nan: code(format.nan_code().unwrap_or(format.sign_bit())),
            sign_shift: F::WIDTH - format.bits(),
            sign_bit: code(format.sign_bit()),
            magnitude_mask: code(format.magnitude_mask()),
        }
    }
}

/// The definition: one machine float to one code. `word` is read by stochastic rounding only.
#[inline(always)]
pub(super) fn encode_one<F: Float, const SHAPE: u8, const DIRECTION: u8>(
    p: &EncodePlan<F>,
    x: F,
    word: u32,
) -> u32 {
    let (zero, one) = (F::Bits::ZERO, F::Bits::ONE);
    let bits = x.bits();
    let magnitude = bits & (F::Bits::ONES >> 1);
    let negative = bits > (F::Bits::ONES >> 1);
    // For directed rounding: all ones where the magnitude rounds up.
    let away = if negative { p.away_if_negative } else { p.away_if_positive };

    // 1. Normal results. Move the exponent field to the format's bias; below the last kept bit add what makes
    //    truncation round. A carry runs into the exponent, which is what it should do.
    let fields = magnitude.minus(p.rebias);
    let increment = match DIRECTION {
        // E8M0, as in ml_dtypes: the last significand bit is the leading one, hence always odd.
        direction::TIES_TO_EVEN if SHAPE == shape::POWER_OF_TWO => p.below_half.plus(one),
        direction::TIES_TO_EVEN => p.below_half.plus((fields >> p.shift) & one),
        direction::TIES_TO_AWAY => p.below_half.plus(one),
        direction::DIRECTED => p.dropped & away,
        direction::STOCHASTIC => aligned::<F>(word, p.shift),
        _ => zero,
    };
    let mut code = fields.plus(increment) >> p.shift;
    if DIRECTION == direction::TO_ODD && magnitude & p.dropped != zero {
        code = code | one;
    }

    // 2. Subnormal results. Adding a number whose unit in the last place is the subnormal spacing lets the
    //    adder round (to nearest even); the low bits of the sum are the code. What the adder lost is exact in
    //    `rounded - exact`, and turns its answer into that of the other directions.
    if SHAPE == shape::POWER_OF_TWO {
        // Code 0 is 2^-127; above it and below 2^-126, to nearest goes up, as in ml_dtypes: there code 0 is
        // taken for a zero, half-way to which lies 2^-127 itself.
        let above = magnitude > p.half_spacing.bits();
        let subnormal = match DIRECTION {
            direction::DIRECTED if above => one & away,
            direction::STOCHASTIC if above && F::BIAS == 127 => {
                // A subnormal float32, 2^-127 (1 + f): f rounds as a mantissa does.
                let fraction = (magnitude << 1) & p.dropped;
                fraction.plus(aligned::<F>(word, p.shift)) >> p.shift
            }
            direction::STOCHASTIC if above => code,
            _ if above => one,
            _ => zero,
        };
        code = if magnitude < p.min_normal { subnormal } else { code };
    } else if SHAPE != shape::TRUNCATED && DIRECTION == direction::STOCHASTIC {
        let subnormal = stochastic_subnormal(p, magnitude, word);
        code = if magnitude < p.min_normal { subnormal } else { code };
    } else if SHAPE != shape::TRUNCATED {
        let exact = F::from_bits_of(magnitude);
        let sum = exact + p.magic;
        let rounded = sum - p.magic;
        let nearest = sum.bits().minus(p.magic.bits());
        let subnormal = match DIRECTION {
            direction::TIES_TO_EVEN => nearest,
            direction::TIES_TO_AWAY => {
                nearest.plus(if exact - rounded == p.half_spacing { one } else { zero })
            }
            direction::DIRECTED => {
                let up = if rounded < exact { one & away } else { zero };
                let down = if rounded > exact { one & !away } else { zero };
                nearest.plus(up).minus(down)
            }
            _ => {
                let down = if rounded > exact { one } else { zero };
                let inexact = if rounded != exact { one } else { zero };
                nearest.minus(down) | inexact
            }
        };
        code = if magnitude < p.min_normal { subnormal } else { code };
    }

    // 3. Overflow, judged after rounding. Every overflow code is the one above the largest finite or, for
    //    formats without specials, that itself; so the smaller of the two is right. Directions that round
    //    toward zero stop at the largest finite unless the input was infinite.
    code = match DIRECTION {
        direction::TIES_TO_EVEN | direction::TIES_TO_AWAY | direction::STOCHASTIC => code.min(p.limit),
        _ => {
            let top = if away != zero { p.limit } else { p.max_code };
            if magnitude == F::INFINITY { p.limit } else { code.min(top) }
        }
    };

    // 4. NaN and the sign.
    if SHAPE == shape::POWER_OF_TWO {
        // Zero, negative numbers and NaN have no code: one unsigned comparison finds them all.
        code = if bits.minus(one) >= F::INFINITY { p.nan } else { code };
        return code.low_u32();
    }
    code = if magnitude > F::INFINITY { p.nan } else { code };
    if SHAPE == shape::UNSIGNED {
        // Negative numbers have no code either; -0 is zero.
        return if bits > !(F::Bits::ONES >> 1) { p.nan } else { code }.low_u32();
    }
    let sign = (bits >> p.sign_shift) & p.sign_bit;
    if SHAPE == shape::UNSIGNED_ZERO {
        let signless = code & p.magnitude_mask == zero;
        (code ^ if signless { zero } else { sign }).low_u32()
    } else {
        (code ^ sign).low_u32()
    }
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

/// Whether the format has F's own exponent field, so that its subnormals are F's, shortened.
pub(super) fn truncates<F: Float>(format: &FloatFormat) -> bool {
    format.bias == F::BIAS && format.mantissa_bits < F::MANTISSA_BITS && format.signed
}

/// Expands `$body` with `$direction` bound to the constant of [`direction`] that fits.
macro_rules! with_direction {
    ($rounding:expr, $direction:ident => $body:expr) => {
        match $rounding {
            Rounding::TiesToEven => {
                const $direction: u8 = direction::TIES_TO_EVEN;
                $body
            }
            Rounding::TiesToAway => {
                const $direction: u8 = direction::TIES_TO_AWAY;
                $body
            }
            Rounding::Stochastic => {
                const $direction: u8 = direction::STOCHASTIC;
                $body
            }
            Rounding::ToOdd => {
                const $direction: u8 = direction::TO_ODD;
                $body
            }
            Rounding::TowardZero | Rounding::TowardPositive | Rounding::TowardNegative => {
                const $direction: u8 = direction::DIRECTED;
                $body
            }
        }
    };
}
pub(super) use with_direction;

/// Applies `convert` to each element and its word. Without stochastic rounding no words are made.
#[inline(always)]
pub(super) fn with_words<T: Copy, U, const DIRECTION: u8>(
    words: Words,
    src: &[T],
    dst: &mut [U],
    convert: impl Fn(T, u32) -> U,
) {
    if DIRECTION != direction::STOCHASTIC {
        for (dst, &src) in dst.iter_mut().zip(src) {
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

struct Encode<'a, F: Float, C, const SHAPE: u8, const DIRECTION: u8> {
    plan: EncodePlan<F>,
    words: Words,
    src: &'a [F],
    dst: &'a mut [C],
}

impl<F: Float, C: Code, const SHAPE: u8, const DIRECTION: u8> Kernel for Encode<'_, F, C, SHAPE, DIRECTION> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // A copy on the stack of its own: the stores below cannot alias it, so it stays in registers.
        let plan = self.plan;
        with_words::<_, _, DIRECTION>(self.words, self.src, self.dst, |x, word| {
            C::truncate(encode_one::<F, SHAPE, DIRECTION>(&plan, x, word))
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
    let (plan, words) = (EncodePlan::<F>::new(format, options), options.words);
    with_shape!(format, truncates::<F>(format), SHAPE => with_direction!(options.rounding, DIRECTION => {
        level.run(Encode::<F, C, SHAPE, DIRECTION> { plan, words, src, dst });
    }));
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
