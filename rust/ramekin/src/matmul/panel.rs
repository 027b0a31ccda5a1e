//! Packing: a block of an operand, decoded to float32 and laid out as the microkernel reads it.
//!
//! A panel holds `width` rows of the block, interleaved: first element 0 of each row, then element 1, … Rows
//! that the block lacks are zero; what the microkernel makes of them is never stored.

use std::ops::Range;

use super::operand::{Codes, Operand};
use crate::convert::{Code, DecodePlan, decode_slice};
use crate::format::FloatFormat;

/// Packs `rows` by `depth` of `operand` into panels of `width` rows.
#[inline(always)]
pub(super) fn pack(
    operand: &Operand<'_>,
    rows: Range<usize>,
    depth: Range<usize>,
    width: usize,
    panels: &mut [f32],
) {
    let mut line = vec![0.0f32; depth.len().max(width)];
    for (panel, first) in panels.chunks_exact_mut(width * depth.len()).zip(rows.clone().step_by(width)) {
        let rows = first..rows.end.min(first + width);
        let at = |row: usize, k: usize| {
            operand.offset as isize + row as isize * operand.strides.0 + k as isize * operand.strides.1
        };
        if operand.strides.0 == 1 && operand.strides.1 != 1 {
            // Neighbouring rows are neighbours in memory: a line of the panel is one run.
            for (k, out) in depth.clone().zip(panel.chunks_exact_mut(width)) {
                let (real, padding) = out.split_at_mut(rows.len());
                gather(operand, at(first, k), 1, real);
                padding.fill(0.0);
            }
        } else {
            if rows.len() < width {
                panel.fill(0.0);
            }
            let line = &mut line[..depth.len()];
            for row in rows.clone() {
                gather(operand, at(row, depth.start), operand.strides.1, line);
                for (out, &x) in panel[row - first..].iter_mut().step_by(width).zip(line.iter()) {
                    *out = x;
                }
            }
        }
    }
}

/// Decodes the elements at `start`, `start + stride`, … into `out`.
#[inline(always)]
fn gather(operand: &Operand<'_>, start: isize, stride: isize, out: &mut [f32]) {
    match operand.codes {
        Codes::U8(codes) => gather_codes(operand.format, codes, start, stride, out),
        Codes::U16(codes) => gather_codes(operand.format, codes, start, stride, out),
        Codes::F32(values) => gather_copy(values, start, stride, out),
    }
}

#[inline(always)]
fn gather_copy<T: Copy>(from: &[T], start: isize, stride: isize, out: &mut [T]) {
    if stride == 1 {
        out.copy_from_slice(&from[start as usize..][..out.len()]);
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            *out = from[(start + i as isize * stride) as usize];
        }
    }
}

#[inline(always)]
fn gather_codes<C: Code>(format: &FloatFormat, codes: &[C], start: isize, stride: isize, out: &mut [f32]) {
    let plan = DecodePlan::<f32>::new(format);
    if stride == 1 {
        decode_slice(format, &plan, &codes[start as usize..][..out.len()], out);
        return;
    }
    let mut run = [C::default(); 64];
    for (i, out) in out.chunks_mut(64).enumerate() {
        let run = &mut run[..out.len()];
        gather_copy(codes, start + (i * 64) as isize * stride, stride, run);
        decode_slice(format, &plan, run, out);
    }
}
