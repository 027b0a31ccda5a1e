//! Numbers, each times the factor of its block, to codes, in one step: scaled formats.

use super::Conversion;
use super::bytes::to_bytes;
use super::encode::encode_one;
use super::plan::{EncodePlan, fits, shape, truncates};
use crate::float::{Code, Float};
use crate::format::{FloatFormat, Zero};
use crate::isa::{Kernel, Level};
use crate::rounding::{Rounding, direction};
use crate::simd::{Ahead, BYTES, ByteSteps, FLOATS, PAIRS, Simd};

/// Products of a row's numbers with factors, one for each block of `width`, of which `first` lie before the row.
pub(crate) struct Products<'a, F> {
    pub row: &'a [F],
    pub first: usize,
    pub width: usize,
    pub factors: &'a [F],
    /// Whether there is no NaN but under factors of zero.
    pub numbers: bool,
    pub ahead: Ahead,
}

impl<F: Float> Products<'_, F> {
    /// The same if its numbers are float32.
    fn of_f32(&self) -> Option<Products<'_, f32>> {
        let (row, factors) = (F::as_f32(self.row)?, F::as_f32(self.factors)?);
        let Self { first, width, numbers, ahead, .. } = *self;
        Some(Products { row, first, width, factors, numbers, ahead })
    }
}

/// Whole blocks of a width that the compiler knows. (A kernel of its own: together they would need more registers
/// than there are.)
struct EncodeBlocks<'a, C, const SHAPE: u8, const WIDTH: usize> {
    plan: EncodePlan<f32>,
    src: &'a [f32],
    factors: &'a [f32],
    ahead: Ahead,
    dst: &'a mut [C],
}

impl<C: Code, const SHAPE: u8, const WIDTH: usize> Kernel for EncodeBlocks<'_, C, SHAPE, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // A copy on the stack of its own: the stores below cannot alias it, so it stays in registers.
        let plan = self.plan;
        let ahead = self.ahead;
        let (mut src, mut factors, mut dst) = (self.src, self.factors, self.dst);
        if let (Some(way), Some(codes)) = (ShortWay::new::<S>(&plan), C::as_u8(dst)) {
            let all = all_positive(factors);
            let (groups, codes) = (src.as_chunks::<BYTES>().0, codes.as_chunks_mut::<BYTES>().0);
            for ((numbers, codes), factors) in
                groups.iter().zip(codes).zip(factors.chunks_exact(BYTES / WIDTH))
            {
                way.encode::<S, SHAPE, WIDTH, BYTES>(simd, numbers, factors, all, ahead, codes);
            }
            let done = groups.len() * BYTES;
            (src, factors, dst) = (&src[done..], &factors[done / WIDTH..], &mut dst[done..]);
        }
        if !src.is_empty() {
            simd.call(EncodeWidths::<C, SHAPE, WIDTH> { plan, src, factors, ahead, dst });
        }
    }
}

/// Whole groups of codes of four bits, two to a byte as [`pack`](super::pack) lays them.
struct EncodePairs<'a, const SHAPE: u8, const WIDTH: usize> {
    plan: EncodePlan<f32>,
    src: &'a [f32],
    factors: &'a [f32],
    ahead: Ahead,
    dst: &'a mut [u8],
}

impl<const SHAPE: u8, const WIDTH: usize> Kernel for EncodePairs<'_, SHAPE, WIDTH> {
    /// How many numbers were encoded: all whole groups, or none where the level has no such steps.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let Some(way) = ShortWay::new::<S>(&self.plan) else { return 0 };
        let all = all_positive(self.factors);
        let ahead = self.ahead;
        let (groups, pairs) = (self.src.as_chunks::<BYTES>().0, self.dst.as_chunks_mut::<PAIRS>().0);
        for ((numbers, pairs), factors) in
            groups.iter().zip(pairs).zip(self.factors.chunks_exact(BYTES / WIDTH))
        {
            way.encode::<S, SHAPE, WIDTH, PAIRS>(simd, numbers, factors, all, ahead, pairs);
        }
        groups.len() * BYTES
    }
}

/// Blocks of any width.
struct EncodeProducts<'a, C, const SHAPE: u8> {
    plan: EncodePlan<f32>,
    src: &'a [f32],
    first: usize,
    width: usize,
    factors: &'a [f32],
    ahead: Ahead,
    dst: &'a mut [C],
}

