//! Chains along lines of a matrix that are decoded on the way to the registers.

use crate::simd::{ByteTable, CODES, Places, Simd, Widening, prefetch};

/// Elements of a format in memory, from which vectors of their values come in one step.
pub(super) trait Source<S: Simd>: Copy {
    type Element: Copy;
    /// Vectors of one step, of consecutive elements.
    type Vectors: AsRef<[S::F32]>;
    /// How many they are; at most [`MOST`].
    const VECTORS: usize;
    /// The values of `VECTORS` times `LANES` elements.
    ///
    /// # Safety
    ///
    /// `at` must be valid for reading so many elements.
    unsafe fn load(self, simd: S, at: *const Self::Element) -> Self::Vectors;
}

/// The most vectors of a step.
const MOST: usize = 4;

/// float32 itself.
#[derive(Clone, Copy)]
pub(super) struct Floats;

impl<S: Simd> Source<S> for Floats {
    type Element = f32;
    type Vectors = [S::F32; 2];
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const f32) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the elements.
        unsafe { [simd.load(at), simd.load(at.add(S::LANES))] }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Float16s;

impl<S: Simd> Source<S> for Float16s {
    type Element = u16;
    type Vectors = [S::F32; 2];
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const u16) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the elements.
        unsafe { [simd.float16_values(at), simd.float16_values(at.add(S::LANES))] }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Bfloat16s;

impl<S: Simd> Source<S> for Bfloat16s {
    type Element = u16;
    type Vectors = [S::F32; 2];
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const u16) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the elements.
        unsafe { [simd.bfloat16_values(at), simd.bfloat16_values(at.add(S::LANES))] }
    }
}

/// Bytes without special codes; the values lack the scale of their [`super::tile::ByHalf`].
#[derive(Clone, Copy)]
pub(super) struct Bytes(pub Widening);

impl<S: Simd> Source<S> for Bytes {
    type Element = u8;
    type Vectors = [S::F32; 2];
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const u8) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the elements.
        unsafe { simd.widened_values(at, self.0) }
    }
}

/// Bytes by a table.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a>(pub &'a ByteTable);

impl<S: Simd> Source<S> for Looked<'_> {
    type Element = u8;
    type Vectors = [S::F32; 4];
    const VECTORS: usize = CODES / S::LANES;

    #[inline(always)]
    unsafe fn load(self, simd: S, at: *const u8) -> [S::F32; 4] {
        // SAFETY: the caller vouches for the elements.
        unsafe { simd.table_values(at, self.0, &Places::IN_ORDER) }
    }
}

/// Continues the chains of `c` by one line for each of `x`; neighbouring lines are `stride` apart. Returns how many
/// elements of `c` were continued: all but those that fill no step.
///
/// # Safety
///
/// As many elements as `c` has must be readable at each line from `lines` on.
#[inline(always)]
pub(super) unsafe fn strip<S: Simd, Q: Source<S>>(
    simd: S,
    source: Q,
    lines: *const Q::Element,
    stride: isize,
    x: &[f32],
    c: &mut [f32],
) -> usize {
    let step = Q::VECTORS * S::LANES;
    let mut done = 0;
    // SAFETY: the caller vouches for the lines; the steps lie within `c`.
    unsafe {
        while done + 2 * step <= c.len() {
            group::<S, Q, 2>(simd, source, lines.add(done), stride, x, c.as_mut_ptr().add(done));
            done += 2 * step;
        }
        while done + step <= c.len() {
            group::<S, Q, 1>(simd, source, lines.add(done), stride, x, c.as_mut_ptr().add(done));
            done += step;
        }
    }
    done
}

/// # Safety
///
/// `G` steps must be readable at each line and writable at `c`.
#[inline(always)]
unsafe fn group<S: Simd, Q: Source<S>, const G: usize>(
    simd: S,
    source: Q,
    lines: *const Q::Element,
    stride: isize,
    x: &[f32],
    c: *mut f32,
) {
    let step = Q::VECTORS * S::LANES;
    let mut chains = [[simd.splat(0.0); MOST]; G];
    // SAFETY: the caller vouches for all that is read and written.
    unsafe {
        for (g, chains) in chains.iter_mut().enumerate() {
            for (i, chain) in chains.iter_mut().enumerate().take(Q::VECTORS) {
                *chain = simd.load(c.add(g * step + i * S::LANES));
            }
        }
        for (k, &x) in x.iter().enumerate() {
            let line = lines.offset(k as isize * stride);
            let x = simd.splat(x);
            for (g, chains) in chains.iter_mut().enumerate() {
                let values = source.load(simd, line.add(g * step));
                for (chain, &value) in chains.iter_mut().zip(values.as_ref()) {
                    *chain = simd.fma(x, value, *chain);
                }
            }
        }
        for (g, chains) in chains.iter().enumerate() {
            for (i, &chain) in chains.iter().enumerate().take(Q::VECTORS) {
                simd.store(c.add(g * step + i * S::LANES), chain);
            }
        }
    }
}

