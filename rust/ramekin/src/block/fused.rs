//! Scales and codes of blocks in a row, where they lie: magnitudes, scales and codes of a few blocks right
//! after one another.

use super::rule::GroupRule;
use crate::convert::{EncodePlan, ShortWay, all_positive, shape};
use crate::isa::Kernel;
use crate::simd::{Ahead, BYTES, ROWS, STREAMS, Simd};

/// Quantises a row of blocks of `WIDTH` float32, the last of which may be a part of one, to scales and codes of a byte;
/// `N` is what the codes of [`BYTES`] elements take.
pub(super) struct Fused<'a, R, const WIDTH: usize, const N: usize> {
    pub rule: R,
    pub plan: EncodePlan<f32>,
    pub row: &'a [f32],
    /// Whether there are more elements than stay in a core's own caches.
    pub far: bool,
    pub codes: &'a mut [u8],
    pub scales: &'a mut [u8],
}

impl<R: GroupRule, const WIDTH: usize, const N: usize> Kernel for Fused<'_, R, WIDTH, N> {
    /// Whether the level has the steps for this.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Some(way) = ShortWay::new::<S>(&self.plan) else { return false };
        let rule = self.rule;
        // Parts of the next groups of each place: so many were measured to be best.
        let ahead =
            if self.far { Ahead::Bytes(ROWS * WIDTH * size_of::<f32>() * 3 / 2) } else { Ahead::Nothing };
        let (groups, _) = self.row.as_chunks::<WIDTH>().0.as_chunks::<ROWS>();
        let (scales, codes) = (self.scales, self.codes);
        let each = groups.len() / STREAMS;
        let code_bytes = code_bytes::<WIDTH, N>();
        for i in 0..each {
            // All scales first: a division or a lookup need not be waited for.
            let mut factors = [[0.0; ROWS]; STREAMS];
            for (stream, factors) in factors.iter_mut().enumerate() {
                let at = stream * each + i;
                rule.scales(&simd.largest(&groups[at]), factors, &mut scales.as_chunks_mut().0[at]);
            }
            let positive = all_positive(factors.as_flattened());
            for (stream, factors) in factors.iter().enumerate() {
                let at = stream * each + i;
                let codes = &mut codes[at * code_bytes..][..code_bytes];
                encode::<S, WIDTH, N>(simd, &way, &groups[at], factors, positive, ahead, codes);
            }
        }
        let done = STREAMS * each;
        let rest = &self.row[done * ROWS * WIDTH..];
        let (codes, scales) = (&mut codes[done * code_bytes..], &mut scales[done * ROWS..]);
        simd.call(Rest::<R, WIDTH, N> { rule, way, rest, codes, scales });
        true
    }
}

/// The last blocks of a row.
struct Rest<'a, R, const WIDTH: usize, const N: usize> {
    rule: R,
    way: ShortWay,
    rest: &'a [f32],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
}

impl<R: GroupRule, const WIDTH: usize, const N: usize> Kernel for Rest<'_, R, WIDTH, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let groups = self.rest.chunks(ROWS * WIDTH).zip(self.codes.chunks_mut(code_bytes::<WIDTH, N>()));
        for ((numbers, codes), scales) in groups.zip(self.scales.chunks_mut(ROWS)) {
            // Zeros make no block's magnitude larger, and their codes are zeros, as what fills up a byte is.
            let mut blocks = [[0.0; WIDTH]; ROWS];
            let (mut all_codes, mut all_scales, mut factors) = ([[0; BYTES]; ROWS], [0; ROWS], [0.0; ROWS]);
            blocks.as_flattened_mut()[..numbers.len()].copy_from_slice(numbers);
            self.rule.scales(&simd.largest(&blocks), &mut factors, &mut all_scales);
            let (positive, ahead) = (all_positive(&factors), Ahead::Nothing);
            let all_codes = all_codes.as_flattened_mut();
            encode::<S, WIDTH, N>(simd, &self.way, &blocks, &factors, positive, ahead, all_codes);
            codes.copy_from_slice(&all_codes[..codes.len()]);
            scales.copy_from_slice(&all_scales[..scales.len()]);
        }
    }
}

/// Bytes of the codes of the blocks that go together.
const fn code_bytes<const WIDTH: usize, const N: usize>() -> usize {
    ROWS * WIDTH / BYTES * N
}

#[inline(always)]
fn encode<S: Simd, const WIDTH: usize, const N: usize>(
    simd: S,
    way: &ShortWay,
    blocks: &[[f32; WIDTH]; ROWS],
    factors: &[f32; ROWS],
    positive: bool,
    ahead: Ahead,
    codes: &mut [u8],
) {
    let groups = blocks.as_flattened().as_chunks::<BYTES>().0;
    let codes = codes.as_chunks_mut::<N>().0;
    for ((numbers, factors), codes) in groups.iter().zip(factors.chunks_exact(BYTES / WIDTH)).zip(codes) {
        // Blocks with NaN have factors of zero.
        way.encode::<S, { shape::NUMBERS }, WIDTH, N>(simd, numbers, factors, positive, ahead, codes);
    }
}
