//! Tiles of an operand: read from wherever they lie and decoded to float32 or bfloat16.

use super::operand::{Codes, Operand};
use crate::convert::{Code, DecodePlan, decode_slice};
use crate::format::{BFLOAT16, FLOAT16, FloatFormat, Zero};
use crate::simd::{Simd, Widening, prefetch};

/// Lines of a tile.
pub(super) const LINES: usize = 32;
/// Elements of a line.
pub(super) const RUN: usize = 64;

/// Elements of an operand, decoded: lines of neighbours. Beyond the elements read, a line holds zeros, and further
/// lines what they held.
#[repr(align(64))]
pub(super) struct Tile<T>(pub [[T; RUN]; LINES]);

impl<T: Copy + Default> Tile<T> {
    #[inline(always)]
    pub fn new() -> Self {
        Self([[T::default(); RUN]; LINES])
    }
}

/// What the elements of a tile are decoded to.
pub(super) trait Decoded: Copy + Default {
    /// Decodes a line.
    fn line<C>(decoder: &mut impl DecodeLine<C>, codes: &[C], out: &mut [Self]);
    /// The number with this code in bfloat16.
    fn from_bfloat16(code: u16) -> Self;
}

impl Decoded for f32 {
    #[inline(always)]
    fn line<C>(decoder: &mut impl DecodeLine<C>, codes: &[C], out: &mut [Self]) {
        decoder.decode(codes, out);
    }

    #[inline(always)]
    fn from_bfloat16(code: u16) -> Self {
        Self::from_bits(u32::from(code) << 16)
    }
}

/// A code of bfloat16, of formats that fit there.
impl Decoded for u16 {
    #[inline(always)]
    fn line<C>(decoder: &mut impl DecodeLine<C>, codes: &[C], out: &mut [Self]) {
        let mut values = [0.0f32; RUN];
        let values = &mut values[..out.len()];
        decoder.decode(codes, values);
        for (out, value) in out.iter_mut().zip(values) {
            *out = (value.to_bits() >> 16) as Self;
        }
    }

    #[inline(always)]
    fn from_bfloat16(code: u16) -> Self {
        code
    }
}

/// Where the elements of a tile lie.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first element.
    pub start: isize,
    /// From one line to the next.
    pub line_stride: isize,
    /// From one element of a line to the next.
    pub run_stride: isize,
    /// At most [`LINES`].
    pub lines: usize,
    /// At most [`RUN`].
    pub run: usize,
}

impl Place {
    /// The codes of line `i`, from where they lie or gathered.
    #[inline(always)]
    fn line<'a, C: Copy>(&self, from: &'a [C], i: usize, gathered: &'a mut [C; RUN]) -> &'a [C] {
        let start = self.start + i as isize * self.line_stride;
        if self.run_stride == 1 {
            let run = &from[start as usize..][..self.run];
            // Too short for the CPU to notice that the next tile goes on there.
            for at in (0..size_of::<[C; RUN]>()).step_by(64) {
                prefetch(run.as_ptr().wrapping_add(RUN).cast::<u8>().wrapping_add(at));
            }
            return run;
        }
        for (j, to) in gathered.iter_mut().enumerate().take(self.run) {
            *to = from[(start + j as isize * self.run_stride) as usize];
        }
        &gathered[..self.run]
    }
}

/// Reads tiles of one operand.
pub(super) struct Reader<'a> {
    operand: &'a Operand<'a>,
    plan: DecodePlan<f32>,
    by_half: Option<ByHalf>,
    is_float16: bool,
    is_bfloat16: bool,
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub fn new(operand: &'a Operand<'a>) -> Self {
        let format = operand.format;
        Self {
            operand,
            plan: DecodePlan::new(format),
            by_half: ByHalf::new(format),
            is_float16: *format == FLOAT16,
            is_bfloat16: *format == BFLOAT16,
        }
    }

    #[inline(always)]
    pub fn read<S: Simd, T: Decoded>(&self, simd: S, place: Place, tile: &mut Tile<T>) {
        match self.operand.codes {
            Codes::U8(codes) => {
                if S::HAS_FLOAT16
                    && let Some(by_half) = self.by_half
                {
                    let mut decoder = Widened { simd, by_half, special: false };
                    each_line(codes, place, tile, &mut decoder);
                    if !decoder.special {
                        return;
                    }
                }
                self.read_codes(codes, place, tile);
            }
            Codes::U16(codes) if S::HAS_FLOAT16 && self.is_float16 => {
                each_line(codes, place, tile, &mut Halves(simd));
            }
            Codes::U16(codes) if self.is_bfloat16 => bfloat16_lines(codes, place, tile),
            Codes::U16(codes) => self.read_codes(codes, place, tile),
            Codes::F32(values) => each_line(values, place, tile, &mut Copies),
        }
    }

    #[inline(always)]
    fn read_codes<C: Code, T: Decoded>(&self, codes: &[C], place: Place, tile: &mut Tile<T>) {
        each_line(codes, place, tile, &mut ByPlan { format: self.operand.format, plan: &self.plan });
    }
}

