//! Tiles of codes that lie side by side in a stream of bits.

use super::tile::{LINES, Place, RUN};
use crate::convert::pack::{CODES, unpack_span};
use crate::simd::{SPAN, Simd, prefetch};

const _: () = assert!(RUN == CODES);

/// The codes of a tile, a byte each; the place counts bits. Beyond the elements there may be any codes.
#[inline(always)]
pub(super) fn unpack<S: Simd>(
    simd: S,
    bytes: &[u8],
    bits: u32,
    place: Place,
    codes: &mut [[u8; RUN]; LINES],
) {
    match bits {
        4 => lines::<S, 4>(simd, bytes, place, codes),
        6 => lines::<S, 6>(simd, bytes, place, codes),
        // No format of this width has a name: one by one.
        bits => {
            for (i, codes) in codes.iter_mut().enumerate().take(place.lines) {
                line(bytes, bits, place, i, codes);
            }
        }
    }
}

#[inline(always)]
fn lines<S: Simd, const B: usize>(simd: S, bytes: &[u8], place: Place, codes: &mut [[u8; RUN]; LINES]) {
    for (i, codes) in codes.iter_mut().enumerate().take(place.lines) {
        let start = place.start + i as isize * place.line_stride;
        match before::<B>(start) {
            Some(before) if place.run_stride == B as isize => {
                let first = (start as usize - before * B) / 8;
                prefetch(bytes.as_ptr().wrapping_add(first + 8 * B));
                let whole = unpack_at::<S, B>(simd, bytes, first);
                if before == 0 {
                    *codes = whole;
                } else {
                    let next = unpack_at::<S, B>(simd, bytes, first + 8 * B);
                    codes[..RUN - before].copy_from_slice(&whole[before..]);
                    codes[RUN - before..].copy_from_slice(&next[..before]);
                }
            }
            _ => line(bytes, B as u32, place, i, codes),
        }
    }
}

/// The codes of a line, one by one.
#[inline(always)]
fn line(bytes: &[u8], bits: u32, place: Place, i: usize, codes: &mut [u8; RUN]) {
    let start = place.start + i as isize * place.line_stride;
    for (j, code) in codes.iter_mut().enumerate().take(place.run) {
        let bit = (start + j as isize * place.run_stride) as usize;
        let next = bytes.get(bit / 8 + 1).copied().unwrap_or(0);
        let both = u16::from_le_bytes([bytes[bit / 8], next]);
        *code = (both >> (bit % 8)) as u8 & ((1u16 << bits) - 1) as u8;
    }
}

/// How many codes lie before this bit in the group of eight, which begins at a byte; None if there is no such group.
#[inline(always)]
fn before<const B: usize>(start: isize) -> Option<usize> {
    let mut before = 0;
    while before * B % 8 != start as usize % 8 || before * B > start as usize {
        before += 1;
        if before == 8 {
            return None;
        }
    }
    Some(before)
}

/// The codes from a byte on; zeros beyond the end.
#[inline(always)]
fn unpack_at<S: Simd, const B: usize>(simd: S, bytes: &[u8], first: usize) -> [u8; CODES] {
    let rest = &bytes[first.min(bytes.len())..];
    if let Some(span) = rest.first_chunk::<SPAN>() {
        return unpack_span::<S, B>(simd, span);
    }
    let mut span = [0; SPAN];
    span[..rest.len()].copy_from_slice(rest);
    unpack_span::<S, B>(simd, &span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::pack::{pack, packed_len};
    use crate::isa::{Kernel, Level};

    struct Unpack<'a>(&'a [u8], u32, Place, &'a mut [[u8; RUN]; LINES]);

    impl Kernel for Unpack<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            unpack(simd, self.0, self.1, self.2, self.3);
        }
    }

    /// Every first element, along the rows and across them, up to the last byte.
    #[test]
    fn codes_come_from_any_bit() {
        for bits in [2, 3, 4, 6, 7] {
            let (rows, length) = (5, 141);
            let row_bytes = packed_len(length, bits).unwrap();
            let all: Vec<u8> = (0..rows * length).map(|i| ((i * 37 + i / 7) % (1 << bits)) as u8).collect();
            let mut bytes = vec![0; rows * row_bytes];
            for (codes, bytes) in all.chunks(length).zip(bytes.chunks_mut(row_bytes)) {
                pack(Level::Portable, bits, codes, bytes).unwrap();
            }
            for level in Level::available() {
                for first in 0..length {
                    for across in [true, false] {
                        let (along, down) = (bits as isize, 8 * row_bytes as isize);
                        let mut place = Place {
                            start: first as isize * along,
                            line_stride: if across { down } else { along },
                            run_stride: if across { along } else { down },
                            lines: if across { rows } else { LINES.min(length - first) },
                            run: if across { RUN.min(length - first) } else { rows },
                        };
                        let mut codes = [[0xaa; RUN]; LINES];
                        level.run(Unpack(&bytes, bits, place, &mut codes));
                        for (i, line) in codes.iter().enumerate().take(place.lines) {
                            for (j, &code) in line.iter().enumerate().take(place.run) {
                                let (row, column) = if across { (i, first + j) } else { (j, first + i) };
                                assert_eq!(code, all[row * length + column], "{bits} bits, {level}");
                            }
                        }
                        // From the last row up.
                        place.start += (rows as isize - 1) * down;
                        place.lines = if across { place.lines } else { 1 };
                        let back = if across { &mut place.line_stride } else { &mut place.run_stride };
                        *back = -*back;
                        level.run(Unpack(&bytes, bits, place, &mut codes));
                        let code = if across { codes[rows - 1][0] } else { codes[0][rows - 1] };
                        assert_eq!(code, all[first], "{bits} bits, {level}");
                    }
                }
            }
        }
    }
}