impl<C: Code, const SHAPE: u8> Kernel for EncodeProducts<'_, C, SHAPE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // As above.
        let plan = self.plan;
        let ahead = self.ahead;
        let (mut src, mut dst, mut here) = (self.src, self.dst, self.width - self.first);
        let steps = byte_steps::<S>(&plan);
        for &factor in self.factors {
            let (mut numbers, src_after) = src.split_at(here.min(src.len()));
            let (mut codes, dst_after) = dst.split_at_mut(numbers.len());
            if let (Some(steps), Some(codes_here)) = (steps, C::as_u8(codes)) {
                let (positive, of_vectors) = (all_positive(&[factor]), [&factor; BYTES / FLOATS]);
                let groups = numbers.as_chunks::<BYTES>().0;
                for (numbers, codes) in groups.iter().zip(codes_here.as_chunks_mut::<BYTES>().0) {
                    if !positive
                        || !encode_group::<S, SHAPE, BYTES>(simd, &steps, numbers, of_vectors, ahead, codes)
                    {
                        simd.call(EncodeBlock::<u8, SHAPE> { plan, numbers, factor, ahead, codes });
                    }
                }
                let done = groups.len() * BYTES;
                (numbers, codes) = (&numbers[done..], &mut codes[done..]);
            }
            if !numbers.is_empty() {
                simd.call(EncodeBlock::<C, SHAPE> { plan, numbers, factor, ahead, codes });
            }
            (src, dst, here) = (src_after, dst_after, self.width);
        }
    }
}

/// Floats in a cache line.
const LINE: usize = 16;

/// Groups under positive factors by [`Simd::to_bytes`], others as every level has them.
#[derive(Clone, Copy)]
pub(crate) struct ShortWay {
    plan: EncodePlan<f32>,
    steps: ByteSteps,
}

impl ShortWay {
    /// If the level and the format have one.
    #[inline(always)]
    pub(crate) fn new<S: Simd>(plan: &EncodePlan<f32>) -> Option<Self> {
        Some(Self { plan: *plan, steps: byte_steps::<S>(plan)? })
    }

    /// Encodes a group of whole blocks of `WIDTH`, to a byte each or to [`PAIRS`] as [`pack`](super::pack) lays them.
    /// `positive` may tell that all factors are.
    #[inline(always)]
    pub(crate) fn encode<S: Simd, const SHAPE: u8, const WIDTH: usize, const N: usize>(
        &self,
        simd: S,
        numbers: &[f32; BYTES],
        factors: &[f32],
        positive: bool,
        ahead: Ahead,
        codes: &mut [u8; N],
    ) {
        let of_vectors = std::array::from_fn(|i| &factors[i * FLOATS / WIDTH]);
        if (positive || all_positive(factors))
            && encode_group::<S, SHAPE, N>(simd, &self.steps, numbers, of_vectors, ahead, codes)
        {
            return;
        }
        let (plan, src) = (self.plan, numbers);
        let mut bytes = [0; BYTES];
        simd.call(EncodeWidths::<u8, SHAPE, WIDTH> { plan, src, factors, ahead, dst: &mut bytes });
        if N == PAIRS {
            for (pair, [first, second]) in codes.iter_mut().zip(bytes.as_chunks().0) {
                *pair = first | second << 4;
            }
        } else {
            codes.copy_from_slice(&bytes);
        }
    }
}

/// The numbers for the steps of [`Simd::to_bytes`], where they apply.
#[inline(always)]
fn byte_steps<S: Simd>(plan: &EncodePlan<f32>) -> Option<ByteSteps> {
    if S::HAS_DIRECTIONS { plan.byte_steps(direction::TIES_TO_EVEN) } else { None }
}

/// Whether all are positive and finite: then products with numbers are numbers.
#[inline(always)]
pub(crate) fn all_positive(factors: &[f32]) -> bool {
    let mut other = false;
    for factor in factors {
        // Unsigned, what is zero, infinite, NaN or negative lies outside.
        other |= factor.to_bits().wrapping_sub(1) >= f32::INFINITY.to_bits() - 1;
    }
    !other
}

/// Encodes a group under positive factors by [`Simd::to_bytes`], and tells whether it could: not with NaN. Numbers as
/// far `ahead` are brought near.
#[inline(always)]
fn encode_group<S: Simd, const SHAPE: u8, const N: usize>(
    simd: S,
    steps: &ByteSteps,
    numbers: &[f32; BYTES],
    factors: [&f32; BYTES / FLOATS],
    ahead: Ahead,
    codes: &mut [u8; N],
) -> bool {
    const DIRECTION: u8 = direction::TIES_TO_EVEN;
    if SHAPE != shape::NUMBERS && !simd.are_numbers::<DIRECTION>(numbers) {
        return false;
    }
    ahead.bring(numbers);
    to_bytes::<S, SHAPE, DIRECTION, N>(simd, steps, numbers, Some(factors), codes);
    true
}

/// Encodes whole blocks of `WIDTH` numbers. Those as far `ahead` are brought near.
struct EncodeWidths<'a, C, const SHAPE: u8, const WIDTH: usize> {
    plan: EncodePlan<f32>,
    src: &'a [f32],
    factors: &'a [f32],
    ahead: Ahead,
    dst: &'a mut [C],
}

impl<C: Code, const SHAPE: u8, const WIDTH: usize> Kernel for EncodeWidths<'_, C, SHAPE, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let plan = self.plan;
        let (blocks, codes) = (self.src.as_chunks::<WIDTH>().0, self.dst.as_chunks_mut::<WIDTH>().0);
        for ((numbers, codes), &factor) in blocks.iter().zip(codes).zip(self.factors) {
            if factor == 0.0 {
                *codes = [C::default(); WIDTH];
                continue;
            }
            self.ahead.bring(numbers);
            for (code, &x) in codes.iter_mut().zip(numbers) {
                *code = encode_product::<C, SHAPE>(&plan, x, factor);
            }
        }
    }
}

