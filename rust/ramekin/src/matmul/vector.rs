//! A vector times a matrix: the matrix is read once, so it is decoded on the way and never packed.

use super::by_half::ByHalf;
use super::operand::{Codes, Operand};
use super::source::{Bfloat16s, Bytes, Float16s, Floats, Looked, Source, Way, Words};
use super::strip::{along, strip};
use super::tile::{Area, LINES, RUN, Reader, Tile};
use crate::isa::{Kernel, Level};
use crate::parallel::{Helpers, Never, share_with};
use crate::simd::{Simd, prefetch, transpose_bytes};

/// The fewest elements of the product that a thread is woken for.
const SHARE: usize = 4 * RUN;

/// `c = w x`: `x` is a row, and so is each element's part of `w`.
pub(super) fn product(
    level: Level,
    x: &Operand<'_>,
    w: &Operand<'_>,
    c: &mut [f32],
    helpers: Option<&Helpers>,
) {
    let x = level.run(Values(x));
    let multiply = |(first, c): (usize, &mut [f32])| level.run(Rows { w, x: &x, first, c });
    let share = c.len().div_ceil(helpers.map_or(1, Helpers::threads)).next_multiple_of(RUN).max(SHARE);
    match helpers {
        Some(helpers) if share < c.len() => {
            let count = c.len().div_ceil(share);
            let shares = c.chunks_mut(share).enumerate();
            share_with(Some(helpers), &Never, shares, count, |(i, c)| multiply((i * share, c)));
        }
        _ => multiply((0, c)),
    }
}

/// The elements of a row.
struct Values<'a>(&'a Operand<'a>);

impl Kernel for Values<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let operand = self.0;
        let k = operand.shape.1;
        let mut values = vec![0.0; k];
        let reader = Reader::new(operand);
        let mut tile = Tile::<f32>::new();
        for (i, values) in values.chunks_mut(RUN).enumerate() {
            let area = Area { first: (0, i * RUN), across: true, lines: 1, run: values.len() };
            reader.read(simd, area, &mut tile);
            values.copy_from_slice(&tile.0[0][..values.len()]);
        }
        values
    }
}

/// Some rows of a matrix, each times the vector.
struct Rows<'a> {
    w: &'a Operand<'a>,
    x: &'a [f32],
    first: usize,
    c: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { w, x, first, c } = self;
        c.fill(0.0);
        let reader = Reader::new(w);
        let m = Multiplier { simd, w, reader: &reader, x, first };
        let way = if w.has_plain_elements() { Way::new::<S>(w.format) } else { Way::Tile };
        match (w.codes, way) {
            (Codes::F32(values), Way::Floats) if w.strides.1 == 1 => m.along_depth(Floats, values, c),
            (Codes::F32(values), Way::Floats) if w.strides.0 == 1 => m.along_rows(Floats, values, c),
            (Codes::U16(codes), Way::Float16s) if w.strides.1 == 1 => m.along_depth(Float16s, codes, c),
            (Codes::U16(codes), Way::Float16s) if w.strides.0 == 1 => m.along_rows(Float16s, codes, c),
            (Codes::U16(codes), Way::Bfloat16s) if w.strides.1 == 1 => m.along_depth(Bfloat16s, codes, c),
            (Codes::U16(codes), Way::Bfloat16s) if w.strides.0 == 1 => m.along_rows(Bfloat16s, codes, c),
            (Codes::U8(codes), Way::Looked(table)) if w.strides.1 == 1 => {
                m.along_depth(Looked(table), codes, c);
            }
            (Codes::U8(codes), Way::Looked(table)) if w.strides.0 == 1 => {
                m.along_rows(Looked(table), codes, c);
            }
            (Codes::U8(codes), Way::Bytes(way)) if way.moves(x) && w.strides.1 == 1 => {
                m.bytes_along_depth(way, codes, c);
            }
            (Codes::U8(codes), Way::Bytes(way)) if way.moves(x) && w.strides.0 == 1 => {
                m.bytes_along_rows(way, codes, c);
            }
            _ => m.tiles(0, first, c),
        }
        for c in c {
            *c = if c.is_nan() { f32::from_bits(crate::simd::CANONICAL_NAN) } else { *c };
        }
    }
}

