//! Matrices for tests, of which each takes what it needs.
#![allow(dead_code)]

use proptest::prelude::*;
use ramekin::FloatFormat;
use ramekin::convert::decode;
use ramekin::format::{FLOAT32, NAMED};
use ramekin::isa::Level;
use ramekin::matmul::{Codes, Operand};

/// Codes that a matrix owns.
pub enum Owned {
    U8(Vec<u8>),
    U16(Vec<u16>),
    F32(Vec<f32>),
}

impl Owned {
    pub fn new(format: &FloatFormat, bits: &[u32]) -> Self {
        match format.bits() {
            32 => Self::F32(bits.iter().map(|&b| f32::from_bits(b)).collect()),
            9..=16 => Self::U16(bits.iter().map(|&b| b as u16).collect()),
            _ => Self::U8(bits.iter().map(|&b| b as u8 & ((1u16 << format.bits()) - 1) as u8).collect()),
        }
    }

    pub fn codes(&self) -> Codes<'_> {
        match self {
            Self::U8(codes) => Codes::U8(codes),
            Self::U16(codes) => Codes::U16(codes),
            Self::F32(values) => Codes::F32(values),
        }
    }

    pub fn values(&self, format: &FloatFormat) -> Vec<f32> {
        let level = Level::Portable;
        match self {
            Self::U8(codes) => {
                let mut values = vec![0.0; codes.len()];
                decode(level, format, codes, &mut values);
                values
            }
            Self::U16(codes) => {
                let mut values = vec![0.0; codes.len()];
                decode(level, format, codes, &mut values);
                values
            }
            Self::F32(values) => values.clone(),
        }
    }
}

/// Every format that operands have.
pub fn storable() -> Vec<FloatFormat> {
    NAMED.iter().chain([&FLOAT32]).filter(|f| f.bits() <= 16 || f.bits() == 32).cloned().collect()
}

/// One of them.
pub fn formats() -> impl Strategy<Value = FloatFormat> {
    prop::sample::select(storable())
}

/// Where an element of a matrix of `shape` lies in codes laid out row by row or column by column.
pub fn place<'a>(
    owned: &'a Owned,
    format: &'a FloatFormat,
    shape: (usize, usize),
    by_columns: bool,
) -> Operand<'a> {
    if by_columns {
        Operand::row_major(owned.codes(), format, (shape.1, shape.0)).unwrap().transposed()
    } else {
        Operand::row_major(owned.codes(), format, shape).unwrap()
    }
}

pub fn generator(mut state: u64) -> impl FnMut() -> u32 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    }
}
