//! The inputs worth trying when there is no time for all.

use super::{Boundary, INFINITY, ODD_CHUNK, Outcome, SIGN, with_code};
use crate::convert::{self, Code, Conversion};
use crate::format::FloatFormat;
use crate::isa::Level;
use crate::parallel::{self, ThreadsError};

/// The step over all bit patterns: a prime, so that their low bits take every value.
const STRIDE: usize = 20_011;

/// Inputs that stand for the rest, ascending, each with its right code.
#[derive(Clone, Debug)]
pub struct Samples {
    inputs: Vec<f32>,
    codes: Vec<u32>,
}

impl Samples {
    /// Two float32 to either side of every boundary and of every special value of float32, and a stride over
    /// all bit patterns.
    #[must_use]
    pub fn new(boundaries: &[Boundary]) -> Self {
        // The edges of zero, the subnormals, the normal numbers, infinity, the signalling and the quiet NaNs.
        let specials = [0, 1, 0x007f_ffff, 0x0080_0000, INFINITY, 0x7fc0_0000, 0x7fff_ffff];
        let mut bits: Vec<u32> = boundaries
            .iter()
            .map(|b| b.first)
            .chain(specials.into_iter().flat_map(|bits| [bits, bits | SIGN]))
            .flat_map(|bits| bits.saturating_sub(2)..=bits.saturating_add(2))
            .chain((0..=u32::MAX).step_by(STRIDE))
            .collect();
        bits.sort();
        bits.dedup();
        let mut at = 0;
        let code = |&bits: &u32| {
            while boundaries.get(at + 1).is_some_and(|next| next.first <= bits) {
                at += 1;
            }
            boundaries[at].code
        };
        let codes = bits.iter().map(code).collect();
        Self { inputs: bits.into_iter().map(f32::from_bits).collect(), codes }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Never: the special values are always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    fn check(&self, check: impl Fn(&[f32], &[u32]) -> Outcome + Sync) -> Result<Outcome, ThreadsError> {
        let chunks = self.inputs.chunks(ODD_CHUNK).zip(self.codes.chunks(ODD_CHUNK));
        let count = self.inputs.len().div_ceil(ODD_CHUNK);
        parallel::reduce(chunks, count, |(inputs, codes)| check(inputs, codes), Outcome::and)
    }

    /// Compares what [`convert::encode`] gives with the right codes.
    ///
    /// # Errors
    ///
    /// As [`parallel::share`].
    ///
    /// # Panics
    ///
    /// If the CPU lacks `level`.
    pub fn check_encode(
        &self,
        level: Level,
        format: &FloatFormat,
        options: Conversion,
    ) -> Result<Outcome, ThreadsError> {
        fn check<C: Code>(
            level: Level,
            format: &FloatFormat,
            options: Conversion,
            inputs: &[f32],
            right: &[u32],
        ) -> Outcome {
            // As in a sweep: a code that is not written is wrong.
            let mut codes: Vec<C> = right.iter().map(|&code| C::truncate(!code)).collect();
            convert::encode(level, format, options, inputs, &mut codes);
            let mut outcome = Outcome::default();
            for ((input, code), &right) in inputs.iter().zip(&codes).zip(right) {
                let code = code.widen();
                outcome.record(input.to_bits(), code.into(), right.into(), code == right);
            }
            outcome
        }
        self.check(|inputs, right| with_code!(format, C => check::<C>(level, format, options, inputs, right)))
    }

    /// Compares what [`convert::round_to`] gives with what decoding the right codes gives, bit by bit.
    ///
    /// # Errors
    ///
    /// As [`parallel::share`].
    ///
    /// # Panics
    ///
    /// If the CPU lacks `level`.
    pub fn check_round_to(
        &self,
        level: Level,
        format: &FloatFormat,
        options: Conversion,
    ) -> Result<Outcome, ThreadsError> {
        self.check(|inputs, codes| {
            let mut right = vec![0f32; inputs.len()];
            convert::decode(level, format, codes, &mut right);
            let mut rounded: Vec<f32> = right.iter().map(|x| f32::from_bits(!x.to_bits())).collect();
            convert::round_to(level, format, options, inputs, &mut rounded);
            let mut outcome = Outcome::default();
            for ((input, rounded), right) in inputs.iter().zip(&rounded).zip(&right) {
                let (got, right) = (rounded.to_bits(), right.to_bits());
                outcome.record(input.to_bits(), got.into(), right.into(), got == right);
            }
            outcome
        })
    }
}
