//! Dot products of two vectors of any formats.
//!
//! Sixty-four chains run side by side, and where they end is added in pairs:
//!
//! ```text
//! lane[0..64] = +0.0
//! for k = 0, 1, …, K-1:           lane[k mod 64] = fma(a[k], b[k], lane[k mod 64])
//! for half = 32, 16, 8, 4, 2, 1:  for l = 0, …, half-1:  lane[l] = lane[l] + lane[l + half]
//! ```
//!
//! in float32: both vectors at their exact values, one rounding to nearest even per step, subnormals kept. The result
//! is `lane[0]`, NaN written as the canonical quiet NaN. Instruction sets and memory layout do not show.

mod lanes;

use lanes::{LANES, Lanes};

use crate::convert::{Code, DecodePlan, decode_slice};
use crate::isa::{Kernel, Level};
use crate::matmul::by_half::ByHalf;
use crate::matmul::operand::{Codes, Operand};
use crate::matmul::source::{Bfloat16s, Float16s, Floats, Looked, Source, Way};
use crate::simd::{ByteTable, Simd};

/// Elements that are looked through for special codes, or decoded, at a time.
const BLOCK: usize = 8 * LANES;

/// The dot product of two rows, by the definition in [this module](self), on the caller's thread.
///
/// # Panics
///
/// If an operand is not one row, is scaled, packed or of integers, the lengths differ, or the CPU lacks `level`.
#[must_use]
pub fn dot(level: Level, a: &Operand<'_>, b: &Operand<'_>) -> f32 {
    assert!(a.shape().0 == 1 && b.shape().0 == 1, "an operand is not one row");
    assert!(a.is_plain() && b.is_plain(), "an operand is scaled or packed");
    assert_eq!(a.shape().1, b.shape().1, "the lengths differ");
    level.run(Dot { a, b })
}

struct Dot<'a> {
    a: &'a Operand<'a>,
    b: &'a Operand<'a>,
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let k = self.a.shape.1;
        if k == 0 {
            return 0.0;
        }
        let (a, b) = (Vector::new::<S>(self.a), Vector::new::<S>(self.b));
        let block = if a.in_blocks() || b.in_blocks() { BLOCK } else { k };
        let mut lanes = Lanes::<S, false>::new();
        let mut at = 0;
        while at < k {
            let n = block.min(k - at);
            match (a.piece(at, n), b.piece(at, n)) {
                (Some(Piece::Bfloat16s(a)), Some(Piece::Bfloat16s(b))) => {
                    // Never in blocks: this is all.
                    let mut lanes = Lanes::<S, true>::new();
                    lanes.go_on(simd, (SplitBfloat16s, a), (SplitBfloat16s, b));
                    return lanes.sum(simd);
                }
                (Some(a), Some(b)) => go_on(simd, &mut lanes, a, b),
                _ => {
                    let (mut left, mut right) = ([0.0; BLOCK], [0.0; BLOCK]);
                    a.decode(at, &mut left[..n]);
                    b.decode(at, &mut right[..n]);
                    lanes.go_on(simd, (Floats, &left[..n]), (Floats, &right[..n]));
                }
            }
            at += n;
        }
        lanes.sum(simd)
    }
}

/// An operand and how its codes come to registers.
struct Vector<'a> {
    operand: &'a Operand<'a>,
    way: Way,
}

impl<'a> Vector<'a> {
    #[inline(always)]
    fn new<S: Simd>(operand: &'a Operand<'a>) -> Self {
        let way = if operand.strides.1 == 1 { Way::new::<S>(operand.format) } else { Way::Tile };
        Self { operand, way }
    }

    /// Whether the elements must be looked at before they are read, or decoded before.
    #[inline(always)]
    fn in_blocks(&self) -> bool {
        matches!(self.way, Way::Bytes(_) | Way::Tile)
    }

