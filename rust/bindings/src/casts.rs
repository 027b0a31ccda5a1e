//! The work of NumPy's cast functions: arrays of one kind to arrays of another, as `ml_dtypes` defines it.

use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use ramekin::convert::{self, Code, Conversion, ToFloat32, compared, encode_through_float32};
use ramekin::format::{FLOAT16, FLOAT32, NAMED};
use ramekin::fpenv::{self, Exceptions};
use ramekin::isa::{Level, active};
use ramekin::{FloatFormat, parallel};

/// What elements are.
pub(crate) enum Kind {
    /// Codes of a format with a dtype of `ml_dtypes`: its place in the list of named formats.
    Small(usize),
    /// Numbers of C; NumPy's name of them.
    Native(&'static str),
}

impl Kind {
    /// NumPy's name of the dtype.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Small(i) => &NAMED[*i].name,
            Self::Native(name) => name,
        }
    }
}

/// The place of bfloat16 among the kinds.
pub(crate) const BFLOAT16: usize = 0;
/// The place of float16.
pub(crate) const FLOAT16_KIND: usize = 12;
/// The place of float32.
pub(crate) const FLOAT32_KIND: usize = 13;

/// The place of float64.
pub(crate) const FLOAT64_KIND: usize = 14;

/// The answer, of a byte, for every code of 16 bits.
pub(crate) type Answers = [u8; 1 << 16];

/// Bytes of an element of a kind.
const fn size(kind: usize) -> usize {
    match kind {
        1..=11 | 15..=17 => 1,
        BFLOAT16 | FLOAT16_KIND | 18 | 19 => 2,
        FLOAT32_KIND | 20 | 21 => 4,
        _ => 8,
    }
}

/// Whether a kind is one of `ml_dtypes`' of a byte.
pub(crate) const fn is_byte(kind: usize) -> bool {
    1 <= kind && kind <= 11
}

/// Casts a few bytes by the answers for every code.
///
/// # Safety
///
/// As [`cast`].
#[inline(always)]
pub(crate) unsafe fn few_bytes(to: usize, src: *const u8, dst: *mut u8, n: usize, answers: &[u64; 256]) {
    for i in 0..n {
        // SAFETY: the caller vouches for both ends.
        unsafe {
            let answer = answers[usize::from(*src.add(i))];
            match size(to) {
                1 => *dst.add(i) = answer as u8,
                2 => *dst.cast::<u16>().add(i) = answer as u16,
                4 => *dst.cast::<u32>().add(i) = answer as u32,
                _ => *dst.cast::<u64>().add(i) = answer,
            }
        }
    }
}

/// The float32 that `ml_dtypes` makes of a number first, as bits.
///
/// # Safety
///
/// An element of kind `FROM`, which is bfloat16 or C's, at `src`; of float16 a normal one or a zero.
#[inline(always)]
unsafe fn float32_bits<const FROM: usize>(src: *const u8) -> u32 {
    // SAFETY: the caller vouches for the element.
    unsafe {
        let value = match FROM {
            BFLOAT16 => return u32::from(*src.cast::<u16>()) << 16,
            FLOAT16_KIND => return float16_bits(*src.cast::<u16>()),
            FLOAT32_KIND => return *src.cast::<u32>(),
            FLOAT64_KIND => *src.cast::<f64>() as f32,
            15 | 17 => f32::from(*src),
            16 => f32::from(*src.cast::<i8>()),
            18 => f32::from(*src.cast::<i16>()),
            19 => f32::from(*src.cast::<u16>()),
            20 => *src.cast::<i32>() as f32,
            21 => *src.cast::<u32>() as f32,
            22 => *src.cast::<i64>() as f32,
            _ => *src.cast::<u64>() as f32,
        };
        value.to_bits()
    }
}

/// A normal float16 or a zero as the bits of a float32.
#[inline(always)]
fn float16_bits(code: u16) -> u32 {
    let (sign, magnitude) = (u32::from(code & 0x8000) << 16, u32::from(code & 0x7fff));
    // The exponents' biases are 112 apart.
    sign | if magnitude == 0 { 0 } else { (magnitude << 13) + (112 << 23) }
}