/// Lines that are read together where neighbours in memory belong to neighbouring rows: a stream each.
const STREAMS: usize = 8;
/// Rows of the product that are continued before those lines end: they and the lines stay in the nearest cache.
const SPAN: usize = 1024;
/// Vectors of rows that go together where neighbours in memory belong to one row: enough to hide the latency of
/// their chains.
const GROUPS: usize = 4;
/// Rows whose bytes are turned together where neighbours in memory belong to one row, and how far.
const TURNED: (usize, usize) = (32, 128);

/// What the ways of multiplying have in common. `c` is always the rows from `first` on.
#[derive(Clone, Copy)]
struct Multiplier<'a, S> {
    simd: S,
    w: &'a Operand<'a>,
    reader: &'a Reader<'a>,
    x: &'a [f32],
    first: usize,
}

impl<S: Simd> Multiplier<'_, S> {
    /// Neighbours in memory belong to one row.
    #[inline(always)]
    fn along_depth<Q: Words<S>>(self, source: Q, elements: &[Q::Element], c: &mut [f32]) {
        let Self { simd, w, x, first, .. } = self;
        let mut done = 0;
        while done < c.len() {
            let row = first + done;
            let rows = [GROUPS * S::LANES, S::LANES].into_iter().find(|rows| done + rows <= c.len());
            let rest = &mut c[done..];
            let Some(rows) = rows else { return self.tiles(0, row, rest) };
            let c = &mut rest[..rows];
            // SAFETY: these rows of `w` lie within `elements`.
            let k = unsafe {
                let lines = elements.as_ptr().offset(w.at(row, 0));
                if rows == S::LANES {
                    along::<S, Q, 1>(simd, source, lines, w.strides.0, x, c)
                } else {
                    along::<S, Q, GROUPS>(simd, source, lines, w.strides.0, x, c)
                }
            };
            Self { x: &x[k..], ..self }.tiles(k, row, c);
            done += rows;
        }
    }

    /// Neighbours in memory belong to neighbouring rows.
    #[inline(always)]
    fn along_rows<Q: Source<S>>(self, source: Q, elements: &[Q::Element], c: &mut [f32]) {
        let Self { simd, w, first, .. } = self;
        for (i, x) in self.x.chunks(STREAMS).enumerate() {
            let k = i * STREAMS;
            for (j, c) in c.chunks_mut(SPAN).enumerate() {
                let row = first + j * SPAN;
                let at = w.at(row, k);
                // SAFETY: these elements of `w` lie within `elements`.
                let done = unsafe { strip(simd, source, elements.as_ptr().offset(at), w.strides.1, x, c) };
                Self { x, ..self }.tiles(k, row + done, &mut c[done..]);
            }
        }
    }

    /// The same for bytes: the scale that their values lack goes to the vector, special codes through a tile.
    #[inline(always)]
    fn bytes_along_rows(self, way: ByHalf, codes: &[u8], c: &mut [f32]) {
        let Self { simd, w, first, .. } = self;
        for (i, x) in self.x.chunks(STREAMS).enumerate() {
            let k = i * STREAMS;
            let mut scaled = [0.0; STREAMS];
            for (scaled, x) in scaled.iter_mut().zip(x) {
                *scaled = x * way.scale;
            }
            for (j, c) in c.chunks_mut(SPAN).enumerate() {
                let row = first + j * SPAN;
                let mut special = false;
                for k in k..k + x.len() {
                    special |= way.any_special(&codes[w.at(row, k) as usize..][..c.len()]);
                }
                let mut done = 0;
                if !special {
                    // SAFETY: these elements of `w` lie within `codes`.
                    unsafe {
                        let lines = codes.as_ptr().offset(w.at(row, k));
                        done = strip(simd, Bytes(way.widening), lines, w.strides.1, &scaled[..x.len()], c);
                    }
                }
                Self { x, ..self }.tiles(k, row + done, &mut c[done..]);
            }
        }
    }

    /// Bytes, where neighbours in memory belong to one row.
    #[inline(always)]
    fn bytes_along_depth(self, way: ByHalf, codes: &[u8], c: &mut [f32]) {
        const ROWS: usize = TURNED.0;
        let Self { simd, w, first, .. } = self;
        let mut turned = [[0u8; ROWS]; TURNED.1];
        let mut scaled = [0.0; TURNED.1];
        for (i, c) in c.chunks_mut(ROWS).enumerate() {
            let row = first + i * ROWS;
            for (j, x) in self.x.chunks(TURNED.1).enumerate() {
                let k = j * TURNED.1;
                let mut special = c.len() < ROWS || x.len() < TURNED.1;
                if !special {
                    for row in row..row + ROWS {
                        let codes = &codes[w.at(row, k) as usize..][..TURNED.1];
                        // The next piece of each row is too short a stream for the CPU to foresee.
                        prefetch(codes.as_ptr().wrapping_add(TURNED.1));
                        prefetch(codes.as_ptr().wrapping_add(TURNED.1 + 64));
                        special |= way.any_special(codes);
                    }
                }
                if special {
                    Self { x, ..self }.tiles(k, row, c);
                    continue;
                }
                for r in (0..ROWS).step_by(16) {
                    for d in (0..TURNED.1).step_by(16) {
                        // SAFETY: the square lies within the rows sliced above, and within `turned`.
                        unsafe {
                            let from = codes.as_ptr().offset(w.at(row + r, k + d));
                            transpose_bytes(from, w.strides.0, turned[d].as_mut_ptr().add(r), ROWS);
                        }
                    }
                }
                for (scaled, x) in scaled.iter_mut().zip(x) {
                    *scaled = x * way.scale;
                }
                // SAFETY: a line of ROWS for each of TURNED.1.
                unsafe {
                    let lines = turned.as_flattened().as_ptr();
                    strip(simd, Bytes(way.widening), lines, ROWS as isize, &scaled, c);
                }
            }
        }
    }

    /// Any elements anywhere, through tiles: `c` is the product's rows from `first` on, the vector's part is `k` on.
    #[inline(always)]
    fn tiles(self, k: usize, first: usize, c: &mut [f32]) {
        let Self { simd, w, reader, x, .. } = self;
        if !c.is_empty() {
            simd.call(Tiles { w, reader, x, k, first, c });
        }
    }
}

