//! Matrix products in accumulators other than float32's chain.

mod batch;
mod chain;
mod exact;
mod fused;
mod promoted;
mod rectangle;
mod superaccumulator;

use std::fmt;
use std::num::NonZeroUsize;

pub use self::batch::matmul_accumulated_batch;
use self::chain::{Float64, Rounded};
use self::exact::Exact;
use self::fused::Fused;
use self::promoted::{Partial, Promoted};
pub(super) use self::rectangle::DEPTH;
use self::rectangle::{Rule, WIDTH, product};
use super::driver::{finish, one, spans};
use super::operand::Operand;
use super::outer::{TilesError, tiles_fit};
use super::right::{Right, Side};
use super::tensor_core::TensorCore;
use crate::float::Float;
use crate::format::{BFLOAT16, FLOAT16, FLOAT32, FloatFormat, Zero};
use crate::isa::{Kernel, Level};
use crate::parallel::{self, Helpers, Never, Stop, ThreadsError};
use crate::simd::{CANONICAL_NAN, Simd};

/// What the terms `a[k] b[k]` of an element are added up in. Operands are taken at their exact values; the result is
/// float32 and its NaN the canonical one.
///
/// With a *chunk* of `n`, the sum starts anew every `n` terms, and the partial sums are added up in ascending order,
/// from +0: `total = +0;  for each partial sum: total = total + partial`, rounded to nearest even in the precision
/// that each accumulator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// `c = +0;  for k: c = fma(a[k], b[k], c)` in float32, to nearest even: what [`matmul`](fn@super::matmul) does. Partial
    /// sums are added in float32.
    Float32,
    /// `c = +0;  for k: c = fma(a[k], b[k], c)` in float64 (in which the products are exact), to nearest even, and
    /// rounded to float32 at the end. Partial sums are added in float64, and their total rounded at the end.
    Float64,
    /// The exact sum of the exact products, rounded once to float32, to nearest even: independent of any order. A sum
    /// that is zero is +0. It is NaN if a product is (a NaN operand, or zero times infinity) or if infinities of both
    /// signs are among the products, else infinite if one of them is. No chunk: it would not change the sum.
    Exact,
    /// `c = +0;  for k: c = a[k] b[k] + c`, rounded once to float16, to nearest even: overflow gives infinity,
    /// subnormals are kept. Partial sums are added in float32 (promotion, as in DeepSeek-V3, section 3.3.2).
    Float16,
    /// The same in bfloat16.
    Bfloat16,
    /// A model of a GPU's tensor cores. Partial sums are added in float32, to nearest even (DeepSeek-V3, section
    /// 3.3.2, takes a chunk of 128).
    TensorCore(TensorCore),
}

/// Why a product cannot be had in an accumulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccumulateError {
    /// An exact sum has no partial sums to round.
    ChunkOfExact,
    /// Tensor cores take formats of up to 16 bits.
    WideOperand,
    /// Their models know of no scales of elements.
    ScaledOperand,
    /// There are float32 scales that do not fit each other.
    Tiles(TilesError),
    /// Float32 scales that change along `k` are for float32's chain, without a chunk.
    TiledSum,
    /// A packed matrix is laid out for float32's chains.
    Packed,
    /// The thread pool's setting is wrong.
    Threads(ThreadsError),
}

impl Accumulator {
    /// The accumulators that have names; those of the tensor cores' models are [`TensorCore::PRESETS`].
    pub const NAMED: [(&'static str, Self); 5] = [
        ("float32", Self::Float32),
        ("float64", Self::Float64),
        ("exact", Self::Exact),
        ("float16", Self::Float16),
        ("bfloat16", Self::Bfloat16),
    ];

    /// Looks an accumulator up by its name, or by that of a tensor core's model.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let accumulator = Self::NAMED.into_iter().find(|named| named.0 == name).map(|named| named.1);
        accumulator.or_else(|| TensorCore::named(name).map(Self::TensorCore))
    }
}

