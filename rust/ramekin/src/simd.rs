//! Explicit vectors, for the kernels that the compiler does not vectorise well by itself.
//!
//! A token ([`Portable`], `X86Avx2`, `X86Avx512`, `X86Avx512Bf16`) stands for the fact that its instructions may be
//! used here.

mod ahead;
mod bytes;
mod groups;
mod half;
mod largest;
mod table;
mod transpose;

pub(crate) use ahead::{Ahead, STREAMS, prefetch, prefetch_far};
pub(crate) use bytes::{BYTES, ByteSteps, FLOATS, PAIRS, sign};
pub(crate) use groups::{SPAN, WORDS};
pub(crate) use half::HALVES;
pub(crate) use largest::ROWS;
pub(crate) use table::{ByteTable, CODES, Places};
pub(crate) use transpose::transpose_bytes;

use crate::isa::{self, Kernel};

/// Vectors of `f32` of one instruction set.
pub(crate) trait Simd: Copy + Send + Sync {
    type F32: Copy;
    const LANES: usize;
    /// Rows and vectors of the matrix product's register tile.
    const TILE: (usize, usize);

    /// Runs a kernel as a function of its own, compiled for the same instructions: for what is large and called from
    /// many places.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
    fn splat(self, value: f32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// Whether [`Simd::fma_pairs`] may be called.
    const HAS_PAIRS: bool;
    /// Two terms of a chain: each lane of `a` and `b` is a pair of bfloat16, of which the one in the upper half goes
    /// first. Subnormal operands and results are taken for zeros.
    fn fma_pairs(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The canonical quiet NaN in place of every NaN.
    fn canonical(self, value: Self::F32) -> Self::F32;
    /// Whether there are instructions for float16.
    const HAS_FLOAT16: bool;
    /// Rounds to float16, to nearest even, by the instruction for it; NaN becomes the canonical one of its sign.
    fn to_float16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]);
    /// Rounds to bfloat16 likewise; this needs no instruction for it.
    fn to_bfloat16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]);
    /// Whether the next two may be called.
    const HAS_DIRECTIONS: bool;
    /// Whether [`Simd::to_bytes`] takes all: it takes no NaN and, where infinity is no overflow, no infinity.
    fn are_numbers<const DIRECTION: u8>(self, src: &[f32; BYTES]) -> bool;
    /// Rounds numbers to codes of up to eight bits in a direction of [`direction`](crate::rounding::direction), not
    /// at random, each first times the factor of its [`FLOATS`], where there are factors (where they lie, so
    /// that they come straight from there). `SIGN` is of [`sign`], `N` [`BYTES`] or, for
    /// codes of up to four bits, [`PAIRS`].
    fn to_bytes<const DIRECTION: u8, const SIGN: u8, const N: usize>(
        self,
        steps: &ByteSteps,
        src: &[f32; BYTES],
        factors: Option<[&f32; BYTES / FLOATS]>,
        dst: &mut [u8; N],
    );
    /// The words that groups of `B` bytes make, one after the other; what follows them does not matter.
    fn widen<const B: usize>(self, groups: &[u8; SPAN]) -> [u64; WORDS];
    /// Writes the low `B` bytes of each word, one group after the other, and anything behind them.
    fn narrow<const B: usize>(self, words: &[u64; WORDS], groups: &mut [u8; SPAN]);
    /// The bits of the largest magnitude in each of some rows, NaN the largest of all. `W` is a multiple of 16.
    fn largest<const W: usize>(self, rows: &[[f32; W]; ROWS]) -> [u32; ROWS];
    /// The canonical quiet NaN of the same sign in place of every NaN.
    fn quiet(self, value: Self::F32) -> Self::F32;
    /// The values of `LANES` float16, where [`Simd::HAS_FLOAT16`]. NaN stays NaN.
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading `LANES` codes; no alignment is asked.
    unsafe fn float16_values(self, src: *const u16) -> Self::F32;
    /// The values of `LANES` bfloat16, where [`Simd::HAS_FLOAT16`].
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading `LANES` codes; no alignment is asked.
    unsafe fn bfloat16_values(self, src: *const u16) -> Self::F32;
    /// The float16 that twice `LANES` bytes become, where [`Simd::HAS_FLOAT16`].
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading twice `LANES` bytes; no alignment is asked.
    unsafe fn widened_values(self, src: *const u8, widening: Widening) -> [Self::F32; 2];
    /// Whether [`Simd::table_values`] may be called.
    const HAS_TABLES: bool;
    /// The values of [`CODES`] codes: four vectors.
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading `CODES` bytes; no alignment is asked.
    unsafe fn table_values(self, src: *const u8, table: &ByteTable, places: &Places) -> [Self::F32; 4];
    /// The values of the first and of the second float16 in each of `LANES` words, where
    /// [`Simd::HAS_FLOAT16`].
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading `LANES` words; no alignment is asked.
    unsafe fn float16_words(self, src: *const u32) -> [Self::F32; 2];
    /// The same for bfloat16.
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading `LANES` words; no alignment is asked.
    unsafe fn bfloat16_words(self, src: *const u32) -> [Self::F32; 2];
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Adds the upper half of the lanes to the lower, and so on until there is one.
    fn fold(self, value: Self::F32) -> f32;
    /// # Safety
    ///
    /// `src` must be valid for reading `LANES` floats; no alignment is asked.
    unsafe fn load(self, src: *const f32) -> Self::F32;
    /// # Safety
    ///
    /// `dst` must be valid for writing `LANES` floats; no alignment is asked.
    unsafe fn store(self, dst: *mut f32, value: Self::F32);
    /// The first `n` floats, then zeros.
    ///
    /// # Safety
    ///
    /// `src` must be valid for reading `n` floats, `n` at most `LANES`; no alignment is asked.
    unsafe fn load_first(self, src: *const f32, n: usize) -> Self::F32;
    /// # Safety
    ///
    /// `dst` must be valid for writing `n` floats, `n` at most `LANES`; no alignment is asked.
    unsafe fn store_first(self, dst: *mut f32, n: usize, value: Self::F32);
    /// Turns a block of `LANES` by `LANES` about its diagonal; its rows are `src_stride` bytes apart, those of the
    /// result `dst_stride` elements.
    ///
    /// # Safety
    ///
    /// `LANES` elements must be readable at each row of `src` and writable at each row of `dst`; the two must not
    /// overlap.
    unsafe fn transpose(self, src: *const u8, src_stride: isize, dst: *mut u32, dst_stride: usize);
}