/// Encodes numbers that have the same factor. Those as far `ahead` are brought near, one line for each that is read.
struct EncodeBlock<'a, C, const SHAPE: u8> {
    plan: EncodePlan<f32>,
    numbers: &'a [f32],
    factor: f32,
    ahead: Ahead,
    codes: &'a mut [C],
}

impl<C: Code, const SHAPE: u8> Kernel for EncodeBlock<'_, C, SHAPE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (plan, factor) = (self.plan, self.factor);
        if factor == 0.0 {
            self.codes.fill(C::default());
            return;
        }
        let (lines, rest) = self.numbers.as_chunks::<LINE>();
        let (codes, rest_codes) = self.codes.as_chunks_mut::<LINE>();
        for (line, codes) in lines.iter().zip(codes) {
            self.ahead.bring(line);
            for (code, &x) in codes.iter_mut().zip(line) {
                *code = encode_product::<C, SHAPE>(&plan, x, factor);
            }
        }
        for (code, &x) in rest_codes.iter_mut().zip(rest) {
            *code = encode_product::<C, SHAPE>(&plan, x, factor);
        }
    }
}

#[inline(always)]
fn encode_product<C: Code, const SHAPE: u8>(plan: &EncodePlan<f32>, x: f32, factor: f32) -> C {
    C::truncate(encode_one::<f32, SHAPE, { direction::TIES_TO_EVEN }>(plan, x * factor, 0))
}

/// The loop-invariant numbers of a short way, to nearest even and to formats with signed zeros, if there is one.
pub(crate) fn plan_of(format: &FloatFormat, rounding: Rounding) -> Option<EncodePlan<f32>> {
    let signed_zero = format.signed && format.zero == Zero::Signed && !truncates::<f32>(format);
    (rounding == Rounding::TiesToEven && signed_zero && fits::<f32>(format))
        .then(|| EncodePlan::new(format, Conversion { saturate: true, ..Conversion::default() }))
}

/// Rounds products with factors to codes of up to 16 bits, saturating, in one step where there is a short way; a factor
/// of zero gives zeros. Tells whether there is.
pub(crate) fn encode_products<F: Float, C: Code>(
    level: Level,
    format: &FloatFormat,
    rounding: Rounding,
    products: &Products<'_, F>,
    dst: &mut [C],
) -> bool {
    let (Some(products), Some(plan)) = (products.of_f32(), plan_of(format, rounding)) else { return false };
    if products.numbers {
        encode_with::<C, { shape::NUMBERS }>(level, plan, &products, dst);
    } else {
        encode_with::<C, { shape::SIGNED_ZERO }>(level, plan, &products, dst);
    }
    true
}

/// The same to packed codes of four bits, for the whole blocks that fill groups, where there is a shorter way still.
/// Tells how many products were encoded.
pub(crate) fn encode_pairs<F: Float>(
    level: Level,
    format: &FloatFormat,
    rounding: Rounding,
    products: &Products<'_, F>,
    dst: &mut [u8],
) -> usize {
    let (Some(products), Some(plan)) = (products.of_f32(), plan_of(format, rounding)) else { return 0 };
    let Products { row: src, first, width, factors, numbers, ahead } = products;
    match (format.bits(), first, width, numbers) {
        (4, 0, 16, true) => {
            level.run(EncodePairs::<{ shape::NUMBERS }, 16> { plan, src, factors, ahead, dst })
        }
        (4, 0, 32, true) => {
            level.run(EncodePairs::<{ shape::NUMBERS }, 32> { plan, src, factors, ahead, dst })
        }
        _ => 0,
    }
}

fn encode_with<C: Code, const SHAPE: u8>(
    level: Level,
    plan: EncodePlan<f32>,
    products: &Products<'_, f32>,
    dst: &mut [C],
) {
    let Products { row, first, width, factors, ahead, .. } = *products;
    let whole = if first == 0 && matches!(width, 16 | 32) { row.len() / width } else { 0 };
    let (blocks, rest) = row.split_at(whole * width);
    let (codes, dst) = dst.split_at_mut(whole * width);
    let (of_blocks, factors) = factors.split_at(whole);
    match (whole, width) {
        (0, _) => {}
        (_, 16) => {
            let (src, factors, dst) = (blocks, of_blocks, codes);
            level.run(EncodeBlocks::<C, SHAPE, 16> { plan, src, factors, ahead, dst });
        }
        _ => {
            let (src, factors, dst) = (blocks, of_blocks, codes);
            level.run(EncodeBlocks::<C, SHAPE, 32> { plan, src, factors, ahead, dst });
        }
    }
    if !rest.is_empty() {
        level.run(EncodeProducts::<C, SHAPE> { plan, src: rest, first, width, factors, ahead, dst });
    }
}
