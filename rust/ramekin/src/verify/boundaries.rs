//! Where the right answer changes.

use std::ops::Range;

use super::{INFINITY, INPUTS, SIGN, is_verifiable, value};
use crate::convert::Conversion;
use crate::format::FloatFormat;
use crate::parallel::{self, ThreadsError};
use crate::reference;

/// Where the right answer changes: it is `code` from `first` to the next boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The bits of the first float32 of the run.
    pub first: u32,
    /// The right code of every float32 of the run.
    pub code: u32,
}

/// The runs of float32 bit patterns that have one right code, in ascending order from 0 on, by the integer
/// reference.
///
/// # Why finding the ends of a run proves all of it
///
/// Bit patterns of one sign ascend with the magnitude. The reference takes the last code not above a magnitude,
/// then that one or the next, and the farther the magnitude has come towards the next, the less it stays: so,
/// over the finite numbers of one sign other than zero, the answer climbs a ladder of codes and never goes back
/// to a rung that it has left. Two inputs with equal codes therefore have that code everywhere between, and one
/// input at which the answer changes is found by bisection.
///
/// Nothing else is assumed. What is not on the ladder stands by itself: zero (NaN in E8M0, which is also what
/// its overflow gives, so that the ladder's ends would meet; the one +0 for either sign in the `fnuz` formats),
/// infinity, and the NaNs, of which the reference sees the sign only. Negative numbers are asked about like
/// positive ones: in E8M0 the ladder has a single rung, NaN, and in the `fnuz` formats it begins at +0.
///
/// # Errors
///
/// As [`parallel::share`].
///
/// # Panics
///
/// If the format is not [verifiable](is_verifiable).
pub fn boundaries(format: &FloatFormat, options: Conversion) -> Result<Vec<Boundary>, ThreadsError> {
    assert!(is_verifiable(format), "every float32 is a code of its own in {format}");
    let code = |bits| reference::encode(format, options, value(bits));
    let of_sign = |sign: u32| {
        let alone = |first| Boundary { first, code: code(first) };
        let mut runs = vec![alone(sign)];
        climb(code, sign | 1, sign | (INFINITY - 1), &mut runs);
        runs.extend([alone(sign | INFINITY), alone(sign | (INFINITY + 1))]);
        runs
    };
    let join = |mut runs: Vec<Boundary>, more| {
        runs.extend(more);
        runs
    };
    let mut runs = parallel::reduce([0, SIGN].into_iter(), 2, of_sign, join)?;
    runs.dedup_by_key(|run| run.code);
    Ok(runs)
}

/// Appends the runs from `first` to `last`, between which no code comes back once left.
fn climb(code: impl Fn(u32) -> u32, first: u32, last: u32, runs: &mut Vec<Boundary>) {
    let mut run = Boundary { first, code: code(first) };
    runs.push(run);
    let top = code(last);
    // The lengths of the last run but one and of the last. Where the format's numbers are as dense as float32's
    // but for a factor, lengths alternate between even and odd codes; guessing so saves most of the bisection.
    let mut lengths = [1, 1];
    while run.code != top {
        // Invariant: the answer is the run's at `low` and no longer at `high`.
        let (mut low, mut high) = (run.first, last);
        let guess = run.first.saturating_add(lengths[0]);
        let mut guesses = [guess, guess - 1].into_iter();
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let at = guesses.next().filter(|&at| low < at && at < high).unwrap_or(middle);
            if code(at) == run.code {
                low = at;
            } else {
                high = at;
            }
        }
        lengths = [lengths[1], high - run.first];
        run = Boundary { first: high, code: code(high) };
        runs.push(run);
    }
}

/// Calls `each` with the parts of `range` that have one right code. `at` is the run that holds the range's start,
/// and becomes the one that holds its end.
pub(super) fn for_runs(
    boundaries: &[Boundary],
    at: &mut usize,
    range: Range<u64>,
    mut each: impl FnMut(Range<u64>, u32),
) {
    let end_of = |at: usize| boundaries.get(at + 1).map_or(INPUTS, |next| u64::from(next.first));
    let mut from = range.start;
    while from < range.end {
        while end_of(*at) <= from {
            *at += 1;
        }
        let to = end_of(*at).min(range.end);
        each(from..to, boundaries[*at].code);
        from = to;
    }
}