const INFINITY: u32 = 0x7f80_0000;

/// Casts a few elements to a format of a byte by its answers for every float16, or else for every bfloat16. False if an
/// infinity or NaN is among them, of which the caller must cast them all.
///
/// Rounded to odd, to bfloat16, float32 is rounded right by the second rounding: its formats have at least two bits of
/// significand less, four mantissa bits at most of bfloat16's seven (Boldo and Melquiond, 2008).
///
/// # Safety
///
/// As [`cast`], from bfloat16 or a kind of C to a kind that [`is_byte`].
#[inline(always)]
pub(crate) unsafe fn few_to_bytes<const FROM: usize>(
    src: *const u8,
    dst: *mut u8,
    n: usize,
    answers: &Answers,
) -> bool {
    for i in 0..n {
        // SAFETY: the caller vouches for both ends.
        unsafe {
            let at = src.add(i * size(FROM));
            let code = if const { FROM == FLOAT16_KIND } {
                let code = *at.cast::<u16>();
                if code & 0x7c00 == 0x7c00 {
                    return false;
                }
                u32::from(code)
            } else {
                let bits = float32_bits::<FROM>(at);
                if bits & INFINITY == INFINITY {
                    return false;
                }
                bits >> 16 | u32::from(bits & 0xffff != 0)
            };
            *dst.add(i) = answers[code as usize];
        }
    }
    true
}

/// Casts a few elements to bfloat16; false as [`few_to_bytes`], or if a subnormal float16 is among them.
///
/// # Safety
///
/// As [`cast`], from a kind of C to bfloat16.
#[inline(always)]
pub(crate) unsafe fn few_to_bfloat16<const FROM: usize>(src: *const u8, dst: *mut u16, n: usize) -> bool {
    for i in 0..n {
        // SAFETY: the caller vouches for both ends.
        unsafe {
            let at = src.add(i * size(FROM));
            if const { FROM == FLOAT16_KIND } {
                let magnitude = *at.cast::<u16>() & 0x7fff;
                if magnitude != 0 && !(0x0400..0x7c00).contains(&magnitude) {
                    return false;
                }
            }
            let bits = float32_bits::<FROM>(at);
            if const { FROM == FLOAT32_KIND || FROM == FLOAT64_KIND } && bits & 0x7fff_ffff > INFINITY {
                return false;
            }
            // To nearest, ties to even: a carry goes into the exponent, up to infinity.
            *dst.add(i) = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        }
    }
    true
}

/// Casts a few bfloat16 to float64 or float16; false if one of them is infinite or NaN, or beyond the normal numbers of
/// float16, of which the caller must cast them all.
///
/// # Safety
///
/// As [`cast`], from bfloat16 to one of these two.
#[inline(always)]
pub(crate) unsafe fn few_bfloat16<const TO: usize>(src: *const u16, dst: *mut u8, n: usize) -> bool {
    for i in 0..n {
        // SAFETY: the caller vouches for both ends.
        unsafe {
            let code = *src.add(i);
            let magnitude = code & 0x7fff;
            if const { TO == FLOAT64_KIND } {
                if magnitude >= 0x7f80 {
                    return false;
                }
                *dst.cast::<f64>().add(i) = f64::from(f32::from_bits(u32::from(code) << 16));
            } else {
                // Exponents from -14 to 15, whose bias is 112 less in float16; three bits more of mantissa.
                if !(113 << 7..143 << 7).contains(&magnitude) {
                    return false;
                }
                *dst.cast::<u16>().add(i) = code & 0x8000 | (magnitude - (112 << 7)) << 3;
            }
        }
    }
    true
}