/// How a line is decoded. (Not a closure: those are not sure to be inlined, and compiled for the baseline if not.)
pub(super) trait DecodeLine<T> {
    fn decode(&mut self, codes: &[T], out: &mut [f32]);
}

struct Copies;

impl DecodeLine<f32> for Copies {
    #[inline(always)]
    fn decode(&mut self, values: &[f32], out: &mut [f32]) {
        out.copy_from_slice(values);
    }
}

/// float16, by the instruction for it.
struct Halves<S>(S);

impl<S: Simd> DecodeLine<u16> for Halves<S> {
    #[inline(always)]
    fn decode(&mut self, codes: &[u16], out: &mut [f32]) {
        let simd = self.0;
        let whole = codes.len() / S::LANES * S::LANES;
        // SAFETY: LANES elements from i on exist in both; the rest goes through an array of the most lanes there are.
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                simd.store(out.as_mut_ptr().add(i), simd.float16_values(codes.as_ptr().add(i)));
            }
            if whole < codes.len() {
                let mut rest = [0u16; 16];
                rest[..codes.len() - whole].copy_from_slice(&codes[whole..]);
                let values = simd.float16_values(rest.as_ptr());
                simd.store_first(out.as_mut_ptr().add(whole), codes.len() - whole, values);
            }
        }
    }
}

/// Any format.
struct ByPlan<'a> {
    format: &'a FloatFormat,
    plan: &'a DecodePlan<f32>,
}

impl<C: Code> DecodeLine<C> for ByPlan<'_> {
    #[inline(always)]
    fn decode(&mut self, codes: &[C], out: &mut [f32]) {
        decode_slice(self.format, self.plan, codes, out);
    }
}

/// Decodes the elements of each line into its place in the tile.
#[inline(always)]
fn each_line<C: Copy + Default, T: Decoded, D: DecodeLine<C>>(
    from: &[C],
    place: Place,
    tile: &mut Tile<T>,
    decoder: &mut D,
) {
    let mut gathered = [C::default(); RUN];
    for (i, line) in tile.0.iter_mut().enumerate().take(place.lines) {
        let run = place.line(from, i, &mut gathered);
        if let Ok(whole) = <&[C; RUN]>::try_from(run) {
            // The same, but the compiler knows the length.
            T::line(decoder, whole, line);
        } else {
            T::line(decoder, run, &mut line[..place.run]);
            line[place.run..].fill(T::default());
        }
    }
}

/// The lines of a tile of bfloat16, which are not decoded at all or only moved.
#[inline(always)]
fn bfloat16_lines<T: Decoded>(from: &[u16], place: Place, tile: &mut Tile<T>) {
    let mut gathered = [0; RUN];
    for (i, line) in tile.0.iter_mut().enumerate().take(place.lines) {
        let run = place.line(from, i, &mut gathered);
        if let Ok(whole) = <&[u16; RUN]>::try_from(run) {
            *line = whole.map(T::from_bfloat16);
        } else {
            for (to, &code) in line.iter_mut().zip(run) {
                *to = T::from_bfloat16(code);
            }
            line[place.run..].fill(T::default());
        }
    }
}