/// See [`Multiplier::tiles`].
struct Tiles<'a> {
    w: &'a Operand<'a>,
    reader: &'a Reader<'a>,
    x: &'a [f32],
    k: usize,
    first: usize,
    c: &'a mut [f32],
}

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { w, reader, x, k, first, c } = self;
        let along_depth = w.runs_across();
        let (rows, depth) = if along_depth { (LINES, RUN) } else { (RUN, LINES) };
        let mut tile = Tile::<f32>::new();
        let mut turned = [[0.0f32; LINES]; RUN];
        for (i, x) in x.chunks(depth).enumerate() {
            for (j, c) in c.chunks_mut(rows).enumerate() {
                let (lines, run) = if along_depth { (c.len(), x.len()) } else { (x.len(), c.len()) };
                let first = (first + j * rows, k + i * depth);
                reader.read(simd, Area { first, across: along_depth, lines, run }, &mut tile);
                if along_depth {
                    for line in (0..LINES).step_by(S::LANES) {
                        for j in (0..RUN).step_by(S::LANES) {
                            // SAFETY: LANES divides LINES and RUN, so both squares lie within.
                            unsafe {
                                let from = tile.0[line].as_ptr().add(j).cast();
                                let to = turned[j].as_mut_ptr().add(line).cast();
                                simd.transpose(from, 4 * RUN as isize, to, LINES);
                            }
                        }
                    }
                    tile_lines::<S, LINES>(simd, x, turned.as_flattened(), c);
                } else {
                    tile_lines::<S, RUN>(simd, x, tile.0.as_flattened(), c);
                }
            }
        }
    }
}

/// Continues the chains of `c`, which are at most `N`, by a line of `N` elements for each of `x`.
#[inline(always)]
fn tile_lines<S: Simd, const N: usize>(simd: S, x: &[f32], lines: &[f32], c: &mut [f32]) {
    assert!(lines.len() >= x.len() * N && c.len() <= N);
    let mut whole = [0.0; N];
    whole[..c.len()].copy_from_slice(c);
    // SAFETY: the assertion. N is a multiple of every step, so nothing is left over.
    unsafe { strip(simd, Floats, lines.as_ptr(), N as isize, x, &mut whole) };
    c.copy_from_slice(&whole[..c.len()]);
}