impl fmt::Display for AccumulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChunkOfExact => f.write_str("an exact sum has no chunks; accepted: no chunk"),
            Self::WideOperand => {
                f.write_str("tensor cores do not take float32 operands; accepted: formats of up to 16 bits")
            }
            Self::ScaledOperand => f.write_str(
                "tensor cores' models do not take elements with scales or integers; accepted: elements without, \
                 or with float32 scales that do not change along k",
            ),
            Self::Tiles(error) => error.fmt(f),
            Self::TiledSum => f.write_str(
                "float32 scales that change along k start sums anew with each; accepted for them: float32 without \
                 chunks",
            ),
            Self::Packed => f.write_str(
                "packed matrices are multiplied in float32 without chunks; accepted for this: the matrix itself",
            ),
            Self::Threads(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AccumulateError {}

impl From<ThreadsError> for AccumulateError {
    fn from(error: ThreadsError) -> Self {
        Self::Threads(error)
    }
}

impl From<TilesError> for AccumulateError {
    fn from(error: TilesError) -> Self {
        Self::Tiles(error)
    }
}

/// Below so many terms, waking another thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 17;

/// `c = a b`, added up as `accumulator` says, with partial sums of `chunk` terms if it is given. `c` is row-major.
/// A sum of no terms is +0.
///
/// Threads, blocks and instruction sets do not show. Extra memory is at most a megabyte for each thread, and, for some
/// shapes, the size of the result. Sums in float32, and exact ones of formats so small that float32 holds them, take
/// what [`matmul`](fn@super::matmul) does, and for a chunk 768 bytes for each column or a megabyte more.
///
/// # Errors
///
/// If a chunk is given for [`Accumulator::Exact`], a float32 operand or one with scales of elements for
/// [`Accumulator::TensorCore`], float32 scales that change along `k` for anything but the plain chain, or ones that do
/// not fit each other ([`tiles_fit`](super::tiles_fit)), or the thread pool's setting is wrong.
///
/// # Panics
///
/// If the shapes do not fit or the CPU lacks `level`.
pub fn matmul_accumulated(
    level: Level,
    accumulator: &Accumulator,
    chunk: Option<NonZeroUsize>,
    a: &Operand<'_>,
    b: &Operand<'_>,
    c: &mut [f32],
) -> Result<(), AccumulateError> {
    accumulated(level, accumulator, chunk, a, b, c, &Never)
}

/// Whether a product can be had.
fn check(
    accumulator: &Accumulator,
    chunk: Option<NonZeroUsize>,
    a: &Operand<'_>,
    b: &Operand<'_>,
) -> Result<(), AccumulateError> {
    let tiled = tiles_fit(a, Right::Operand(b))?;
    let formats = [a.value_format(), b.value_format()];
    match accumulator {
        Accumulator::Exact if chunk.is_some() => Err(AccumulateError::ChunkOfExact),
        Accumulator::TensorCore(_) if formats != [a.format, b.format] => Err(AccumulateError::ScaledOperand),
        Accumulator::TensorCore(_) if formats.contains(&&FLOAT32) => Err(AccumulateError::WideOperand),
        _ if tiled && (*accumulator != Accumulator::Float32 || chunk.is_some()) => {
            Err(AccumulateError::TiledSum)
        }
        _ => Ok(()),
    }
}

/// [`matmul_accumulated`], which ends early once `stop` is true.
fn accumulated(
    level: Level,
    accumulator: &Accumulator,
    chunk: Option<NonZeroUsize>,
    a: &Operand<'_>,
    b: &Operand<'_>,
    c: &mut [f32],
    stop: &dyn Stop,
) -> Result<(), AccumulateError> {
    assert_eq!(a.shape().1, b.shape().0, "the inner dimensions differ");
    assert_eq!(c.len(), a.shape().0 * b.shape().1, "the result has another size");
    check(accumulator, chunk, a, b)?;
    if *accumulator == Accumulator::Float32 && chunk.is_none() {
        return Ok(one(level, a, Side::Operand(*b), c, stop)?);
    }
    sums(level, accumulator, chunk, &a.elements(), &b.elements(), c, stop)?;
    finish(level, a, Side::Operand(*b), c, stop);
    Ok(())
}

/// The sums of elements, but for the scales at their ends.
fn sums(
    level: Level,
    accumulator: &Accumulator,
    chunk: Option<NonZeroUsize>,
    a: &Operand<'_>,
    b: &Operand<'_>,
    c: &mut [f32],
    stop: &dyn Stop,
) -> Result<(), ThreadsError> {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let (format_a, format_b) = (a.value_format(), b.value_format());
    match accumulator {
        Accumulator::Float32 => return float32(level, chunk, a, b, c, stop),
        Accumulator::Exact if fits_float32(format_a, format_b, k) => {
            return one(level, a, Side::Operand(*b), c, stop);
        }
        _ => {}
    }
    if n < WIDTH / 2 && m > n {
        // Few columns fill no vector: rows and columns change places, which no accumulator tells.
        let mut turned = vec![0.0; m * n];
        sums(level, accumulator, chunk, &b.transposed(), &a.transposed(), &mut turned, stop)?;
        for (i, x) in c.iter_mut().enumerate() {
            *x = turned[i % n * m + i / n];
        }
        return Ok(());
    }
    let call = Call { level, chunk, a, b, c, stop };
    match accumulator {
        Accumulator::Float32 => unreachable!("done above"),
        Accumulator::Float64 => call.chunked(Float64),
        Accumulator::Exact if fits_float64(format_a, format_b, k) => call.whole(&Float64),
        Accumulator::Exact => call.whole(&Exact::new(format_a, format_b)),
        Accumulator::Float16 => call.chunked(Rounded::new(&FLOAT16)),
        Accumulator::Bfloat16 => call.chunked(Rounded::new(&BFLOAT16)),
        Accumulator::TensorCore(model) => call.chunked(Fused::new(model, format_a, format_b)),
    }
}

/// A product to be made.
struct Call<'a> {
    level: Level,
    chunk: Option<NonZeroUsize>,
    a: &'a Operand<'a>,
    b: &'a Operand<'a>,
    c: &'a mut [f32],
    stop: &'a dyn Stop,
}

