//! Scales of sums: what happens at the ends of products, and of tiles of `k`.

use std::fmt;

use super::operand::Operand;
use super::right::{Right, Side};
use super::scales::Scales;
use crate::fpenv;
use crate::isa::Kernel;
use crate::simd::Simd;

/// Why operands' scales do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TilesError {
    /// Both have float32 scales for every so many terms, but not for as many.
    Differ(usize, usize),
    /// Packed matrices do not start sums anew.
    Packed,
}

impl fmt::Display for TilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differ(a, b) => write!(
                f,
                "a has a float32 scale for every {a} terms along k, b for every {b}; accepted: as many"
            ),
            Self::Packed => f.write_str(
                "a has float32 scales that change along k, with which sums start anew; accepted for b then: the \
                 matrix itself, not packed",
            ),
        }
    }
}

impl std::error::Error for TilesError {}

/// Whether the product of these can be had, and if so, whether its sums start anew with each tile of `k`.
///
/// # Errors
///
/// If both have several float32 scales along `k`, for tiles of different lengths, or `a` has and `b` is packed.
pub fn tiles_fit(a: &Operand<'_>, b: Right<'_>) -> Result<bool, TilesError> {
    let right = match b {
        Right::Operand(b) => b.transposed().tile(),
        Right::Packed(_) if a.tile().is_some() => return Err(TilesError::Packed),
        Right::Packed(_) => None,
    };
    match (a.tile(), right) {
        (Some(a), Some(b)) if a != b => Err(TilesError::Differ(a, b)),
        (a, b) => Ok(a.or(b).is_some()),
    }
}

/// The tiles of `k` that sums start anew with, and the scales of a left and of a right operand, the latter given
/// transposed.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    /// Terms in a tile.
    pub length: usize,
    pub left: Option<Scales<'a>>,
    pub right: Option<Scales<'a>>,
}

impl<'a> Tiles<'a> {
    /// None if no operand has several scales along `k`.
    pub fn new(a: &Operand<'a>, b: &Side<'a>) -> Option<Self> {
        let right = match b {
            Side::Operand(b) => Some(b.transposed()),
            Side::Packed(..) => None,
        };
        let length = match (a.tile(), right.as_ref().and_then(Operand::tile)) {
            (Some(a), Some(b)) => {
                assert_eq!(a, b, "the tiles of k differ");
                a
            }
            (a, b) => a.or(b)?,
        };
        let right = right.expect("packed matrices are not multiplied in tiles");
        Some(Self { length, left: a.outer_scales().copied(), right: right.outer_scales().copied() })
    }
}

/// As many whole tiles of this length as fit into `n` terms.
pub(super) fn whole(n: usize, tile: Option<usize>) -> usize {
    tile.map_or(n, |tile| n / tile * tile)
}

/// The scales of the rows from `first` on in a column; ones where there are none.
#[inline(always)]
pub(super) fn scales_down(scales: Option<&Scales<'_>>, first: usize, column: usize, out: &mut [f32]) {
    match scales {
        Some(scales) => scales.down(first, column, out),
        None => out.fill(1.0),
    }
}

/// What the products of each row are multiplied by at the end; None if by nothing.
pub(super) fn end_scales(operand: &Operand<'_>, tiled: bool) -> Option<Vec<f32>> {
    let outer = operand.outer_scales().filter(|_| !tiled);
    if outer.is_none() && operand.tensor_scale.is_none() {
        return None;
    }
    let _guard = fpenv::Guard::new();
    let mut scales = vec![1.0; operand.shape.0];
    scales_down(outer, 0, 0, &mut scales);
    if let Some(scale) = operand.tensor_scale {
        scales.iter_mut().for_each(|x| *x *= scale);
    }
    Some(scales)
}

/// Multiplies rows of sums by the scales of their row and column: `c = c * (left * right)`; or adds parts of them to
/// their totals, `c = fma(part, left * right, c)`.
pub(super) struct Scale<'a> {
    pub c: &'a mut [f32],
    pub part: Option<&'a [f32]>,
    pub left: &'a [f32],
    pub right: &'a [f32],
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { c, part, left, right } = self;
        let n = right.len();
        assert!(c.len() == left.len() * n && part.is_none_or(|part| part.len() == c.len()));
        for (i, (c, &left)) in c.chunks_exact_mut(n).zip(left).enumerate() {
            let left = simd.splat(left);
            for j in (0..n).step_by(S::LANES) {
                let lanes = S::LANES.min(n - j);
                // SAFETY: so many lanes are left in `c`, `right` and, by the assertion, the part's row.
                unsafe {
                    let at = c.as_mut_ptr().add(j);
                    let scale = simd.mul(left, simd.load_first(right.as_ptr().add(j), lanes));
                    let sum = simd.load_first(at, lanes);
                    let scaled = match part {
                        Some(part) => {
                            let part = simd.load_first(part.as_ptr().add(i * n + j), lanes);
                            simd.fma(part, scale, sum)
                        }
                        None => simd.mul(sum, scale),
                    };
                    simd.store_first(at, lanes, simd.canonical(scaled));
                }
            }
        }
    }
}