/// Every kind: `ml_dtypes`' twelve, and the twelve of C that they are cast from and to.
pub(crate) static KINDS: [Kind; 24] = [
    Kind::Small(2),
    Kind::Small(3),
    Kind::Small(4),
    Kind::Small(5),
    Kind::Small(6),
    Kind::Small(7),
    Kind::Small(8),
    Kind::Small(9),
    Kind::Small(10),
    Kind::Small(11),
    Kind::Small(12),
    Kind::Small(13),
    Kind::Native("float16"),
    Kind::Native("float32"),
    Kind::Native("float64"),
    Kind::Native("bool"),
    Kind::Native("int8"),
    Kind::Native("uint8"),
    Kind::Native("int16"),
    Kind::Native("uint16"),
    Kind::Native("int32"),
    Kind::Native("uint32"),
    Kind::Native("int64"),
    Kind::Native("uint64"),
];

/// Casts `n` elements and raises the exceptions that the cast meets, on this thread. False, and nothing done, if this
/// pair is none of ours. With `answers`, of a source of bytes, they are the whole rule.
///
/// # Safety
///
/// `n` aligned elements of kind `from` at `src`, room for as many of kind `to` at `dst`, apart from each other.
pub(crate) unsafe fn cast(
    from: usize,
    to: usize,
    src: *const u8,
    dst: *mut u8,
    n: usize,
    answers: Option<&[u64; 256]>,
) -> bool {
    let Ok(level) = active() else { return false };
    // SAFETY: the caller vouches for both ends.
    unsafe {
        let ends = Ends { level, src, dst, n };
        if let Some(answers) = answers {
            match size(to) {
                1 => ends.look_up(|code| answers[code as usize] as u8),
                2 => ends.look_up(|code| answers[code as usize] as u16),
                4 => ends.look_up(|code| answers[code as usize] as u32),
                _ => ends.look_up(|code| answers[code as usize]),
            }
            return true;
        }
        match (&KINDS[from], &KINDS[to]) {
            (Kind::Small(from), Kind::Small(to)) => ends.between(&NAMED[*from], &NAMED[*to]),
            (Kind::Small(from), Kind::Native("float16")) => ends.between(&NAMED[*from], &FLOAT16),
            (Kind::Small(from), Kind::Native("float32")) => ends.values::<f32>(&NAMED[*from]),
            (Kind::Small(from), Kind::Native("float64")) => ends.values::<f64>(&NAMED[*from]),
            (_, Kind::Native(_)) => return false,
            (Kind::Native(name), Kind::Small(to)) => {
                let to = &NAMED[*to];
                match *name {
                    "float16" => ends.between(&FLOAT16, to),
                    "float32" => ends.floats(to),
                    "float64" => ends.numbers::<f64>(to),
                    "int8" => ends.numbers::<i8>(to),
                    "bool" | "uint8" => ends.numbers::<u8>(to),
                    "int16" => ends.numbers::<i16>(to),
                    "uint16" => ends.numbers::<u16>(to),
                    "int32" => ends.numbers::<i32>(to),
                    "uint32" => ends.numbers::<u32>(to),
                    "int64" => ends.numbers::<i64>(to),
                    _ => ends.numbers::<u64>(to),
                }
            }
        }
    }
    true
}

/// Elements between two looks for signalling NaNs: they stay in the nearest cache.
const BLOCK: usize = 1 << 12;

/// Where a cast reads and writes. The methods are unsafe as [`cast`] is.
struct Ends {
    level: Level,
    src: *const u8,
    dst: *mut u8,
    n: usize,
}

impl Ends {
    /// Works through the elements on the pool, and raises here what was met there.
    unsafe fn work<A: Sync, B: Copy + Default + Send>(
        &self,
        work: impl Fn(&[A], &mut [B]) -> Exceptions + Sync,
    ) {
        // SAFETY: the caller of `cast` vouches for both; every bit pattern is a value of these types.
        let (src, dst) = unsafe {
            (
                slice::from_raw_parts(self.src.cast::<A>(), self.n),
                slice::from_raw_parts_mut(self.dst.cast::<B>(), self.n),
            )
        };
        let met = AtomicU64::new(0);
        let part = |_: usize, src: &[A], dst: &mut [B]| {
            met.fetch_or(work(src, dst).bits(), Ordering::Relaxed);
        };
        if parallel::zip_chunks(src, dst, part).is_err() {
            // No threads to be had, and nobody to tell it.
            part(0, src, dst);
        }
        fpenv::raise(Exceptions::from_bits(met.into_inner()));
    }

