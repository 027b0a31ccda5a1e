//! Sums that start anew every so many terms, and are added up in a wider format.

use super::rectangle::{Rule, Terms, WIDTH};
use crate::simd::Simd;

/// A rule whose sums may be partial ones.
pub(super) trait Partial: Rule {
    /// Totals of partial sums.
    type Totals: Copy + Send;
    /// The totals of none.
    const NONE: Self::Totals;
    /// The totals with more partial sums added.
    fn add(totals: &Self::Totals, sums: &Self::Sums) -> Self::Totals;
    /// The totals as float32, NaN canonical.
    fn round(totals: &Self::Totals) -> [f32; WIDTH];
}

/// A rule by chunks.
pub(super) struct Promoted<R> {
    pub rule: R,
    /// Not zero.
    pub chunk: usize,
}

impl<R: Partial> Rule for Promoted<R> {
    type Sums = (R::Sums, R::Totals);
    const RECTANGLE: (usize, usize) = R::RECTANGLE;

    fn start(&self) -> Self::Sums {
        (self.rule.start(), R::NONE)
    }

    fn step(&self) -> usize {
        self.rule.step()
    }

    fn chunk(&self) -> usize {
        self.chunk
    }

    #[inline(always)]
    fn extend<S: Simd, const N: usize>(&self, simd: S, terms: Terms<'_, N>, sums: &mut [Self::Sums; N]) {
        let mut partial = [self.rule.start(); N];
        for (partial, sums) in partial.iter_mut().zip(&*sums) {
            *partial = sums.0;
        }
        let len = terms.b.len();
        let mut start = 0;
        while start < len {
            let left = self.chunk - (terms.first + start) % self.chunk;
            let end = start + left.min(len - start);
            self.rule.extend(simd, terms.part(start..end), &mut partial);
            if end - start == left {
                for (partial, sums) in partial.iter_mut().zip(&mut *sums) {
                    sums.1 = R::add(&sums.1, partial);
                    *partial = self.rule.start();
                }
            }
            start = end;
        }
        for (partial, sums) in partial.iter().zip(sums) {
            sums.0 = *partial;
        }
    }

    fn finish(&self, (partial, totals): &Self::Sums) -> [f32; WIDTH] {
        // A last chunk that is not full; if there is none, +0, which changes no total: those are never -0.
        R::round(&R::add(totals, partial))
    }
}
