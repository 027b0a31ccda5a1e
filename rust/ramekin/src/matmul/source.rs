//! How the codes of a format come to registers as float32, without a stop in memory.

use super::by_half::ByHalf;
use crate::convert::named_byte_table;
use crate::format::{BFLOAT16, FLOAT16, FLOAT32, FloatFormat};
use crate::simd::{ByteTable, CODES, Places, Simd, Widening};

/// Elements of a format in memory, from which vectors of their values come in one step.
pub(crate) trait Source<S: Simd>: Copy {
    type Element: Copy + Default;
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
pub(crate) const MOST: usize = 4;

/// float32 itself.
#[derive(Clone, Copy)]
pub(crate) struct Floats;

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
pub(crate) struct Float16s;

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
pub(crate) struct Bfloat16s;

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

/// Bytes without special codes; the values lack the scale of their [`ByHalf`].
#[derive(Clone, Copy)]
pub(crate) struct Bytes(pub Widening);

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
pub(crate) struct Looked<'a>(pub &'a ByteTable);

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

/// Elements of which a 32-bit word holds some, from whose words the vectors of values come: one for the first of each
/// word, one for the second, and so on.
pub(crate) trait Words<S: Simd>: Copy {
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
        // SAFETY: the caller vouches for the words.
        unsafe { simd.bfloat16_words(at) }
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

/// How the codes of a format come to registers.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Floats,
    Float16s,
    Bfloat16s,
    Bytes(ByHalf),
    Looked(&'static ByteTable),
    /// Only through a tile.
    Tile,
}

impl Way {
    #[inline(always)]
    pub(crate) fn new<S: Simd>(format: &FloatFormat) -> Self {
        if format.same_numbers(&FLOAT32) {
            Self::Floats
        } else if !S::HAS_FLOAT16 {
            Self::Tile
        } else if format.same_numbers(&FLOAT16) {
            Self::Float16s
        } else if format.same_numbers(&BFLOAT16) {
            Self::Bfloat16s
        } else if S::HAS_TABLES
            && let Some(table) = named_byte_table(format)
        {
            Self::Looked(table)
        } else {
            ByHalf::new(format).map_or(Self::Tile, Self::Bytes)
        }
    }
}