    unsafe fn floats(&self, to: &FloatFormat) {
        // SAFETY: as the caller vouches.
        unsafe { if to.bits() <= 8 { self.floats_to::<u8>(to) } else { self.floats_to::<u16>(to) } }
    }

    unsafe fn floats_to<C: Code>(&self, to: &FloatFormat) {
        let level = self.level;
        let block = |src: &[f32], dst: &mut [C]| {
            // SAFETY: a float32 is its code.
            let codes = unsafe { slice::from_raw_parts(src.as_ptr().cast::<u32>(), src.len()) };
            convert::encode(level, to, Conversion::default(), src, dst);
            compared(level, &FLOAT32, to.signed, codes)
        };
        // SAFETY: as the caller vouches.
        unsafe { self.work(|src, dst| in_blocks(src, dst, block)) }
    }

    unsafe fn numbers<T: ToFloat32>(&self, to: &FloatFormat) {
        let level = self.level;
        // SAFETY: as the caller vouches.
        unsafe {
            if to.bits() <= 8 {
                self.work(|src: &[T], dst: &mut [u8]| encode_through_float32(level, to, src, dst));
            } else {
                self.work(|src: &[T], dst: &mut [u16]| encode_through_float32(level, to, src, dst));
            }
        }
    }

    unsafe fn values<F: convert::Float + Default>(&self, from: &FloatFormat) {
        let level = self.level;
        // SAFETY: as the caller vouches.
        unsafe {
            if from.bits() <= 8 {
                self.work(|src: &[u8], dst: &mut [F]| {
                    convert::decode(level, from, src, dst);
                    Exceptions::NONE
                });
            } else {
                self.work(|src: &[u16], dst: &mut [F]| {
                    convert::decode_through_float32(level, from, src, dst)
                });
            }
        }
    }

    unsafe fn between(&self, from: &FloatFormat, to: &FloatFormat) {
        // SAFETY: as the caller vouches.
        unsafe {
            match (from.bits() <= 8, to.bits() <= 8) {
                (true, true) => self.codes::<u8, u8>(from, to),
                (true, false) => self.codes::<u8, u16>(from, to),
                (false, true) => self.codes::<u16, u8>(from, to),
                (false, false) => self.codes::<u16, u16>(from, to),
            }
        }
    }

    unsafe fn codes<A: Code, B: Code>(&self, from: &FloatFormat, to: &FloatFormat) {
        let level = self.level;
        // To float16 `ml_dtypes` works on the bits.
        let compares = from.bits() > 8 && *to != FLOAT16;
        let block = |src: &[A], dst: &mut [B]| {
            convert::encode_codes(level, (from, src), (to, dst), Conversion::default());
            if compares { compared(level, from, to.signed, src) } else { Exceptions::NONE }
        };
        // SAFETY: as the caller vouches.
        unsafe { self.work(|src, dst| in_blocks(src, dst, block)) }
    }

    unsafe fn look_up<B: Copy + Default + Send>(&self, answer: impl Fn(u8) -> B + Sync) {
        // SAFETY: as the caller vouches.
        unsafe {
            self.work(|src: &[u8], dst: &mut [B]| {
                for (dst, &src) in dst.iter_mut().zip(src) {
                    *dst = answer(src);
                }
                Exceptions::NONE
            });
        }
    }
}

fn in_blocks<A, B>(src: &[A], dst: &mut [B], block: impl Fn(&[A], &mut [B]) -> Exceptions) -> Exceptions {
    let blocks = src.chunks(BLOCK).zip(dst.chunks_mut(BLOCK));
    blocks.fold(Exceptions::NONE, |met, (src, dst)| met.and(block(src, dst)))
}
