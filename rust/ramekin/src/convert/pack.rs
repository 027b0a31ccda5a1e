//! Sub-byte storage: codes side by side in a stream of bits, low bits first.
//!
//! Code `i` of a format of `b` bits occupies the bits from `i b` on, where bit `n` of the stream is bit `n mod 8`
//! of byte `n div 8`: 4-bit codes lie two to a byte, the first in the low half (as in `torch.float4_e2m1fn_x2`),
//! 6-bit codes four in three bytes. Bits after the last code are zero.

use std::fmt;

use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::{SPAN, Simd, WORDS};

/// Why codes were not packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackError {
    /// A code has bits above the format's.
    Range,
    /// No thread pool.
    Threads(ThreadsError),
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range => f.write_str("a code has more bits than the format"),
            Self::Threads(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PackError {}

impl From<ThreadsError> for PackError {
    fn from(error: ThreadsError) -> Self {
        Self::Threads(error)
    }
}

/// How many bytes `codes` codes of `bits` bits take; `None` if that is no `usize`.
#[must_use]
pub fn packed_len(codes: usize, bits: u32) -> Option<usize> {
    // Whole groups of eight take `bits` bytes each, so nothing overflows that the result does not.
    let rest = (codes % 8 * bits as usize).div_ceil(8);
    (codes / 8).checked_mul(bits as usize)?.checked_add(rest)
}

/// Ones in the low `count` bits of each `width` bits.
const fn repeat(count: u32, width: u32) -> u64 {
    let ones = (1 << count) - 1;
    let mut mask = 0;
    let mut at = 0;
    while at < 64 {
        mask |= ones << at;
        at += width;
    }
    mask
}

/// Eight codes, a byte each, to `8 B` bits: neighbours move together, in pairs, fours and eights.
#[inline(always)]
fn squeeze<const B: usize>(codes: u64) -> u64 {
    let bits = B as u32;
    let low = const { repeat(B as u32, 16) };
    let pairs = (codes & low) | ((codes >> (8 - bits)) & (low << bits));
    let low = const { repeat(2 * B as u32, 32) };
    let fours = (pairs & low) | ((pairs >> (16 - 2 * bits)) & (low << (2 * bits)));
    let low = const { repeat(4 * B as u32, 64) };
    (fours & low) | ((fours >> (32 - 4 * bits)) & (low << (4 * bits)))
}

/// The inverse of [`squeeze`].
#[inline(always)]
fn spread<const B: usize>(word: u64) -> u64 {
    let bits = B as u32;
    let low = const { repeat(4 * B as u32, 64) };
    let fours = (word & low) | ((word & (low << (4 * bits))) << (32 - 4 * bits));
    let low = const { repeat(2 * B as u32, 32) };
    let pairs = (fours & low) | ((fours & (low << (2 * bits))) << (16 - 2 * bits));
    let low = const { repeat(B as u32, 16) };
    (pairs & low) | ((pairs & (low << bits)) << (8 - bits))
}

/// Codes in a span.
pub(crate) const CODES: usize = 8 * WORDS;

/// The codes in the first `8 B` bytes.
#[inline(always)]
pub(crate) fn unpack_span<S: Simd, const B: usize>(simd: S, packed: &[u8; SPAN]) -> [u8; CODES] {
    let mut codes = [0; CODES];
    for (codes, word) in codes.as_chunks_mut::<8>().0.iter_mut().zip(simd.widen::<B>(packed)) {
        *codes = spread::<B>(word).to_le_bytes();
    }
    codes
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

// (Loops below, not `map`: closures are not sure to be inlined, and are compiled for the baseline if not.)

struct Pack<'a, const B: usize> {
    codes: &'a [u8],
    out: &'a mut [u8],
}

impl<const B: usize> Kernel for Pack<'_, B> {
    /// The bits that no code of the format has.
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        let (groups, tail) = self.codes.as_chunks::<8>();
        let (words, _) = groups.as_chunks::<WORDS>();
        // Of each word apart, so that they need not come together each time.
        let (mut of_words, mut done) = ([0; WORDS], 0);
        for groups in words {
            let Some(out) = self.out[done * B..].first_chunk_mut::<SPAN>() else { break };
            let mut squeezed = [0; WORDS];
            for ((squeezed, codes), excess) in squeezed.iter_mut().zip(groups).zip(&mut of_words) {
                let codes = u64::from_le_bytes(*codes);
                *excess |= codes;
                *squeezed = squeeze::<B>(codes);
            }
            simd.narrow::<B>(&squeezed, out);
            done += WORDS;
        }
        let mut excess = 0;
        for of_word in of_words {
            excess |= of_word;
        }
        let (out, out_tail) = self.out[done * B..].split_at_mut((groups.len() - done) * B);
        for (codes, out) in groups[done..].iter().zip(out.chunks_exact_mut(B)) {
            let codes = u64::from_le_bytes(*codes);
            excess |= codes;
            out.copy_from_slice(&squeeze::<B>(codes).to_le_bytes()[..B]);
        }
        let codes = word(tail);
        out_tail.copy_from_slice(&squeeze::<B>(codes).to_le_bytes()[..out_tail.len()]);
        (excess | codes) & !const { repeat(B as u32, 8) }
    }
}

struct Unpack<'a, const B: usize> {
    packed: &'a [u8],
    codes: &'a mut [u8],
}

