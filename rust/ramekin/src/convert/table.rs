//! Codes of at most eight bits to float32 by a table in registers: the same values as `decode_one` gives, looked up.

use super::decode::{DecodePlan, decode_slice};
use super::plan::fits;
use crate::format::FloatFormat;
use crate::isa::Kernel;
use crate::simd::{ByteTable, CODES, Places, Simd};

/// Fewer codes than these are decoded before the table is made.
pub(super) const SMALLEST: usize = 1024;

/// Whether the format's codes can be looked up: the upper halves of their values say it all.
pub(crate) fn has_byte_table(format: &FloatFormat) -> bool {
    format.bits() <= 8 && format.signed && fits::<f32>(format)
}

/// The table of a format that [has one](has_byte_table).
#[inline(always)]
pub(crate) fn byte_table(format: &FloatFormat) -> ByteTable {
    let codes: [u8; 129] = std::array::from_fn(|i| i as u8);
    let mut values = [0.0f32; 129];
    decode_slice(format, &DecodePlan::new(format), &codes, &mut values);
    ByteTable::new(format.bits(), &values)
}

/// Decodes by the table.
pub(super) struct Looked<'a> {
    pub format: &'a FloatFormat,
    pub src: &'a [u8],
    pub dst: &'a mut [f32],
}

impl Kernel for Looked<'_> {
    /// How many codes were decoded: all whole steps, or none where there are no tables.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        if !S::HAS_TABLES {
            return 0;
        }
        let table = byte_table(self.format);
        let (src, _) = self.src.as_chunks::<CODES>();
        let (dst, _) = self.dst.as_chunks_mut::<CODES>();
        for (dst, src) in dst.iter_mut().zip(src) {
            // SAFETY: CODES codes, and as many floats: four vectors.
            unsafe {
                for (i, values) in
                    simd.table_values(src.as_ptr(), &table, &Places::IN_ORDER).into_iter().enumerate()
                {
                    simd.store(dst.as_mut_ptr().add(i * S::LANES), values);
                }
            }
        }
        src.len() * CODES
    }
}
