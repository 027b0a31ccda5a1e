//! Scales and codes of an array.
//!
//! Blocks that fit a core's caches are read once: their largest magnitudes, their scales and their codes come one
//! after the other while they are there. For larger ones, and for a scale of the whole tensor, the array is read once
//! more before.

use std::sync::atomic::{AtomicU64, Ordering};

use super::amax::Amax;
use super::array::Array;
use super::floats::Convert;
use super::geometry::Geometry;
use super::lines::Lines;
use super::parts::{CACHED, Part, parts, span};
use super::round::{Place, Rounder};
use super::rule::Rule;
use super::scale::ScalesMut;
use super::scheme::{Scale, Scheme};
use super::stats::Sums;
use crate::convert::{Code, Conversion, fits};
use crate::float::{Bits, Float};
use crate::fpenv;
use crate::isa::Level;
use crate::parallel::{self, Stop, ThreadsError};
use crate::rounding::Rounding;
use crate::simd::Ahead;

/// How an array is quantised.
#[derive(Clone, Copy, Debug)]
pub struct Quantize<'a> {
    /// Elements, scales and blocks.
    pub scheme: Scheme<'a>,
    /// How elements are rounded, saturating always; element `i`, counted row by row, takes word `i`.
    pub rounding: Conversion,
    /// The largest magnitude of the tensor, if it is not to be found: where there is one scale for all, or a scale of
    /// the tensor above the others.
    pub amax: Option<f64>,
    /// Whether to tell what rounding did.
    pub stats: bool,
}

/// What there is beside codes and scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantized {
    /// The scale of the whole tensor above the blocks', a float32, where there is one.
    pub tensor_scale: Option<f64>,
    /// What rounding did, if that was asked.
    pub sums: Option<Sums>,
}

/// Quantises `array` to `codes`, as many in a row as [`Scheme::row_codes`] says, and `scales`, one for each block,
/// both row after row.
///
/// Once `stop` is true it ends early and leaves them unfinished.
///
/// # Errors
///
/// If the thread pool's setting is wrong.
///
/// # Panics
///
/// If codes or scales have another size or type, or the CPU lacks `level`.
pub fn quantize<C: Code>(
    level: Level,
    how: &Quantize<'_>,
    array: &Array<'_>,
    codes: &mut [C],
    scales: ScalesMut<'_>,
    stop: &dyn Stop,
) -> Result<Quantized, ThreadsError> {
    let scheme = &how.scheme;
    let size = array.lengths().iter().product::<usize>() * scheme.row_codes(array.columns());
    assert_eq!(codes.len(), size, "codes have another size");
    assert!(C::WIDTH >= scheme.element.bits(), "codes are too narrow");
    // (Sums are added up row by row, wherever those lie.)
    let joined = scheme.joins(array.columns()) && array.is_contiguous() && !how.stats;
    let array = &if joined { array.clone().in_one_row() } else { array.clone() };
    let geometry = Geometry::new(array.lengths(), array.columns(), scheme.block);
    assert_eq!(scales.len(), geometry.blocks(), "scales have another size");
    let work = Work { level, how, array, geometry, stop };
    // Powers of two leave every number what it is, given room: then it is rounded once. Other rules are in float32.
    let element = scheme.element;
    let lowest = element.min_exponent() - element.mantissa_bits as i32;
    let narrow = fits::<f32>(element) && lowest >= NARROW && array.is_float32();
    if !narrow && matches!(scheme.scale, Scale::PowerOfTwo(_)) {
        work.run::<f64, C>(codes, scales)
    } else {
        work.run::<f32, C>(codes, scales)
    }
}

/// Where no number of a format is smaller than this power of two, products that fall below float32's normal numbers
/// round as any other that small: under stochastic rounding too, whose words have 32 bits.
const NARROW: i32 = -90;

/// One array's quantisation.
struct Work<'a> {
    level: Level,
    how: &'a Quantize<'a>,
    array: &'a Array<'a>,
    geometry: Geometry,
    stop: &'a dyn Stop,
}