impl<const B: usize> Kernel for Unpack<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut done = 0;
        for codes in self.codes.as_chunks_mut::<CODES>().0 {
            let Some(packed) = self.packed[done * B..].first_chunk::<SPAN>() else { break };
            *codes = unpack_span::<S, B>(simd, packed);
            done += WORDS;
        }
        let (groups, tail) = self.codes.as_chunks_mut::<8>();
        let (packed, packed_tail) = self.packed[done * B..].split_at((groups.len() - done) * B);
        for (codes, packed) in groups[done..].iter_mut().zip(packed.chunks_exact(B)) {
            *codes = spread::<B>(word(packed)).to_le_bytes();
        }
        let codes = spread::<B>(word(packed_tail)).to_le_bytes();
        tail.copy_from_slice(&codes[..tail.len()]);
    }
}

/// Expands `$body` with `$B` bound to the constant that equals `$bits`, from 1 to 7.
macro_rules! with_bits {
    ($bits:expr, $B:ident => $body:expr) => {
        with_bits!(@ $bits, $B => $body; 1 2 3 4 5 6 7)
    };
    (@ $bits:expr, $B:ident => $body:expr; $($literal:literal)*) => {
        match $bits {
            $($literal => { const $B: usize = $literal; $body })*
            bits => panic!("{bits} bits are no part of a byte"),
        }
    };
}

/// Packs codes that have no bits above the format's, on this thread.
///
/// # Panics
///
/// As [`pack`].
pub(crate) fn pack_here(level: Level, bits: u32, codes: &[u8], out: &mut [u8]) {
    assert_eq!(Some(out.len()), packed_len(codes.len(), bits), "the packed size differs");
    with_bits!(bits, B => level.run(Pack::<B> { codes, out }));
}

/// Unpacks on this thread.
///
/// # Panics
///
/// As [`unpack`].
pub(crate) fn unpack_here(level: Level, bits: u32, packed: &[u8], codes: &mut [u8]) {
    assert_eq!(Some(packed.len()), packed_len(codes.len(), bits), "the packed size differs");
    with_bits!(bits, B => level.run(Unpack::<B> { packed, codes }));
}

/// Groups of eight codes that one thread takes at a time.
const GROUPS: usize = 1 << 13;

/// Packs codes of `bits` bits, one in each byte of `codes`.
///
/// # Errors
///
/// If a code has more bits; `out` is then unspecified.
///
/// # Panics
///
/// If `bits` is not 1 to 7, `out` is not [`packed_len`] long, or the CPU lacks `level`.
pub fn pack(level: Level, bits: u32, codes: &[u8], out: &mut [u8]) -> Result<(), PackError> {
    assert_eq!(Some(out.len()), packed_len(codes.len(), bits), "the packed size differs");
    let excess = with_bits!(bits, B => {
        if codes.len() <= 16 * GROUPS {
            level.run(Pack::<B> { codes, out })
        } else {
            let count = codes.len().div_ceil(8 * GROUPS);
            let parts = codes.chunks(8 * GROUPS).zip(out.chunks_mut(B * GROUPS));
            parallel::reduce(parts, count, |(codes, out)| level.run(Pack::<B> { codes, out }), |a, b| a | b)?
        }
    });
    if excess == 0 { Ok(()) } else { Err(PackError::Range) }
}

/// Writes each packed code of `bits` bits to a byte of its own.
///
/// # Errors
///
/// If there is no thread pool.
///
/// # Panics
///
/// If `bits` is not 1 to 7, `packed` is not [`packed_len`] long, or the CPU lacks `level`.
pub fn unpack(level: Level, bits: u32, packed: &[u8], codes: &mut [u8]) -> Result<(), PackError> {
    assert_eq!(Some(packed.len()), packed_len(codes.len(), bits), "the packed size differs");
    with_bits!(bits, B => {
        let count = codes.len().div_ceil(8 * GROUPS);
        let parts = packed.chunks(B * GROUPS).zip(codes.chunks_mut(8 * GROUPS));
        parallel::share(parts, count, |(packed, codes)| level.run(Unpack::<B> { packed, codes }))?;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout, one bit at a time.
    fn naive(bits: u32, codes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; (codes.len() * bits as usize).div_ceil(8)];
        for (i, code) in codes.iter().enumerate() {
            for b in 0..bits as usize {
                let n = i * bits as usize + b;
                out[n / 8] |= (code >> b & 1) << (n % 8);
            }
        }
        out
    }

    #[test]
    fn equals_the_layout() {
        for bits in 1..8 {
            for len in (0..40).chain([1000, 200_001]) {
                let codes: Vec<u8> = (0..len).map(|i| ((i * 37 + i / 7) % (1 << bits)) as u8).collect();
                let right = naive(bits, &codes);
                assert_eq!(packed_len(len, bits), Some(right.len()));
                for level in Level::available() {
                    let mut packed = vec![0xaa; right.len()];
                    pack(level, bits, &codes, &mut packed).unwrap();
                    assert!(packed == right, "{bits} bits, {len} codes, {level}");
                    let mut back = vec![0xaa; len];
                    unpack(level, bits, &packed, &mut back).unwrap();
                    assert!(back == codes, "{bits} bits, {len} codes, {level}");
                }
            }
        }
    }

    #[test]
    fn refuses_codes_that_are_none() {
        for at in [0, 7, 8, 19] {
            let mut codes = vec![1u8; 20];
            codes[at] = 16;
            assert_eq!(pack(Level::Portable, 4, &codes, &mut [0; 10]), Err(PackError::Range));
        }
        assert_eq!(packed_len(usize::MAX, 7).map(|n| n > usize::MAX / 8 * 7), Some(true));
    }
}
