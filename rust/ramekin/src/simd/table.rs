//! Codes of at most eight bits looked up: the upper halves of their values' bits, which say it all, because no such
//! format has more mantissa bits than they.

/// Codes that are looked up at a time.
pub(crate) const CODES: usize = 64;
/// Codes with the top bit clear.
const HALF: usize = 128;

/// The two upper bytes of the float32 of the codes below 128; those above differ in the sign, but for the first.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct ByteTable {
    high: [u8; HALF],
    low: [u8; HALF],
    /// The two bytes of the value of code 128.
    first_negative: u16,
    /// What of a code is the sign of its value.
    sign: u8,
}

impl ByteTable {
    /// From the values of the codes 0 to 128 of a signed format of `bits`.
    pub fn new(bits: u32, values: &[f32; HALF + 1]) -> Self {
        debug_assert!(bits <= 8);
        let upper = values.map(|value| {
            debug_assert!(value.to_bits() & 0xffff == 0);
            (value.to_bits() >> 16) as u16
        });
        Self {
            high: std::array::from_fn(|i| (upper[i] >> 8) as u8),
            low: std::array::from_fn(|i| upper[i] as u8),
            first_negative: upper[HALF],
            sign: if bits == 8 { 0x80 } else { 0 },
        }
    }
}

/// Where the bytes of the numbers of four vectors lie in the low bytes of all followed by the high ones; the lower
/// two bytes of a number are masked.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Places([[u8; CODES]; 4]);

impl Places {
    /// Lane `l` of vector `v` is that of code `16 v + l`.
    pub const IN_ORDER: Self = Self::new(16, 1);
    /// Lane `l` of vector `v` is that of code `4 l + v`: the codes in their four-byte words.
    pub const WORDS: Self = Self::new(1, 4);

    const fn new(by_vector: usize, by_lane: usize) -> Self {
        let mut places = [[0; CODES]; 4];
        let mut i = 0;
        while i < CODES {
            let (vector, lane) = (i / 16, i % 16);
            let code = vector * by_vector + lane * by_lane;
            places[vector][lane * 4 + 2] = code as u8;
            places[vector][lane * 4 + 3] = (CODES + code) as u8;
            i += 1;
        }
        Self(places)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ByteTable, Places};
    use std::arch::x86_64::*;

    /// The upper two bytes of every four.
    const UPPER: u64 = 0xcccc_cccc_cccc_cccc;

    /// The values of sixty-four codes.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX-512 BW and VBMI, the calling function enable them, and `codes` be valid for reading
    /// sixty-four bytes.
    #[inline(always)]
    pub(in crate::simd) unsafe fn values(
        codes: *const u8,
        table: &ByteTable,
        places: &Places,
    ) -> [__m512; 4] {
        // Not closures: those are not sure to be inlined, and are compiled for the baseline if not.
        macro_rules! load {
            ($bytes:expr) => {
                _mm512_loadu_si512($bytes.cast())
            };
        }
        // SAFETY: the caller vouches for the instructions and the codes; the rest is arrays of whole vectors.
        unsafe {
            let codes = load!(codes);
            let sign = _mm512_set1_epi8(table.sign as i8);
            let high = table.high.as_ptr();
            let high = _mm512_permutex2var_epi8(load!(high), codes, load!(high.add(64)));
            let high = _mm512_ternarylogic_epi32::<0xf8>(high, codes, sign); // a | b & c
            let low = table.low.as_ptr();
            let low = _mm512_permutex2var_epi8(load!(low), codes, load!(low.add(64)));
            // Code 128 is unlike the others, if that has a sign at all.
            let first = _mm512_mask_cmpeq_epi8_mask(_mm512_test_epi8_mask(sign, sign), codes, sign);
            let high = _mm512_mask_mov_epi8(high, first, _mm512_set1_epi8((table.first_negative >> 8) as i8));
            let low = _mm512_mask_mov_epi8(low, first, _mm512_set1_epi8(table.first_negative as i8));
            macro_rules! vector {
                ($v:literal) => {{
                    let places = load!(places.0[$v].as_ptr());
                    _mm512_castsi512_ps(_mm512_maskz_permutex2var_epi8(UPPER, low, places, high))
                }};
            }
            [vector!(0), vector!(1), vector!(2), vector!(3)]
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::values;