/// The bits of the NaN that matrix products write.
pub(crate) const CANONICAL_NAN: u32 = 0x7fc0_0000;

/// How a byte becomes a float16: shifted left as a 16-bit word, then right with its sign, then masked.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other level widens"))]
pub(crate) struct Widening {
    pub left: u32,
    pub right: u32,
    pub mask: u16,
}

/// The baseline of the architecture.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const PORTABLE_LANES: usize = 4;

impl Simd for Portable {
    type F32 = [f32; PORTABLE_LANES];
    const LANES: usize = PORTABLE_LANES;
    const TILE: (usize, usize) = (4, 2);

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        isa::run_portable(kernel)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; PORTABLE_LANES]
    }

    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| fma(a[i], b[i], c[i]))
    }

    const HAS_FLOAT16: bool = false;

    #[inline(always)]
    fn to_float16(self, _: &[f32; HALVES], _: &mut [u16; HALVES]) {
        unreachable!("no instruction for float16")
    }

    #[inline(always)]
    fn to_bfloat16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
        half::to_bfloat16(src, dst);
    }

    const HAS_DIRECTIONS: bool = false;

    #[inline(always)]
    fn are_numbers<const DIRECTION: u8>(self, _: &[f32; BYTES]) -> bool {
        unreachable!("no instruction for directions")
    }

    #[inline(always)]
    fn to_bytes<const DIRECTION: u8, const SIGN: u8, const N: usize>(
        self,
        _: &ByteSteps,
        _: &[f32; BYTES],
        _: Option<[&f32; BYTES / FLOATS]>,
        _: &mut [u8; N],
    ) {
        unreachable!("no instruction for directions")
    }

    #[inline(always)]
    fn widen<const B: usize>(self, groups: &[u8; SPAN]) -> [u64; WORDS] {
        groups::widen::<B>(groups)
    }

    #[inline(always)]
    fn narrow<const B: usize>(self, words: &[u64; WORDS], groups: &mut [u8; SPAN]) {
        groups::narrow::<B>(words, groups);
    }

    #[inline(always)]
    fn largest<const W: usize>(self, rows: &[[f32; W]; ROWS]) -> [u32; ROWS] {
        largest::largest(rows)
    }

    #[inline(always)]
    fn quiet(self, value: Self::F32) -> Self::F32 {
        value.map(|x| if x.is_nan() { f32::from_bits(CANONICAL_NAN).copysign(x) } else { x })
    }

    #[inline(always)]
    unsafe fn load(self, src: *const f32) -> Self::F32 {
        // SAFETY: the caller vouches for LANES readable floats.
        unsafe { src.cast::<Self::F32>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut f32, value: Self::F32) {
        // SAFETY: the caller vouches for LANES writable floats.
        unsafe { dst.cast::<Self::F32>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn float16_values(self, _: *const u16) -> Self::F32 {
        unreachable!("no instruction for float16")
    }

    #[inline(always)]
    unsafe fn bfloat16_values(self, _: *const u16) -> Self::F32 {
        unreachable!("no instruction for float16")
    }

    #[inline(always)]
    unsafe fn widened_values(self, _: *const u8, _: Widening) -> [Self::F32; 2] {
        unreachable!("no instruction for float16")
    }

    const HAS_TABLES: bool = false;

    #[inline(always)]
    unsafe fn table_values(self, _: *const u8, _: &ByteTable, _: &Places) -> [Self::F32; 4] {
        unreachable!("no instruction for tables")
    }

    #[inline(always)]
    unsafe fn float16_words(self, _: *const u32) -> [Self::F32; 2] {
        unreachable!("no instruction for float16")
    }

    #[inline(always)]
    unsafe fn bfloat16_words(self, _: *const u32) -> [Self::F32; 2] {
        unreachable!("no instruction for float16")
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn fold(self, [a, b, c, d]: Self::F32) -> f32 {
        (a + c) + (b + d)
    }

    const HAS_PAIRS: bool = false;

    #[inline(always)]
    fn fma_pairs(self, _: Self::F32, _: Self::F32, _: Self::F32) -> Self::F32 {
        unreachable!("no instruction for pairs")
    }

    #[inline(always)]
    fn canonical(self, value: Self::F32) -> Self::F32 {
        value.map(|x| if x.is_nan() { f32::from_bits(CANONICAL_NAN) } else { x })
    }

    #[inline(always)]
    unsafe fn load_first(self, src: *const f32, n: usize) -> Self::F32 {
        // SAFETY: the caller vouches for n readable floats.
        std::array::from_fn(|i| if i < n { unsafe { *src.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first(self, dst: *mut f32, n: usize, value: Self::F32) {
        for (i, &x) in value.iter().enumerate().take(n) {
            // SAFETY: the caller vouches for n writable floats.
            unsafe { *dst.add(i) = x };
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, src: *const u8, src_stride: isize, dst: *mut u32, dst_stride: usize) {
        // SAFETY: the caller vouches for the same.
        unsafe { transpose::transpose_4(src, src_stride, dst, dst_stride) }
    }
}

/// The fused multiply-add, from the instruction where the baseline has it.
#[cfg(any(target_arch = "aarch64", target_feature = "fma"))]
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// The fused multiply-add through float64, for baselines without the instruction.
///
/// The product of two float32 is exact in float64. The sum is not, so it is rounded to odd, and then to float32.
#[cfg(not(any(target_arch = "aarch64", target_feature = "fma")))]
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    sum_to_odd(f64::from(a) * f64::from(b), f64::from(c)) as f32
}

/// The sum, rounded to odd: to float64's 53 bits in such a way that rounding once more, to 51 bits or fewer (to
/// float32, or to its subnormals), gives the sum rounded once (Boldo and Melquiond, "Emulation of FMA and correctly
/// rounded sums", 2008). Both terms must be too small for the sum to overflow, or infinite or NaN.
#[inline(always)]
pub(crate) fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // Knuth's TwoSum: `sum + error` is the exact sum. Infinities make the error NaN, for which both
    // comparisons below are false.
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    // To odd: the truncated sum with its last bit set. An even inexact sum moves one unit toward the error,
    // up in magnitude where the error has the sum's sign and down where it has the other.
    let bits = sum.to_bits();
    let inexact = u64::from(error > 0.0) | u64::from(error < 0.0);
    let opposite = u64::from((error < 0.0) != (sum < 0.0));
    let even = (bits & 1) ^ 1;
    f64::from_bits(bits.wrapping_add((inexact & even).wrapping_mul(1u64.wrapping_sub(2 * opposite))))
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{X86Avx2, X86Avx512, X86Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{
        BYTES, ByteSteps, ByteTable, CANONICAL_NAN, FLOATS, HALVES, Places, ROWS, SPAN, Simd, WORDS,
        Widening, bytes, groups, half, largest, table, transpose,
    };
    use crate::isa::{self, Kernel};
    use std::arch::x86_64::*;

    macro_rules! x86_simd {
        ($(#[$doc:meta])* $name:ident, $call:ident, $vector:ty, $lanes:literal, $tile:expr,
         $splat:ident, $fma:ident, $load:ident, $store:ident, $mul:ident, $transpose:ident,
         $to_float16:ident, $to_bfloat16:ident,
         directions: $has_directions:literal, |$src64:ident, $direction:ident| $are_numbers:expr,
         |$steps:ident, $from:ident, $factors:ident, $to:ident, $along:ident, $sign:ident, $n:ident| $to_bytes:expr,
         $widen:ident, $narrow:ident, $largest:ident, |$q:ident| $quiet:expr,
         |$half:ident| $float16_values:expr, |$upper:ident| $bfloat16_values:expr,
         |$bytes:ident, $left:ident, $right:ident, $mask:ident| $widened_values:expr,
         |$words:ident| $float16_words:expr,
         |$split:ident| $bfloat16_words:expr,
         tables: $has_tables:literal, |$codes:ident, $table:ident, $places:ident| $table_values:expr,
         pairs: $has_pairs:literal, |$a:ident, $b:ident, $c:ident| $pairs:expr,
         |$x:ident, $nan:ident| $canonical:expr,
         |$lanes_of:ident| $fold:expr,
         |$src:ident, $read:ident| $load_first:expr,
         |$dst:ident, $written:ident, $value:ident| $store_first:expr) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(crate) struct $name(());

            impl $name {
                /// # Safety
                ///
                /// The CPU must have the instructions, and the calling function enable them.
                #[inline(always)]
                pub(crate) unsafe fn new() -> Self {
                    Self(())
                }
            }

            impl Simd for $name {
                type F32 = $vector;
                const LANES: usize = $lanes;
                const TILE: (usize, usize) = $tile;
                const HAS_FLOAT16: bool = true;

                #[inline(always)]
                fn call<K: Kernel>(self, kernel: K) -> K::Output {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { isa::$call(kernel) }
                }

                #[inline(always)]
                fn splat(self, value: f32) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                fn fma(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $fma(a, b, c) }
                }

                #[inline(always)]
                fn to_float16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { half::$to_float16(src, dst) }
                }

                #[inline(always)]
                fn to_bfloat16(self, src: &[f32; HALVES], dst: &mut [u16; HALVES]) {
                    // Some of these functions ask for instructions, which the token vouches for.
                    #[allow(unused_unsafe)]
                    // SAFETY: as above.
                    unsafe {
                        half::$to_bfloat16(src, dst)
                    }
                }

                const HAS_DIRECTIONS: bool = $has_directions;

                #[inline(always)]
                fn are_numbers<const $direction: u8>(self, $src64: &[f32; BYTES]) -> bool {
                    $are_numbers
                }

                #[inline(always)]
                fn to_bytes<const $along: u8, const $sign: u8, const $n: usize>(
                    self,
                    $steps: &ByteSteps,
                    $from: &[f32; BYTES],
                    $factors: Option<[&f32; BYTES / FLOATS]>,
                    $to: &mut [u8; $n],
                ) {
                    $to_bytes
                }

                #[inline(always)]
                fn widen<const B: usize>(self, groups: &[u8; SPAN]) -> [u64; WORDS] {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { groups::$widen::<B>(groups) }
                }

                #[inline(always)]
                fn narrow<const B: usize>(self, words: &[u64; WORDS], groups: &mut [u8; SPAN]) {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { groups::$narrow::<B>(words, groups) }
                }

                #[inline(always)]
                fn largest<const W: usize>(self, rows: &[[f32; W]; ROWS]) -> [u32; ROWS] {
                    // Some of these functions ask for instructions, which the token vouches for.
                    #[allow(unused_unsafe, reason = "others do not")]
                    // SAFETY: as above.
                    unsafe { largest::$largest(rows) }
                }

                #[inline(always)]
                fn quiet(self, $q:$vector) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $quiet }
                }

                const HAS_PAIRS: bool = $has_pairs;

                #[inline(always)]
                fn fma_pairs(self, $a: $vector, $b: $vector, $c: $vector) -> $vector {
                    $pairs
                }

                #[inline(always)]
                unsafe fn float16_values(self, $half: *const u16) -> $vector {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $float16_values }
                }

                #[inline(always)]
                unsafe fn bfloat16_values(self, $upper: *const u16) -> $vector {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $bfloat16_values }
                }

                #[inline(always)]
                unsafe fn widened_values(self, $bytes: *const u8, widening: Widening) -> [$vector; 2] {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe {
                        let $left = _mm_cvtsi32_si128(widening.left as i32);
                        let $right = _mm_cvtsi32_si128(widening.right as i32);
                        let $mask = widening.mask as i16;
                        $widened_values
                    }
                }

                const HAS_TABLES: bool = $has_tables;

                #[inline(always)]
                unsafe fn table_values(
                    self,
                    $codes: *const u8,
                    $table: &ByteTable,
                    $places: &Places,
                ) -> [$vector; 4] {
                    $table_values
                }

                #[inline(always)]
                unsafe fn float16_words(self, $words: *const u32) -> [$vector; 2] {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $float16_words }
                }

                #[inline(always)]
                unsafe fn bfloat16_words(self, $split: *const u32) -> [$vector; 2] {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $bfloat16_words }
                }

                #[inline(always)]
                fn mul(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $mul(a, b) }
                }

                #[inline(always)]
                fn fold(self, $lanes_of: $vector) -> f32 {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { $fold }
                }

                #[inline(always)]
                fn canonical(self, $x: $vector) -> $vector {
                    // SAFETY: the token vouches for the instructions.
                    unsafe {
                        let $nan = $splat(f32::from_bits(CANONICAL_NAN));
                        $canonical
                    }
                }

                #[inline(always)]
                unsafe fn load_first(self, $src: *const f32, $read: usize) -> $vector {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $load_first }
                }

                #[inline(always)]
                unsafe fn store_first(self, $dst: *mut f32, $written: usize, $value: $vector) {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $store_first }
                }

                #[inline(always)]
                unsafe fn transpose(self, src: *const u8, from: isize, dst: *mut u32, to: usize) {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { transpose::$transpose(src, from, dst, to) }
                }

                #[inline(always)]
                unsafe fn load(self, src: *const f32) -> $vector {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $load(src) }
                }

                #[inline(always)]
                unsafe fn store(self, dst: *mut f32, value: $vector) {
                    // SAFETY: the token vouches for the instructions, the caller for the memory.
                    unsafe { $store(dst, value) }
                }
            }
        };
    }

    /// Adds the upper half of the lanes to the lower, and so on.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX, and the calling function enable it.
    #[inline(always)]
    unsafe fn fold_8(x: __m256) -> f32 {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    /// Ones in the first `n` of eight lanes.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX2, and the calling function enable it.
    #[inline(always)]
    unsafe fn first_8(n: usize) -> __m256i {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)
        }
    }

    /// Ones for the first `n` of sixteen lanes.
    #[inline(always)]
    fn first_16(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }

    // Tiles fill the registers: 12 of 16 accumulate under AVX2, 24 of 32 under AVX-512.
    x86_simd!(
        /// AVX2 and FMA.
        X86Avx2, run_avx2, __m256, 8, (6, 2),
        _mm256_set1_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_mul_ps, transpose_8,
        to_float16_avx2, to_bfloat16,
        directions: false, |_src, D| unreachable!("no instruction for directions"),
        |_steps, _src, _factors, _dst, D, S, N| unreachable!("no instruction for directions"),
        widen_avx2, narrow_avx2, largest,
        |x| {
            let nan = _mm256_or_ps(_mm256_and_ps(x, _mm256_set1_ps(-0.0)), _mm256_set1_ps(f32::from_bits(CANONICAL_NAN)));
            _mm256_blendv_ps(x, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x))
        },
        |halves| _mm256_cvtph_ps(_mm_loadu_si128(halves.cast())),
        |uppers| {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(uppers.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
        },
        |bytes, left, right, mask| {
            let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.cast()));
            let moved = _mm256_sra_epi16(_mm256_sll_epi16(words, left), right);
            let halves = _mm256_and_si256(moved, _mm256_set1_epi16(mask));
            [
                _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
            ]
        },
        |words| {
            let words = _mm256_loadu_si256(words.cast());
            let low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
            // Both halves' lanes, four and four; then the quarters in order.
            let both = _mm256_packus_epi32(low, _mm256_srli_epi32::<16>(words));
            let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
            [
                _mm256_cvtph_ps(_mm256_castsi256_si128(both)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(both)),
            ]
        },
        |words| {
            let words = _mm256_loadu_si256(words.cast());
            let upper = _mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), _mm256_castsi256_ps(upper)]
        },
        tables: false, |_codes, _table, _places| unreachable!("no instruction for tables"),
        pairs: false, |_a, _b, _c| unreachable!("no instruction for pairs"),
        |x, nan| _mm256_blendv_ps(x, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)),
        |x| fold_8(x),
        |src, n| _mm256_maskload_ps(src, first_8(n)),
        |dst, n, x| _mm256_maskstore_ps(dst, first_8(n), x)
    );

    macro_rules! avx512_simd {
        ($(#[$doc:meta])* $name:ident, $call:ident, $widen:ident, $narrow:ident,
         tables: $has_tables:literal, |$codes:ident, $table:ident, $places:ident| $table_values:expr,
         pairs: $has_pairs:literal, |$a:ident, $b:ident, $c:ident| $pairs:expr) => {
            x86_simd!(
                $(#[$doc])*
                $name, $call, __m512, 16, (12, 2),
                _mm512_set1_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps, transpose_16,
                to_float16_avx512, to_bfloat16_avx512,
                directions: true, |src, D| {
                    // SAFETY: the token vouches for the instructions.
                    unsafe { bytes::are_numbers::<D>(src) }
                },
                |steps, src, factors, dst, D, S, N| {
                    // SAFETY: the token vouches for the instructions, `Level::run` for the environment.
                    unsafe { bytes::codes::<D, S, N>(steps, src, factors, dst) }
                },
                $widen, $narrow, largest_avx512,
                |x| {
                    let nan = _mm512_or_ps(_mm512_and_ps(x, _mm512_set1_ps(-0.0)), _mm512_set1_ps(f32::from_bits(CANONICAL_NAN)));
                    _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), nan)
                },
                |halves| _mm512_cvtph_ps(_mm256_loadu_si256(halves.cast())),
                |uppers| {
                    let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(uppers.cast()));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
                },
                |bytes, left, right, mask| {
                    let words = _mm512_cvtepu8_epi16(_mm256_loadu_si256(bytes.cast()));
                    let moved = _mm512_sra_epi16(_mm512_sll_epi16(words, left), right);
                    let halves = _mm512_and_si512(moved, _mm512_set1_epi16(mask));
                    [
                        _mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
                        _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves)),
                    ]
                },
                |words| {
                    let words = _mm512_loadu_si512(words.cast());
                    [
                        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words)),
                        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words))),
                    ]
                },
                |words| {
                    let words = _mm512_loadu_si512(words.cast());
                    let upper = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                    [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(upper)]
                },
                tables: $has_tables, |$codes, $table, $places| $table_values,
                pairs: $has_pairs, |$a, $b, $c| $pairs,
                |x, nan| _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), nan),
                |x| fold_8(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x))),
                |src, n| _mm512_maskz_loadu_ps(first_16(n), src),
                |dst, n, x| _mm512_mask_storeu_ps(dst, first_16(n), x)
            );
        };
    }

    avx512_simd!(
        /// AVX-512.
        X86Avx512, run_avx512, widen_avx2, narrow_avx2,
        tables: false, |_codes, _table, _places| unreachable!("no instruction for tables"),
        pairs: false, |_a, _b, _c| unreachable!("no instruction for pairs")
    );
    avx512_simd!(
        /// AVX-512 with dot products of bfloat16 and permutations of bytes.
        X86Avx512Bf16, run_avx512bf16, widen_avx512, narrow_avx512,
        tables: true, |codes, table, places| {
            // SAFETY: the token vouches for the instructions, the caller for the memory.
            unsafe { table::values(codes, table, places) }
        },
        pairs: true, |a, b, c| {
            // SAFETY: the token vouches for the instructions; the vectors differ in type only.
            unsafe {
                let a = std::mem::transmute::<__m512, __m512bh>(a);
                let b = std::mem::transmute::<__m512, __m512bh>(b);
                _mm512_dpbf16_ps(c, a, b)
            }
        }
    );
}

#[cfg(test)]
mod tests {
    use super::fma;
    use proptest::prelude::*;

    fn same(a: f32, b: f32, c: f32) -> bool {
        let (ours, theirs) = (fma(a, b, c), a.mul_add(b, c));
        ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200_000))]

        #[test]
        fn emulated_fma_rounds_once(a: u32, b: u32, c: u32) {
            prop_assert!(same(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c)));
        }

        /// Products near the addend, where rounding twice shows.
        #[test]
        fn emulated_fma_near_ties(a in 0x3f00_0000u32..0x4000_0000, b in 0x3f00_0000u32..0x4000_0000,
                                  low in 0u32..4, e in 60u32..190, negative: bool) {
            let c = f32::from_bits((e << 23) | low | (u32::from(negative) << 31));
            prop_assert!(same(f32::from_bits(a), f32::from_bits(b & !0xfff), c));
        }
    }

    #[test]
    fn emulated_fma_specials() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            -f32::from_bits(1),
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.5,
            3.0e-39,
            -1.0e-45,
        ];
        for a in values {
            for b in values {
                for c in values {
                    assert!(same(a, b, c), "{a} * {b} + {c}");
                }
            }
        }
    }
}