impl Call<'_> {
    fn chunked<R: Partial>(self, rule: R) -> Result<(), ThreadsError> {
        match self.chunk {
            Some(chunk) => self.whole(&Promoted { rule, chunk: chunk.get() }),
            None => self.whole(&rule),
        }
    }

    fn whole<R: Rule>(self, rule: &R) -> Result<(), ThreadsError> {
        let Self { level, a, b, c, stop, .. } = self;
        let ((m, k), (_, n)) = (a.shape(), b.shape());
        let few = m.saturating_mul(n).saturating_mul(k) < PARALLEL_WORK;
        let helpers = if few { None } else { Helpers::new()? };
        product(level, rule, a, b, c, helpers.as_ref(), stop);
        Ok(())
    }
}

/// Elements of the partial sums of float32's chains that are held at a time.
const PART: usize = 1 << 18;

/// Chains of float32, by the engine for those.
fn float32(
    level: Level,
    chunk: Option<NonZeroUsize>,
    a: &Operand<'_>,
    b: &Operand<'_>,
    c: &mut [f32],
    stop: &dyn Stop,
) -> Result<(), ThreadsError> {
    let Some(chunk) = chunk else { return one(level, a, Side::Operand(*b), c, stop) };
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    c.fill(0.0);
    if n == 0 {
        return Ok(());
    }
    let (a, b) = (a.transposed(), b.transposed());
    let most = (PART / n).max(192);
    let mut part = vec![0.0; most.min(m) * n];
    for (rows, c) in spans(m, most).zip(c.chunks_mut(most * n)) {
        let a = a.columns(rows).transposed();
        let part = &mut part[..c.len()];
        for terms in spans(k, chunk.get()) {
            let b = b.columns(terms.clone()).transposed();
            one(level, &a.columns(terms), Side::Operand(b), part, stop)?;
            if stop.stopped() {
                return Ok(());
            }
            parallel::zip_chunks(part, c, |_, part, total| level.run(Add { part, total }))?;
        }
    }
    Ok(())
}

/// Adds partial sums to totals.
struct Add<'a> {
    part: &'a [f32],
    total: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (total, part) in self.total.iter_mut().zip(self.part) {
            *total = canonical(*total + part);
        }
    }
}

/// The number itself, or the canonical NaN.
#[inline(always)]
fn canonical(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(CANONICAL_NAN) } else { x }
}

/// The exponent of the smallest number that is not subnormal.
fn lowest_exponent(format: &FloatFormat) -> i32 {
    // The one without a zero has a number more.
    format.min_exponent() - i32::from(format.zero == Zero::None)
}

/// The exponent of the unit in the last place of the smallest numbers: all others are multiples of it.
fn unit_exponent(format: &FloatFormat) -> i32 {
    lowest_exponent(format) - format.mantissa_bits as i32
}

/// No sum of `k` products is larger than this many units, unless one of the products is infinite: exact up to 2^53,
/// and no less than 2^53 above.
fn most_units(a: &FloatFormat, b: &FloatFormat, k: usize) -> f64 {
    let units = |format: &FloatFormat| {
        // Twice a power of two bounds the largest number.
        f64::power_of_two(format.max_exponent() + 1 - unit_exponent(format))
    };
    units(a) * units(b) * k as f64
}

/// Whether every partial sum is a float64, so that a chain of it is exact.
fn fits_float64(a: &FloatFormat, b: &FloatFormat, k: usize) -> bool {
    most_units(a, b, k) < (1u64 << 53) as f64
}

/// Whether every partial sum is a float32.
fn fits_float32(a: &FloatFormat, b: &FloatFormat, k: usize) -> bool {
    let unit = unit_exponent(a) + unit_exponent(b);
    most_units(a, b, k) < (1u64 << 24) as f64 && (-149..=127 - 24).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_fit_are_known_by_their_formats() {
        let format = |name| FloatFormat::named(name).unwrap();
        let [e2m1, e4m3, e5m2, bfloat16] =
            ["float4_e2m1fn", "float8_e4m3fn", "float8_e5m2", "bfloat16"].map(format);
        // Numbers below 8, in halves: products below 2^8 units.
        assert!(fits_float32(e2m1, e2m1, (1 << 16) - 1) && !fits_float32(e2m1, e2m1, 1 << 16));
        // Below 2^9, in units of 2^-9.
        assert!(fits_float64(e4m3, e4m3, (1 << 17) - 1) && !fits_float64(e4m3, e4m3, 1 << 17));
        assert!(!fits_float32(e4m3, e4m3, 1));
        assert!(!fits_float64(e5m2, e5m2, 1) && fits_float64(e5m2, e2m1, 1 << 10));
        assert!(!fits_float64(bfloat16, bfloat16, 1) && !fits_float64(&FLOAT32, &FLOAT32, 1));
        // The format without a zero: 2^-127 to 2^127.
        let e8m0 = format("float8_e8m0fnu");
        assert_eq!((lowest_exponent(e8m0), unit_exponent(e8m0)), (-127, -127));
        // Its units are too small for float32 however short the sum.
        assert!(!fits_float32(e8m0, e2m1, 1));
    }
}
