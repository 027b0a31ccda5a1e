//! The kernel over a contiguous range of all float32, at nearly its own speed.

use std::ops::Range;

use super::boundaries::for_runs;
use super::{Boundary, Counterexample, INPUTS, Outcome, with_code};
use crate::convert::{self, Code, Conversion};
use crate::format::FloatFormat;
use crate::isa::Level;
use crate::parallel::{self, ThreadsError};

/// Inputs per call of the kernel: they and their codes fit the innermost cache.
const CHUNK: usize = 1 << 12;
/// Inputs that one thread works through before it takes more.
const PIECE: u64 = 1 << 20;

/// Encodes every float32 whose bits lie in `range` at `level`, on every thread of the pool, and compares with
/// the right codes.
///
/// # Errors
///
/// As [`parallel::share`].
///
/// # Panics
///
/// If `boundaries` do not start at 0, the range ends beyond [`INPUTS`], or the CPU lacks `level`.
pub fn sweep(
    level: Level,
    format: &FloatFormat,
    options: Conversion,
    boundaries: &[Boundary],
    range: Range<u64>,
) -> Result<Outcome, ThreadsError> {
    assert!(boundaries.first().is_some_and(|b| b.first == 0), "the runs do not start at 0");
    assert!(range.end <= INPUTS, "float32 has {INPUTS} bit patterns");
    let pieces = range.end.saturating_sub(range.start).div_ceil(PIECE);
    let check = |piece| {
        let start = range.start + piece * PIECE;
        let piece = start..range.end.min(start + PIECE);
        with_code!(format, C => sweep_piece::<C>(level, format, options, boundaries, piece))
    };
    parallel::reduce(0..pieces, pieces as usize, check, Outcome::and)
}

fn sweep_piece<C: Code + PartialEq>(
    level: Level,
    format: &FloatFormat,
    options: Conversion,
    boundaries: &[Boundary],
    piece: Range<u64>,
) -> Outcome {
    let mut at = boundaries.partition_point(|b| u64::from(b.first) <= piece.start) - 1;
    let (mut inputs, mut codes) = ([0f32; CHUNK], [C::default(); CHUNK]);
    let mut outcome = Outcome { checked: piece.end - piece.start, ..Outcome::default() };
    let mut start = piece.start;
    while start < piece.end {
        let len = (piece.end - start).min(CHUNK as u64);
        let (inputs, codes) = (&mut inputs[..len as usize], &mut codes[..len as usize]);
        let indices = |part: &Range<u64>| (part.start - start) as usize..(part.end - start) as usize;
        for (i, input) in inputs.iter_mut().enumerate() {
            *input = f32::from_bits(start as u32 + i as u32);
        }
        // A code that the kernel fails to write must not be the right one, left from the chunk before.
        for_runs(boundaries, &mut at.clone(), start..start + len, |part, code| {
            codes[indices(&part)].fill(C::truncate(!code));
        });
        convert::encode(level, format, options, inputs, codes);
        for_runs(boundaries, &mut at, start..start + len, |part, code| {
            let (right, got) = (C::truncate(code), &codes[indices(&part)]);
            if got.iter().fold(false, |differs, &got| differs | (got != right)) {
                let wrong = || got.iter().enumerate().filter(|&(_, &got)| got != right);
                outcome.wrong += wrong().count() as u64;
                if outcome.first.is_none() {
                    outcome.first = wrong().next().map(|(i, got)| Counterexample {
                        input: part.start as u32 + i as u32,
                        got: got.widen().into(),
                        expected: code.into(),
                    });
                }
            }
        });
        start += len;
    }
    outcome
}
