//! Proof that conversion is right on this CPU, by trying every input.
//!
//! [`boundaries`] cuts the 2^32 bit patterns of float32 into runs of one right answer, by asking the integer
//! reference and nothing else; [`sweep`] then runs the kernel itself over a range of patterns and compares run
//! by run, at nearly the kernel's own speed. [`Samples`] holds what is worth trying when there is no time for
//! every input: what lies around each boundary, a stride over the rest, and the special values.

mod boundaries;
mod codes;
mod samples;
mod sweep;

pub use boundaries::{Boundary, boundaries};
pub use codes::check_decode;
pub use samples::Samples;
pub use sweep::sweep;

use crate::format::{FLOAT32, FloatFormat};
use crate::reference::Value;

/// How many bit patterns a float32 has.
pub const INPUTS: u64 = 1 << 32;

const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7f80_0000;

/// Inputs per call of the kernel where they are no whole number of vectors: a prime, so that every call ends in
/// elements that fill none. The loop over those is other machine code than the one that a sweep runs.
const ODD_CHUNK: usize = 4093;

/// An input whose answer is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The bits of the input: of a float32, or a code where decoding was checked.
    pub input: u32,
    /// The bits of the answer: a code, a float32 where rounding to the grid was checked, a float64 that has the
    /// number's value where decoding was.
    pub got: u64,
    /// The bits of the right answer.
    pub expected: u64,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many inputs were tried.
    pub checked: u64,
    /// For how many the answer was wrong.
    pub wrong: u64,
    /// The lowest of those.
    pub first: Option<Counterexample>,
}

impl Outcome {
    /// What two checks of different inputs found together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let first = self.first.into_iter().chain(other.first).min_by_key(|c| c.input);
        Self { checked: self.checked + other.checked, wrong: self.wrong + other.wrong, first }
    }

    fn record(&mut self, input: u32, got: u64, expected: u64, right: bool) {
        self.checked += 1;
        if !right {
            self.wrong += 1;
            if self.first.is_none_or(|first| input < first.input) {
                self.first = Some(Counterexample { input, got, expected });
            }
        }
    }
}

/// The number that a bit pattern of float32 is, in integers: an environment that takes subnormals for zero
/// must not reach the proof.
fn value(bits: u32) -> Value {
    let negative = bits & SIGN != 0;
    let magnitude = bits & !SIGN;
    let (field, mantissa) = (magnitude >> 23, u64::from(magnitude & 0x007f_ffff));
    match field {
        _ if magnitude > INFINITY => Value::Nan { negative },
        _ if magnitude == INFINITY => Value::Infinity { negative },
        0 => Value::Finite { negative, significand: mantissa, exponent: -149 },
        _ => Value::Finite { negative, significand: mantissa | 1 << 23, exponent: field as i32 - 150 },
    }
}

/// Whether float32 has bits to spare for the format, so that codes have runs; not so for float32 itself.
#[must_use]
pub const fn is_verifiable(format: &FloatFormat) -> bool {
    format.mantissa_bits < FLOAT32.mantissa_bits
}

/// Expands `$body` with `$C` bound to the smallest integer that holds a code, the one that arrays of codes use.
macro_rules! with_code {
    ($format:expr, $C:ident => $body:expr) => {
        match $format.bits() {
            0..=8 => {
                type $C = u8;
                $body
            }
            9..=16 => {
                type $C = u16;
                $body
            }
            _ => {
                type $C = u32;
                $body
            }
        }
    };
}
use with_code;