    /// Elements that can be read as they lie; None if they must be decoded.
    #[inline(always)]
    fn piece(&self, at: usize, n: usize) -> Option<Piece<'_>> {
        let start = self.operand.at(0, at) as usize;
        match (self.operand.codes, self.way) {
            (Codes::F32(values), Way::Floats) => Some(Piece::Floats(&values[start..][..n])),
            (Codes::U16(codes), Way::Float16s) => Some(Piece::Float16s(&codes[start..][..n])),
            (Codes::U16(codes), Way::Bfloat16s) => Some(Piece::Bfloat16s(&codes[start..][..n])),
            (Codes::U8(codes), Way::Looked(table)) => Some(Piece::Looked(&codes[start..][..n], table)),
            (Codes::U8(codes), Way::Bytes(way)) => {
                let codes = &codes[start..][..n];
                (!way.any_special(codes)).then_some(Piece::Bytes(codes, way))
            }
            _ => None,
        }
    }

    /// The values of any elements anywhere, at most [`BLOCK`].
    #[inline(always)]
    fn decode(&self, at: usize, values: &mut [f32]) {
        match self.operand.codes {
            Codes::U8(codes) => self.decode_codes(codes, at, values),
            Codes::U16(codes) => self.decode_codes(codes, at, values),
            Codes::F32(from) => self.gather(from, at, values),
            Codes::Packed(_) => unreachable!("refused above"),
        }
    }

    #[inline(always)]
    fn decode_codes<C: Code>(&self, codes: &[C], at: usize, values: &mut [f32]) {
        let mut gathered = [C::default(); BLOCK];
        let gathered = &mut gathered[..values.len()];
        self.gather(codes, at, gathered);
        decode_slice(self.operand.format, &DecodePlan::new(self.operand.format), gathered, values);
    }

    #[inline(always)]
    fn gather<T: Copy>(&self, from: &[T], at: usize, to: &mut [T]) {
        let (start, stride) = (self.operand.at(0, at), self.operand.strides.1);
        if stride == 1 {
            to.copy_from_slice(&from[start as usize..][..to.len()]);
            return;
        }
        for (i, to) in to.iter_mut().enumerate() {
            *to = from[(start + i as isize * stride) as usize];
        }
    }
}

/// Elements that come to registers from where they lie.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Floats(&'a [f32]),
    Float16s(&'a [u16]),
    Bfloat16s(&'a [u16]),
    /// None of them special.
    Bytes(&'a [u8], ByHalf),
    Looked(&'a [u8], &'a ByteTable),
}

/// Continues the lanes by all elements of two pieces.
#[inline(always)]
fn go_on<S: Simd>(simd: S, lanes: &mut Lanes<S, false>, a: Piece<'_>, b: Piece<'_>) {
    match a {
        Piece::Floats(a) => go_on_with(simd, lanes, (Floats, a), b),
        Piece::Float16s(a) => go_on_with(simd, lanes, (Float16s, a), b),
        Piece::Bfloat16s(a) => go_on_with(simd, lanes, (Bfloat16s, a), b),
        Piece::Bytes(a, way) => go_on_with(simd, lanes, (ScaledBytes(way), a), b),
        Piece::Looked(a, table) => go_on_with(simd, lanes, (Looked(table), a), b),
    }
}

#[inline(always)]
fn go_on_with<S: Simd, A: Source<S>>(
    simd: S,
    lanes: &mut Lanes<S, false>,
    a: (A, &[A::Element]),
    b: Piece<'_>,
) {
    match b {
        Piece::Floats(b) => lanes.go_on(simd, a, (Floats, b)),
        Piece::Float16s(b) => lanes.go_on(simd, a, (Float16s, b)),
        Piece::Bfloat16s(b) => lanes.go_on(simd, a, (Bfloat16s, b)),
        Piece::Bytes(b, way) => lanes.go_on(simd, a, (ScaledBytes(way), b)),
        Piece::Looked(b, table) => lanes.go_on(simd, a, (Looked(table), b)),
    }
}

/// bfloat16, the even ones of two vectors' elements before the odd ones: no element moves to another word.
#[derive(Clone, Copy)]
struct SplitBfloat16s;

impl<S: Simd> Source<S> for SplitBfloat16s {
    type Element = u16;
    type Vectors = [S::F32; 2];
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const u16) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the elements, which fill LANES words.
        unsafe { simd.bfloat16_words(at.cast()) }
    }
}

/// Bytes without special codes, and with their scale.
#[derive(Clone, Copy)]
struct ScaledBytes(ByHalf);

impl<S: Simd> Source<S> for ScaledBytes {
    type Element = u8;
    type Vectors = [S::F32; 2];
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const u8) -> [S::F32; 2] {
        let scale = simd.splat(self.0.scale);
        // SAFETY: the caller vouches for the elements.
        let [low, high] = unsafe { simd.widened_values(at, self.0.widening) };
        [simd.mul(low, scale), simd.mul(high, scale)]
    }
}
