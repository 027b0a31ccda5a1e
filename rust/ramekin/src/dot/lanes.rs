//! The lanes of a dot product: chains side by side, and the tree that adds them.

use std::marker::PhantomData;

use crate::matmul::source::{MOST, Source};
use crate::simd::{CANONICAL_NAN, Simd};

/// How many there are.
pub(super) const LANES: usize = 64;

/// The most vectors that they fill, those of the portable level.
const MOST_VECTORS: usize = 16;

/// The lanes, in order; or `SPLIT` as by a source that gives the even elements of every two vectors before the odd
/// ones.
pub(super) struct Lanes<S, const SPLIT: bool> {
    values: [f32; LANES],
    set: PhantomData<S>,
}

impl<S: Simd, const SPLIT: bool> Lanes<S, SPLIT> {
    const VECTORS: usize = LANES / S::LANES;

    #[inline(always)]
    pub fn new() -> Self {
        Self { values: [0.0; LANES], set: PhantomData }
    }

    /// Continues the chains by all elements, the first of which are lane 0's.
    #[inline(always)]
    pub fn go_on<A: Source<S>, B: Source<S>>(
        &mut self,
        simd: S,
        (of_a, a): (A, &[A::Element]),
        (of_b, b): (B, &[B::Element]),
    ) {
        let (a_turns, a_rest) = a.as_chunks();
        let (b_turns, b_rest) = b.as_chunks();
        self.turns(simd, (of_a, a_turns), (of_b, b_turns));
        if a_rest.is_empty() {
            return;
        }
        let (mut a_turn, mut b_turn) = ([A::Element::default(); LANES], [B::Element::default(); LANES]);
        a_turn[..a_rest.len()].copy_from_slice(a_rest);
        b_turn[..b_rest.len()].copy_from_slice(b_rest);
        // The lanes past the last element keep what they had, whatever they come to here.
        let mut all = Self { values: self.values, ..Self::new() };
        all.turns(simd, (of_a, &[a_turn]), (of_b, &[b_turn]));
        for element in 0..a_rest.len() {
            let place = Self::place(element);
            self.values[place] = all.values[place];
        }
    }

    /// Where the lane of an element is.
    #[inline(always)]
    fn place(element: usize) -> usize {
        if !SPLIT {
            return element;
        }
        let within = element % (2 * S::LANES);
        element - within + within % 2 * S::LANES + within / 2
    }

    /// Continues the chains by an element for each lane, again and again.
    #[inline(always)]
    fn turns<A: Source<S>, B: Source<S>>(
        &mut self,
        simd: S,
        (of_a, a): (A, &[[A::Element; LANES]]),
        (of_b, b): (B, &[[B::Element; LANES]]),
    ) {
        let part = const { if A::VECTORS > B::VECTORS { A::VECTORS } else { B::VECTORS } };
        let mut chains = self.load(simd);
        for (a, b) in a.iter().zip(b) {
            for (i, chains) in chains[..Self::VECTORS].chunks_exact_mut(part).enumerate() {
                let at = i * part * S::LANES;
                // SAFETY: steps of both sources divide the lanes, so a part's elements lie within the turn.
                let (a, b) = unsafe {
                    let (a, b) = (a.as_ptr().add(at), b.as_ptr().add(at));
                    (steps(simd, of_a, a, part), steps(simd, of_b, b, part))
                };
                for ((chain, a), b) in chains.iter_mut().zip(a).zip(b) {
                    *chain = simd.fma(a, b, *chain);
                }
            }
        }
        for (i, &chain) in chains.iter().enumerate().take(Self::VECTORS) {
            // SAFETY: vectors divide the lanes.
            unsafe { simd.store(self.values.as_mut_ptr().add(i * S::LANES), chain) };
        }
    }

    /// The vectors of the lanes, and zeros.
    #[inline(always)]
    fn load(&self, simd: S) -> [S::F32; MOST_VECTORS] {
        let mut vectors = [simd.splat(0.0); MOST_VECTORS];
        for (i, vector) in vectors.iter_mut().enumerate().take(Self::VECTORS) {
            // SAFETY: vectors divide the lanes.
            *vector = unsafe { simd.load(self.values.as_ptr().add(i * S::LANES)) };
        }
        vectors
    }

    /// Adds the upper half to the lower, and so on until one lane is left.
    #[inline(always)]
    pub fn sum(&self, simd: S) -> f32 {
        let one = simd.splat(1.0);
        let mut sums = self.load(simd);
        // The even lanes and the odd ones meet in the last step only, so apart they take the same steps.
        let vectors = 1 + usize::from(SPLIT);
        let mut n = Self::VECTORS;
        while n > vectors {
            n /= 2;
            for i in 0..n {
                sums[i] = simd.fma(sums[i + n], one, sums[i]);
            }
        }
        let sum = if SPLIT { simd.fold(sums[0]) + simd.fold(sums[1]) } else { simd.fold(sums[0]) };
        if sum.is_nan() { f32::from_bits(CANONICAL_NAN) } else { sum }
    }
}

/// The first `n` vectors of values from `at` on; `n` is a multiple of those of one step.
///
/// # Safety
///
/// So many elements must be readable.
#[inline(always)]
unsafe fn steps<S: Simd, Q: Source<S>>(
    simd: S,
    source: Q,
    at: *const Q::Element,
    n: usize,
) -> [S::F32; MOST] {
    let mut vectors = [simd.splat(0.0); MOST];
    for i in (0..n).step_by(Q::VECTORS) {
        // SAFETY: the caller vouches for the elements.
        let step = unsafe { source.load(simd, at.add(i * S::LANES)) };
        for (vector, &value) in vectors[i..].iter_mut().zip(step.as_ref()) {
            *vector = value;
        }
    }
    vectors
}
