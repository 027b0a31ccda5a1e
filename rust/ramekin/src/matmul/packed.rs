//! A matrix packed once, to be multiplied by many times.

use std::fmt;
use std::ops::Range;

use super::block::Block;
use super::driver::{COLUMNS, Shape, pack_block, spans};
use super::operand::Operand;
use super::outer::end_scales;
use super::pairs;
use super::panel::{DEPTH, Smallest, Unit, panel_len};
use super::scratch::Lines;
use crate::isa::Level;
use crate::parallel::{Helpers, ThreadsError};

/// The right-hand side of products, decoded and laid out as the kernels of one level read it.
///
/// An element takes 4 bytes, or 2 where the CPU multiplies pairs of bfloat16 faster and the format's numbers are
/// bfloat16's (of scaled ones all must be, not only most); columns are padded to the width of a panel, rows to a multiple of 16 of those units in each block.
#[derive(Debug)]
pub struct PackedMatrix {
    level: Level,
    shape: (usize, usize),
    unit: Unit,
    units: Lines,
    parts: Vec<Part>,
    /// What the products of each column are multiplied by at the end.
    scales: Option<Vec<f32>>,
}

/// Why a matrix was not packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackMatrixError {
    /// It has several float32 scales along `k`.
    Tiles,
    /// The thread pool's setting is wrong.
    Threads(ThreadsError),
}

impl fmt::Display for PackMatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tiles => f.write_str(
                "float32 scales that change along k start sums anew, which packed matrices do not; accepted: the \
                 matrix itself, in matmul",
            ),
            Self::Threads(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PackMatrixError {}

impl From<ThreadsError> for PackMatrixError {
    fn from(error: ThreadsError) -> Self {
        Self::Threads(error)
    }
}

/// A packed block: its place, and the smallest element of its columns down to its end.
#[derive(Debug)]
struct Part {
    columns: Range<usize>,
    depth: Range<usize>,
    units: Range<usize>,
    smallest: Smallest,
}

impl PackedMatrix {
    /// Packs `b`, rows by columns.
    ///
    /// # Errors
    ///
    /// If it has several float32 scales along `k`, or the thread pool's setting is wrong.
    ///
    /// # Panics
    ///
    /// If the CPU lacks `level`.
    pub fn new(level: Level, b: &Operand<'_>) -> Result<Self, PackMatrixError> {
        if b.transposed().tile().is_some() {
            return Err(PackMatrixError::Tiles);
        }
        let unit = if b.may_be_bfloat16() && pairs::pay(level) { Unit::Pair } else { Unit::Float };
        let packed = Self::of(level, b, unit)?;
        if packed.parts.iter().any(|part| part.smallest == Smallest::LOST) {
            return Ok(Self::of(level, b, Unit::Float)?);
        }
        Ok(packed)
    }

    /// Of units that may turn out not to hold the elements.
    fn of(level: Level, b: &Operand<'_>, unit: Unit) -> Result<Self, ThreadsError> {
        let (k, n) = b.shape();
        let (_, nr) = level.run(Shape);
        let transposed = b.transposed();
        let mut parts = Vec::new();
        let mut end = 0;
        for columns in spans(n, COLUMNS) {
            for depth in spans(k, DEPTH * unit.elements()) {
                let start = end;
                end += columns.len().div_ceil(nr) * panel_len(nr, unit.of(depth.len()));
                let columns = columns.clone();
                parts.push(Part { columns, depth, units: start..end, smallest: Smallest::NONE });
            }
        }
        let mut units = Lines::new(end);
        let helpers = if n * k < 1 << 16 { None } else { Helpers::new()? };
        let mut seen = Smallest::NONE;
        for part in &mut parts {
            let memory = &mut units[part.units.clone()];
            let place = (&part.columns, &part.depth);
            let smallest = pack_block(level, &transposed, unit, place, nr, memory, helpers.as_ref());
            seen = if part.depth.start == 0 { smallest } else { seen.and(smallest) };
            part.smallest = seen;
        }
        let scales = end_scales(&transposed, false);
        Ok(Self { level, shape: (k, n), unit, units, parts, scales })
    }

    /// What the products of each column are multiplied by at the end; None if by nothing.
    pub(super) fn end_scales(&self) -> Option<&[f32]> {
        self.scales.as_deref()
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// The level whose kernels read it.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts.last().map_or(0, |part| part.units.end) * size_of::<u32>()
            + self.scales.as_ref().map_or(0, |scales| size_of_val(&scales[..]))
    }

    /// The blocks of each span of some columns, by ascending depth. The columns start at a panel, `width` columns
    /// wide, and are counted from there.
    pub(super) fn blocks(
        &self,
        columns: Range<usize>,
        width: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = Block<'_>>> {
        debug_assert!(columns.start.is_multiple_of(width) && columns.end <= self.shape.1);
        let (start, end) = (columns.start, columns.end);
        let spans = self.parts.chunk_by(|one, next| one.columns == next.columns);
        let spans = spans.filter(move |parts| parts[0].columns.start < end && start < parts[0].columns.end);
        spans.map(move |parts| {
            parts.iter().map(move |part| {
                let here = part.columns.start.max(start)..part.columns.end.min(end);
                let before = (here.start - part.columns.start) / width;
                let panel = panel_len(width, self.unit.of(part.depth.len()));
                Block {
                    units: &self.units[part.units.clone()][before * panel..],
                    unit: self.unit,
                    columns: here.start - start..here.end - start,
                    depth: part.depth.clone(),
                    smallest: part.smallest,
                }
            })
        })
    }
}