/// Decoding by the CPU's own instruction for float16, for formats of up to 8 bits whose finite codes, widened, are
/// float16 codes of their values but for a power of two: subnormals too, since both count units below the smallest
/// normal number.
#[derive(Clone, Copy)]
pub(crate) struct ByHalf {
    pub widening: Widening,
    /// What a code's value is in units of the float16's.
    pub scale: f32,
    /// A code is not to be had so, being infinity or NaN, where `(code ^ flip) & mask` exceeds `limit`.
    flip: u8,
    mask: u8,
    limit: u8,
}

impl ByHalf {
    /// None for formats of which that is not true.
    #[inline(always)]
    pub fn new(format: &FloatFormat) -> Option<Self> {
        let top_field = format.max_code() >> format.mantissa_bits;
        let fits = format.bits() <= 8
            && format.signed
            && format.zero != Zero::None
            && top_field < 31
            && format.exponent_bits <= 5
            && (-100..=100).contains(&format.bias);
        if !fits {
            return None;
        }
        let (magnitudes, sign) = (format.magnitude_mask() as u8, format.sign_bit() as u8);
        let left = 16 - format.bits();
        let right = 5 - format.exponent_bits;
        let (flip, mask, limit) = match format.zero {
            // The one special code is the sign alone, which the flip makes all ones.
            Zero::Unsigned => (magnitudes, magnitudes | sign, (magnitudes | sign) - 1),
            _ => (0, magnitudes, format.max_code() as u8),
        };
        Some(Self {
            widening: Widening { left, right, mask: 0x8000 | (u16::from(magnitudes) << (left - right)) },
            scale: f32::from_bits(((127 + 15 - format.bias) as u32) << 23),
            flip,
            mask,
            limit,
        })
    }

    /// Whether the scale can go to the other factor of every product: `x` stays finite, and exact.
    #[inline(always)]
    pub fn moves(&self, x: &[f32]) -> bool {
        self.scale >= 1.0 && x.iter().all(|x| x.abs() <= f32::MAX / self.scale)
    }

    /// Whether any of the codes is special.
    #[inline(always)]
    pub fn any_special(&self, codes: &[u8]) -> bool {
        let mut most = 0;
        for code in codes {
            most = most.max((code ^ self.flip) & self.mask);
        }
        most > self.limit
    }
}

/// Codes that [`ByHalf`] suits.
struct Widened<S> {
    simd: S,
    by_half: ByHalf,
    /// Whether a special code was met.
    special: bool,
}

impl<S: Simd> DecodeLine<u8> for Widened<S> {
    #[inline(always)]
    fn decode(&mut self, codes: &[u8], out: &mut [f32]) {
        self.special |= self.by_half.any_special(codes);
        let step = 2 * S::LANES;
        let scale = self.simd.splat(self.by_half.scale);
        let whole = codes.len() / step * step;
        // SAFETY: `step` elements from i on exist in both; the rest goes through arrays of the most that it can be.
        unsafe {
            for i in (0..whole).step_by(step) {
                let [low, high] = self.simd.widened_values(codes.as_ptr().add(i), self.by_half.widening);
                self.simd.store(out.as_mut_ptr().add(i), self.simd.mul(low, scale));
                self.simd.store(out.as_mut_ptr().add(i + S::LANES), self.simd.mul(high, scale));
            }
            if whole < codes.len() {
                let (mut rest, mut values) = ([0u8; 32], [0.0f32; 32]);
                rest[..codes.len() - whole].copy_from_slice(&codes[whole..]);
                let [low, high] = self.simd.widened_values(rest.as_ptr(), self.by_half.widening);
                self.simd.store(values.as_mut_ptr(), self.simd.mul(low, scale));
                self.simd.store(values.as_mut_ptr().add(S::LANES), self.simd.mul(high, scale));
                out[whole..].copy_from_slice(&values[..codes.len() - whole]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NAMED;

    #[test]
    fn which_formats_go_by_float16() {
        let names: Vec<_> = NAMED.iter().filter(|f| ByHalf::new(f).is_some()).map(|f| &*f.name).collect();
        let others: Vec<_> =
            NAMED.iter().filter(|f| f.bits() <= 8 && !names.contains(&&*f.name)).map(|f| &*f.name).collect();
        // The first has finite numbers where float16 has infinity, the second no sign.
        assert_eq!(others, ["float8_e5m2fnuz", "float8_e8m0fnu"]);
    }
}
