//! Tiles of an operand: read from wherever they lie and decoded to float32 or bfloat16.

use super::bits::unpack;
use super::by_half::{ByHalf, Widened};
use super::operand::{Codes, Operand};
use super::scales::Scale;
use crate::convert::{Code, DecodePlan, decode_slice};
use crate::float::Float;
use crate::format::{BFLOAT16, FLOAT16, FloatFormat};
use crate::isa::Kernel;
use crate::simd::{Simd, prefetch};

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

/// The elements of an operand that make a tile.
#[derive(Clone, Copy)]
pub(super) struct Area {
    /// Row and column of the first.
    pub first: (usize, usize),
    /// Whether lines are parts of rows, not of columns.
    pub across: bool,
    /// At most [`LINES`].
    pub lines: usize,
    /// At most [`RUN`].
    pub run: usize,
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

    /// Whether elements are more than their codes' values.
    #[inline(always)]
    pub fn scales(&self) -> bool {
        self.operand.inner_scales().is_some()
    }

    /// The elements.
    #[inline(always)]
    pub fn read<S: Simd>(&self, simd: S, area: Area, tile: &mut Tile<f32>) {
        self.read_unscaled(simd, area, tile);
        if let Some(scales) = self.operand.inner_scales() {
            simd.call(Scale { scales, area, tile });
        }
    }

    /// The values of the codes.
    #[inline(always)]
    pub fn read_unscaled<S: Simd, T: Decoded>(&self, simd: S, area: Area, tile: &mut Tile<T>) {
        simd.call(Read { reader: self, area, tile });
    }

    #[inline(always)]
    fn read_bytes<S: Simd, T: Decoded>(&self, simd: S, codes: &[u8], place: Place, tile: &mut Tile<T>) {
        if self.operand.integers {
            return each_line(codes, place, tile, &mut Integers::new(self.operand.format));
        }
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

    #[inline(always)]
    fn read_codes<C: Code, T: Decoded>(&self, codes: &[C], place: Place, tile: &mut Tile<T>) {
        each_line(codes, place, tile, &mut ByPlan { format: self.operand.format, plan: &self.plan });
    }
}

/// Reads the values of a tile's codes.
struct Read<'a, T> {
    reader: &'a Reader<'a>,
    area: Area,
    tile: &'a mut Tile<T>,
}

impl<T: Decoded> Kernel for Read<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { reader, area, tile } = self;
        let Reader { operand, is_float16, is_bfloat16, .. } = *reader;
        let (down, across) = operand.strides;
        let (line_stride, run_stride) = if area.across { (down, across) } else { (across, down) };
        let Area { lines, run, first, .. } = area;
        let place = Place { start: operand.at(first.0, first.1), line_stride, run_stride, lines, run };
        // Unpacked, packed codes are bytes too.
        let mut unpacked = [[0; RUN]; LINES];
        let (codes, place) = match operand.codes {
            Codes::Packed(bytes) => {
                unpack(simd, bytes, operand.format.bits(), place, &mut unpacked);
                let place = Place { start: 0, line_stride: RUN as isize, run_stride: 1, lines, run };
                (Codes::U8(unpacked.as_flattened()), place)
            }
            codes => (codes, place),
        };
        match codes {
            Codes::U8(codes) => reader.read_bytes(simd, codes, place, tile),
            Codes::U16(codes) if S::HAS_FLOAT16 && is_float16 => {
                each_line(codes, place, tile, &mut Halves(simd));
            }
            Codes::U16(codes) if is_bfloat16 => bfloat16_lines(codes, place, tile),
            Codes::U16(codes) => reader.read_codes(codes, place, tile),
            Codes::F32(values) => each_line(values, place, tile, &mut Copies),
            Codes::Packed(_) => unreachable!("unpacked above"),
        }
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

/// Integers in two's complement, of at most 8 bits.
struct Integers {
    /// What takes the sign to the top of a byte.
    left: u32,
    /// What the lowest bit of a byte then counts.
    unit: f32,
}

impl Integers {
    #[inline(always)]
    fn new(format: &FloatFormat) -> Self {
        let left = 8 - format.bits();
        let unit = format.min_exponent() - format.mantissa_bits as i32 - left as i32;
        Self { left, unit: f32::power_of_two_or_subnormal(unit) }
    }
}

impl DecodeLine<u8> for Integers {
    #[inline(always)]
    fn decode(&mut self, codes: &[u8], out: &mut [f32]) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from((code << self.left) as i8) * self.unit;
        }
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
