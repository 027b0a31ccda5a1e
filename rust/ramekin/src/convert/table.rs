//! Codes of at most eight bits to float32 by a table in registers: the same values as `decode_one` gives, looked up.

use std::sync::OnceLock;

use super::decode::{DecodePlan, decode_slice};
use super::plan::fits;
use crate::format::{FloatFormat, NAMED};
use crate::isa::{Kernel, Level};
use crate::once::once;
use crate::simd::{ByteTable, CODES, Places, Simd};

/// Fewer codes of a format that is not named are decoded sooner than its table is made.
const SMALLEST: usize = 1024;

/// The table of a format; None for those whose values the upper halves do not tell, and for the few of 7 bits.
#[cold]
fn byte_table(format: &FloatFormat) -> Option<ByteTable> {
    if !matches!(format.bits(), 0..=6 | 8) || !format.signed || !fits::<f32>(format) {
        return None;
    }
    let codes: [u8; 129] = std::array::from_fn(|i| i as u8);
    let mut values = [0.0f32; 129];
    decode_slice(format, &DecodePlan::new(format), &codes, &mut values);
    Some(ByteTable::new(format.bits(), &values))
}

/// The table of a named format, made once; None for the others, and for those that have none.
#[inline]
pub(crate) fn named_byte_table(format: &FloatFormat) -> Option<&'static ByteTable> {
    static TABLES: [OnceLock<Option<ByteTable>>; NAMED.len()] = [const { OnceLock::new() }; NAMED.len()];
    let i = NAMED.iter().position(|named| named.same_numbers(format))?;
    once(&TABLES[i], || byte_table(format)).as_ref()
}

/// Decodes by the table as many codes as fill whole steps, or none where that is not possible or does not pay, and
/// tells how many.
pub(super) fn decode_by_table(level: Level, format: &FloatFormat, src: &[u8], dst: &mut [f32]) -> usize {
    if src.len() < CODES || !level.run(HasTables) {
        return 0;
    }
    if let Some(table) = named_byte_table(format) {
        return level.run(Looked { table, src, dst });
    }
    if src.len() < SMALLEST {
        return 0;
    }
    byte_table(format).map_or(0, |table| level.run(Looked { table: &table, src, dst }))
}

struct HasTables;

impl Kernel for HasTables {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        S::HAS_TABLES
    }
}

struct Looked<'a> {
    table: &'a ByteTable,
    src: &'a [u8],
    dst: &'a mut [f32],
}

impl Kernel for Looked<'_> {
    /// How many codes were decoded: all whole steps.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (src, _) = self.src.as_chunks::<CODES>();
        let (dst, _) = self.dst.as_chunks_mut::<CODES>();
        for (dst, src) in dst.iter_mut().zip(src) {
            // SAFETY: CODES codes, and as many floats: four vectors.
            unsafe {
                for (i, values) in
                    simd.table_values(src.as_ptr(), self.table, &Places::IN_ORDER).into_iter().enumerate()
                {
                    simd.store(dst.as_mut_ptr().add(i * S::LANES), values);
                }
            }
        }
        src.len() * CODES
    }
}
