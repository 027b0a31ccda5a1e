//! Codes of at most eight bits looked up: the upper halves of their values' bits, which say it all, because no such
//! format has more mantissa bits than they.

/// Codes that are looked up at a time.
pub(crate) const CODES: usize = 64;
/// Codes with the top bit clear.
const HALF: usize = 128;

/// The two upper bytes of the float32 of the codes below 128; those above differ in the sign, but for the first.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other level looks codes up"))]
#[repr(align(64))]
pub(crate) struct ByteTable {
    high: [u8; HALF],
    low: [u8; HALF],
    /// The two bytes of the value of code 128.
    first_negative: u16,
    way: Search,
}

/// How a code is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Formats of up to 6 bits: among the first sixty-four.
    Few,
    /// Formats of 8 bits: without the top bit, which is the sign.
    Signed,
    /// The same, but code 128 is not negative zero.
    SignedButFirst,
}

impl ByteTable {
    /// From the values of the codes 0 to 128 of a signed format of `bits`, 8 or up to 6.
    pub fn new(bits: u32, values: &[f32; HALF + 1]) -> Self {
        debug_assert!(bits <= 6 || bits == 8);
        let upper = values.map(|value| {
            debug_assert!(value.to_bits() & 0xffff == 0);
            (value.to_bits() >> 16) as u16
        });
        let first_negative = upper[HALF];
        Self {
            high: std::array::from_fn(|i| (upper[i] >> 8) as u8),
            low: std::array::from_fn(|i| upper[i] as u8),
            first_negative,
            way: if bits <= 6 {
                Search::Few
            } else if first_negative == upper[0] | 0x8000 {
                Search::Signed
            } else {
                Search::SignedButFirst
            },
        }
    }
}

/// Which code goes where among sixty-four before they are looked up, so that their numbers come out in some order.
///
/// The two bytes of each number meet when bytes of the low and of the high ones are interleaved, eight of every
/// sixteen at a time; then each word of two numbers comes apart. So the first of four vectors has the codes of even
/// place in the first half of every sixteen, the second those of odd place, and the others those of the second half.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other level looks codes up"))]
#[repr(align(64))]
pub(crate) struct Places([u8; CODES]);

impl Places {
    /// Lane `l` of vector `v` is that of code `16 v + l`.
    pub const IN_ORDER: Self = Self::new(16, 1);
    /// Lane `l` of vector `v` is that of code `4 l + v`: the codes in their four-byte words.
    pub const WORDS: Self = Self::new(1, 4);

    const fn new(by_vector: usize, by_lane: usize) -> Self {
        let mut places = [0; CODES];
        let mut place = 0;
        while place < CODES {
            let vector = place % 16 / 8 * 2 + place % 2;
            let lane = place / 16 * 4 + place % 8 / 2;
            places[place] = (vector * by_vector + lane * by_lane) as u8;
            place += 1;
        }
        Self(places)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ByteTable, Places, Search};
    use std::arch::x86_64::*;

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
            let codes = _mm512_permutexvar_epi8(load!(places.0.as_ptr()), load!(codes));
            let (high, low) = (table.high.as_ptr(), table.low.as_ptr());
            let (high, low) = if table.way == Search::Few {
                (_mm512_permutexvar_epi8(codes, load!(high)), _mm512_permutexvar_epi8(codes, load!(low)))
            } else {
                let mut high = _mm512_permutex2var_epi8(load!(high), codes, load!(high.add(64)));
                let mut low = _mm512_permutex2var_epi8(load!(low), codes, load!(low.add(64)));
                let sign = _mm512_set1_epi8(-0x80);
                high = _mm512_ternarylogic_epi32::<0xf8>(high, codes, sign); // a | b & c
                if table.way == Search::SignedButFirst {
                    let first = _mm512_cmpeq_epi8_mask(codes, sign);
                    let [first_low, first_high] = table.first_negative.to_le_bytes();
                    high = _mm512_mask_mov_epi8(high, first, _mm512_set1_epi8(first_high as i8));
                    low = _mm512_mask_mov_epi8(low, first, _mm512_set1_epi8(first_low as i8));
                }
                (high, low)
            };
            let (one, two) = (_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high));
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            [
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(one)),
                _mm512_castsi512_ps(_mm512_and_si512(one, upper)),
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(two)),
                _mm512_castsi512_ps(_mm512_and_si512(two, upper)),
            ]
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::values;
