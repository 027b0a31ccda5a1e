//! An array cut for the threads.

use std::ops::Range;

use super::geometry::Geometry;
use super::scale::ScalesMut;

/// Elements that one thread works through before it takes more.
const SHARE: usize = 1 << 16;

/// Elements of a span, which is worked on at a time, step by step: it and what becomes of it stay in a core's own
/// caches, and it is long enough that the steps' beginnings do not count.
const SPAN: usize = 1 << 12;

/// Elements of a block, or of a band's span, that stay in a core's own caches.
pub(super) const CACHED: usize = 1 << 17;

/// Rows that are read together: where neighbours in memory lie in different rows, they come with the same lines.
const TOGETHER: usize = 32;

/// Some rows, or a part of one, with the codes and scales that go there. Where it has scales, it is whole blocks.
pub(super) struct Part<'a, C> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub codes: &'a mut [C],
    pub scales: Option<ScalesMut<'a>>,
}

/// Columns that go together: whole blocks and whole bytes of codes, of so many rows.
pub(super) fn span(width: usize, rows: usize) -> usize {
    let mut unit = width;
    while !unit.is_multiple_of(8) {
        unit *= 2;
    }
    unit * (SPAN.min(CACHED / rows) / unit).max(1)
}

impl<C> Part<'_, C> {
    /// Rows that are read together: each band, if they are whole bands, else a few.
    pub fn groups(&self, geometry: &Geometry) -> Vec<Range<usize>> {
        let Range { start, end } = self.rows;
        if self.scales.is_some() && geometry.block.0 > 1 {
            let bands = geometry.band(start)..=geometry.band(end - 1);
            return bands.map(|band| geometry.band_rows(band)).collect();
        }
        (start..end).step_by(TOGETHER).map(|first| first..end.min(first + TOGETHER)).collect()
    }

    /// Its columns, so many at a time.
    pub fn spans(&self, step: usize) -> impl Iterator<Item = Range<usize>> + use<C> {
        let Range { start, end } = self.columns;
        (start..end).step_by(step).map(move |first| first..end.min(first + step))
    }

    /// Where in its codes those of some of its elements are.
    pub fn place(&self, len: impl Fn(usize) -> usize, row: usize, columns: &Range<usize>) -> Range<usize> {
        let line = (row - self.rows.start) * len(self.columns.len());
        line + len(columns.start - self.columns.start)..line + len(columns.end - self.columns.start)
    }
}

/// Cuts an array, always in the same way: sums over it must not depend on the number of threads. Where `scales` are
/// given, parts are whole blocks. `len` tells how many of `codes` so many columns have; without `codes` they have none.
pub(super) fn parts<'a, C>(
    geometry: &Geometry,
    len: impl Fn(usize) -> usize,
    mut codes: Option<&'a mut [C]>,
    mut scales: Option<ScalesMut<'a>>,
) -> Vec<Part<'a, C>> {
    let Geometry { rows, columns, .. } = *geometry;
    let (high, width) = if scales.is_some() { geometry.block } else { (1, 1) };
    let mut parts = Vec::new();
    let mut take = |rows: Range<usize>, columns: Range<usize>, blocks: usize| {
        let codes = codes.take().map_or(Default::default(), |all| {
            let (here, after) = all.split_at_mut(rows.len() * len(columns.len()));
            codes = Some(after);
            here
        });
        let scales = scales.take().map(|all| {
            let (here, after) = all.split_at(blocks);
            scales = Some(after);
            here
        });
        parts.push(Part { rows, columns, codes, scales });
    };
    if columns == 0 {
        // Nothing to work on.
    } else if high == 1 && columns > 2 * SHARE {
        let step = span(width, 1);
        let step = step * (SHARE / step).max(1);
        for row in 0..rows {
            for first in (0..columns).step_by(step) {
                let here = first..columns.min(first + step);
                let blocks = here.len().div_ceil(width);
                take(row..row + 1, here, blocks);
            }
        }
    } else {
        let bands = if high == 1 { rows } else { geometry.bands() };
        let step = (SHARE / (high * columns)).max(1);
        for first in (0..bands).step_by(step) {
            let last = bands.min(first + step) - 1;
            let rows = match high {
                1 => first..last + 1,
                _ => geometry.band_rows(first).start..geometry.band_rows(last).end,
            };
            take(rows, 0..columns, (last + 1 - first) * columns.div_ceil(width));
        }
    }
    parts
}