/// Elements of which a 32-bit word holds some, from whose words the vectors of values come: one for the first of each
/// word, one for the second, and so on.
pub(super) trait Words<S: Simd>: Copy {
    type Element: Copy;
    type Vectors: AsRef<[S::F32]>;
    /// Elements in a word.
    const ELEMENTS: usize;
    /// The values in `LANES` words.
    ///
    /// # Safety
    ///
    /// `at` must be valid for reading so many words.
    unsafe fn split(self, simd: S, at: *const u32) -> Self::Vectors;
}

impl<S: Simd> Words<S> for Floats {
    type Element = f32;
    type Vectors = [S::F32; 1];
    const ELEMENTS: usize = 1;

    #[inline(always)]
    unsafe fn split(self, simd: S, at: *const u32) -> [S::F32; 1] {
        // SAFETY: the caller vouches for the words.
        unsafe { [simd.load(at.cast())] }
    }
}

impl<S: Simd> Words<S> for Float16s {
    type Element = u16;
    type Vectors = [S::F32; 2];
    const ELEMENTS: usize = 2;

    #[inline(always)]
    unsafe fn split(self, simd: S, at: *const u32) -> [S::F32; 2] {
        // SAFETY: the caller vouches for the words.
        unsafe { simd.float16_words(at) }
    }
}

impl<S: Simd> Words<S> for Bfloat16s {
    type Element = u16;
    type Vectors = [S::F32; 2];
    const ELEMENTS: usize = 2;

    #[inline(always)]
    unsafe fn split(self, simd: S, at: *const u32) -> [S::F32; 2] {
        let mut first = [0u32; 16];
        let mut second = [0u32; 16];
        // SAFETY: the caller vouches for the words; no vector has more than 16 lanes.
        unsafe {
            for i in 0..S::LANES {
                let word = at.add(i).read();
                (first[i], second[i]) = (word << 16, word & 0xffff_0000);
            }
            [simd.load(first.as_ptr().cast()), simd.load(second.as_ptr().cast())]
        }
    }
}

impl<S: Simd> Words<S> for Looked<'_> {
    type Element = u8;
    type Vectors = [S::F32; 4];
    const ELEMENTS: usize = 4;

    #[inline(always)]
    unsafe fn split(self, simd: S, at: *const u32) -> [S::F32; 4] {
        // SAFETY: the caller vouches for the words, which are CODES bytes where there are tables.
        unsafe { simd.table_values(at.cast(), self.0, &Places::WORDS) }
    }
}

/// Continues the chains of `c`, `G` times `LANES`, by as much of `x` as whole squares of words take: neighbours in
/// memory belong to one row, and `rows` are `stride` elements apart. Returns how much.
///
/// # Safety
///
/// As many elements as `x` has must be readable at each row.
#[inline(always)]
pub(super) unsafe fn along<S: Simd, Q: Words<S>, const G: usize>(
    simd: S,
    source: Q,
    rows: *const Q::Element,
    stride: isize,
    x: &[f32],
    c: &mut [f32],
) -> usize {
    assert!(c.len() == G * S::LANES);
    let step = S::LANES * Q::ELEMENTS;
    let whole = x.len() / step * step;
    let mut words = [[0u32; 16 * 16]; G];
    let mut chains = [simd.splat(0.0); G];
    // SAFETY: the caller vouches for the rows; squares are of LANES words, at most 16.
    unsafe {
        for (g, chain) in chains.iter_mut().enumerate() {
            *chain = simd.load(c.as_ptr().add(g * S::LANES));
        }
        for at in (0..whole).step_by(step) {
            for (g, words) in words.iter_mut().enumerate() {
                let from = rows.offset((g * S::LANES) as isize * stride).add(at);
                turn(simd, from.cast::<u8>(), stride * size_of::<Q::Element>() as isize, words);
            }
            for (q, x) in x[at..at + step].chunks_exact(Q::ELEMENTS).enumerate() {
                for (chain, words) in chains.iter_mut().zip(&words) {
                    let values = source.split(simd, words.as_ptr().add(q * S::LANES));
                    for (&x, &value) in x.iter().zip(values.as_ref()) {
                        *chain = simd.fma(simd.splat(x), value, *chain);
                    }
                }
            }
        }
        for (g, &chain) in chains.iter().enumerate() {
            simd.store(c.as_mut_ptr().add(g * S::LANES), chain);
        }
    }
    whole
}

/// Turns a square of words whose rows are `stride` bytes apart.
///
/// # Safety
///
/// `LANES` words must be readable at each of `LANES` rows.
#[inline(always)]
unsafe fn turn<S: Simd>(simd: S, from: *const u8, stride: isize, words: &mut [u32; 256]) {
    // SAFETY: the caller vouches for the rows.
    unsafe {
        for row in 0..S::LANES as isize {
            // Lines far apart: the CPU does not foresee them.
            prefetch(from.wrapping_offset(row * stride + AHEAD));
        }
        simd.transpose(from, stride, words.as_mut_ptr(), S::LANES);
    }
}

/// Bytes to fetch ahead in each row.
const AHEAD: isize = 256;