impl Work<'_> {
    fn run<F: Float, C: Code>(
        &self,
        codes: &mut [C],
        mut scales: ScalesMut<'_>,
    ) -> Result<Quantized, ThreadsError> {
        let (scheme, geometry) = (&self.how.scheme, &self.geometry);
        let at_once = scheme.block.is_some() && geometry.block_len() <= CACHED;
        let amax = match (scheme.scale, self.how.amax) {
            (Scale::Small { tensor: true, .. }, Some(amax)) => amax,
            (Scale::Small { tensor: true, .. }, None) => {
                let all = Geometry::new(self.array.lengths(), geometry.columns, None);
                let mut amax = [0.0f64];
                let most = F::from_bits_of(self.amax::<F>(&all)?[0]);
                self.level.run(Convert { from: &[most], to: &mut amax });
                amax[0]
            }
            _ => 0.0,
        };
        let rule = Rule::new(self.level, scheme, amax);
        let given = self.how.amax.filter(|_| scheme.block.is_none());
        let sums = if at_once {
            let parts = parts(geometry, |columns| scheme.row_codes(columns), Some(codes), Some(scales));
            self.share(parts, rule.tensor_scale().is_some(), |part| self.at_once::<F, C>(part, &rule))?
        } else {
            let has_nan = scheme.element.nan_code().is_some();
            let mut most = match given {
                // NaN that elements do not have must be found all the same.
                Some(_) if has_nan => vec![F::Bits::ZERO],
                _ => self.amax::<F>(geometry)?,
            };
            if let Some(amax) = given
                && most[0] <= F::INFINITY
            {
                let mut number = [F::from_bits_of(F::Bits::ZERO)];
                self.level.run(Convert { from: &[amax], to: &mut number });
                most[0] = number[0].bits();
            }
            let mut factors = vec![F::from_bits_of(F::Bits::ZERO); most.len()];
            rule.scales(&most, &mut factors, scales.part(0, most.len()));
            let parts = parts(geometry, |columns| scheme.row_codes(columns), Some(codes), None);
            self.share(parts, true, |part| self.by_known(part, (&factors, &scales), &rule))?
        };
        Ok(Quantized { tensor_scale: rule.tensor_scale(), sums: self.how.stats.then_some(sums) })
    }

    /// Works through parts, on the pool where that pays, `again` if the array was read before. Sums are added in the
    /// order of the parts.
    fn share<C: Code>(
        &self,
        parts: Vec<Part<'_, C>>,
        again: bool,
        work: impl Fn(Part<'_, C>) -> Sums + Sync + Send,
    ) -> Result<Sums, ThreadsError> {
        let mut sums = vec![Sums::default(); parts.len()];
        let count = parts.len();
        let mut parts: Vec<_> = parts.into_iter().zip(&mut sums).collect();
        if again {
            // What was read last is still in the caches: the end, or where two threads met.
            let middle = if parallel::threads()? > 1 { count / 2 } else { 0 };
            parts[..middle].reverse();
            parts[middle..].reverse();
        }
        parallel::share_until(self.stop, parts.into_iter(), count, |(part, sums)| {
            // Held once for the many steps of a part.
            let _guard = fpenv::Guard::new();
            *sums = work(part);
        })?;
        Ok(sums.iter().fold(Sums::default(), Sums::and))
    }

    /// What to bring near while so many elements are worked on: the next ones, where there are more than stay in a
    /// core's own caches.
    fn ahead<F: Float>(&self, elements: usize) -> Ahead {
        if self.is_far() { Ahead::Bytes(elements * size_of::<F>()) } else { Ahead::Nothing }
    }

    fn is_far(&self) -> bool {
        self.geometry.rows * self.geometry.columns > CACHED && self.array.is_contiguous()
    }

    /// The largest magnitudes of blocks.
    fn amax<F: Float>(&self, geometry: &Geometry) -> Result<Vec<F::Bits>, ThreadsError> {
        // The largest of all, whichever thread comes first.
        let most: Vec<AtomicU64> = (0..geometry.blocks()).map(|_| AtomicU64::new(0)).collect();
        let (level, width) = (self.level, geometry.block.1);
        self.share(parts::<u8>(geometry, |_| 0, None, None), false, |part| {
            let mut lines = Lines::<F>::new(level, self.array);
            let mut here = Vec::new();
            let in_place = self.array.in_place::<F>(part.rows.start, &part.columns).is_some();
            let step = if in_place { part.columns.len() } else { span(1, 1) };
            let far = self.is_far();
            for rows in part.groups(geometry) {
                for columns in part.spans(step) {
                    lines.read(&rows, &columns);
                    let blocks = columns.start / width..columns.end.div_ceil(width);
                    for row in rows.clone() {
                        here.clear();
                        here.resize(blocks.len(), F::Bits::ZERO);
                        let (line, first) = (lines.line(row), columns.start % width);
                        level.run(Amax { row: line, first, width, far, most: &mut here });
                        let at = geometry.band(row) * geometry.across() + blocks.start;
                        for (most, here) in most[at..].iter().zip(&here) {
                            most.fetch_max(here.to_u64(), Ordering::Relaxed);
                        }
                    }
                }
            }
            Sums::default()
        })?;
        Ok(most.into_iter().map(|most| F::Bits::from_u64(most.into_inner())).collect())
    }

    /// Finds the scales of blocks and rounds their elements.
    fn at_once<F: Float, C: Code>(&self, mut part: Part<'_, C>, rule: &Rule<'_>) -> Sums {
        if self.fused::<F, C>(&mut part, rule) {
            return Sums::default();
        }
        let (level, geometry) = (self.level, &self.geometry);
        let (high, width) = geometry.block;
        let mut lines = Lines::<F>::new(level, self.array);
        let mut rounder = Rounder::<F>::new(level, self.how, geometry.columns, width);
        let (mut most, mut factors) = (Vec::new(), Vec::new());
        let first_band = geometry.band(part.rows.start);
        let across = part.columns.len().div_ceil(width);
        let mut sums = Sums::default();
        for rows in part.groups(geometry) {
            for columns in part.spans(span(width, high)) {
                lines.read(&rows, &columns);
                let blocks = columns.len().div_ceil(width);
                for band in geometry.band(rows.start)..=geometry.band(rows.end - 1) {
                    most.clear();
                    most.resize(blocks, F::Bits::ZERO);
                    factors.resize(blocks, F::from_bits_of(F::Bits::ZERO));
                    for row in geometry.band_rows(band) {
                        // (The next band is brought near while this one is rounded.)
                        let (row, far, most) = (lines.line(row), false, &mut most);
                        level.run(Amax { row, first: 0, width, far, most });
                    }
                    let at = (band - first_band) * across + (columns.start - part.columns.start) / width;
                    let scales = part.scales.as_mut().expect("a part of whole blocks");
                    rule.scales(&most, &mut factors, scales.part(at, blocks));
                    let ahead = self.ahead::<F>(geometry.band_rows(band).len() * columns.len());
                    for row in geometry.band_rows(band) {
                        let place =
                            Place { row, columns: columns.clone(), first: 0, factors: &factors, ahead };
                        let codes = part.place(|columns| self.how.scheme.row_codes(columns), row, &columns);
                        rounder.round(lines.line(row), &place, &mut part.codes[codes.clone()]);
                        if let (true, Some(scales)) = (self.how.stats, &part.scales) {
                            let (line, scales) = (lines.line(row), (scales.shared(), at));
                            let codes = &part.codes[codes];
                            sums = sums.and(&rounder.sums(line, &place, codes, scales, rule.tensor_scale()));
                        }
                    }
                }
            }
        }
        sums
    }

    /// Does the same in one step, where there is a short way, and tells whether there is.
    fn fused<F: Float, C: Code>(&self, part: &mut Part<'_, C>, rule: &Rule<'_>) -> bool {
        let (geometry, scheme) = (&self.geometry, &self.how.scheme);
        let (high, width) = geometry.block;
        let (far, element) = (self.is_far(), scheme.element);
        let plain = high == 1 && !scheme.integer && !self.how.stats && F::as_f32(&[]).is_some();
        if !plain
            || self.how.rounding.rounding != Rounding::TiesToEven
            || !rule.fused(element, (&[], width), far, &mut [], &mut [])
        {
            return false;
        }
        let mut lines = Lines::<F>::new(self.level, self.array);
        let in_place = self.array.in_place::<F>(part.rows.start, &part.columns).is_some();
        let step = if in_place { part.columns.len() } else { span(width, 1) };
        let across = part.columns.len().div_ceil(width);
        for rows in part.groups(geometry) {
            for columns in part.spans(step) {
                lines.read(&rows, &columns);
                // Rows read one after the other are as good as one, which goes faster.
                let joined =
                    lines.joined().filter(|_| columns == part.columns && scheme.joins(columns.len()));
                let step = if joined.is_some() { rows.len() } else { 1 };
                let blocks = step * columns.len().div_ceil(width);
                for row in rows.clone().step_by(step) {
                    let at = (row - part.rows.start) * across + (columns.start - part.columns.start) / width;
                    let codes = part.place(|columns| scheme.row_codes(columns), row, &columns);
                    let codes = codes.start..codes.start + step * codes.len();
                    let (Some(line), Some(codes), Some(ScalesMut::U8(scales))) = (
                        F::as_f32(joined.unwrap_or_else(|| lines.line(row))),
                        C::as_u8(&mut part.codes[codes]),
                        part.scales.as_mut().map(|scales| scales.part(at, blocks)),
                    ) else {
                        return false;
                    };
                    rule.fused(element, (line, width), far, codes, scales);
                }
            }
        }
        true
    }

    /// Rounds elements whose scales are known.
    fn by_known<F: Float, C: Code>(
        &self,
        part: Part<'_, C>,
        (factors, scales): (&[F], &ScalesMut<'_>),
        rule: &Rule<'_>,
    ) -> Sums {
        let (level, geometry) = (self.level, &self.geometry);
        let width = geometry.block.1;
        let mut lines = Lines::<F>::new(level, self.array);
        let mut rounder = Rounder::<F>::new(level, self.how, geometry.columns, width);
        let mut sums = Sums::default();
        for rows in part.groups(geometry) {
            for columns in part.spans(span(1, 1)) {
                lines.read(&rows, &columns);
                let blocks = columns.start / width..columns.end.div_ceil(width);
                for row in rows.clone() {
                    let at = geometry.band(row) * geometry.across() + blocks.start;
                    let factors = &factors[at..at + blocks.len()];
                    let (first, ahead) = (columns.start % width, self.ahead::<F>(columns.len()));
                    let place = Place { row, columns: columns.clone(), first, factors, ahead };
                    let codes = part.place(|columns| self.how.scheme.row_codes(columns), row, &columns);
                    rounder.round(lines.line(row), &place, &mut part.codes[codes.clone()]);
                    if self.how.stats {
                        let (line, scales) = (lines.line(row), (scales.shared(), at));
                        let codes = &part.codes[codes];
                        sums = sums.and(&rounder.sums(line, &place, codes, scales, rule.tensor_scale()));
                    }
                }
            }
        }
        sums
    }
}
