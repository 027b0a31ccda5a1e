//! Sums in float64 in one order, whatever the vectors are.

/// Element `k` of a sum goes to lane `k mod 16`.
pub(super) const LANES: usize = 16;

/// Adds a term of each element of a slice, or of those of several slices of one length, in lanes, each ascending from
/// +0, then lane `l + 8` to lane `l`, and so with 4, 2 and 1.
macro_rules! sum_of {
    ($x:ident in $xs:expr => $term:expr) => {{
        let mut lanes = [0.0f64; crate::math::lanes::LANES];
        for xs in $xs.chunks(crate::math::lanes::LANES) {
            for (lane, &$x) in lanes.iter_mut().zip(xs) {
                *lane += $term;
            }
        }
        crate::math::lanes::tree(lanes)
    }};
    ($x:ident in $xs:expr, $y:ident in $ys:expr => $term:expr) => {{
        let mut lanes = [0.0f64; crate::math::lanes::LANES];
        let chunks = $xs.chunks(crate::math::lanes::LANES).zip($ys.chunks(crate::math::lanes::LANES));
        for (xs, ys) in chunks {
            for ((lane, &$x), &$y) in lanes.iter_mut().zip(xs).zip(ys) {
                *lane += $term;
            }
        }
        crate::math::lanes::tree(lanes)
    }};
    ($x:ident in $xs:expr, $y:ident in $ys:expr, $z:ident in $zs:expr => $term:expr) => {{
        let mut lanes = [0.0f64; crate::math::lanes::LANES];
        let chunks = $xs.chunks(crate::math::lanes::LANES).zip($ys.chunks(crate::math::lanes::LANES));
        for ((xs, ys), zs) in chunks.zip($zs.chunks(crate::math::lanes::LANES)) {
            for (((lane, &$x), &$y), &$z) in lanes.iter_mut().zip(xs).zip(ys).zip(zs) {
                *lane += $term;
            }
        }
        crate::math::lanes::tree(lanes)
    }};
}
pub(super) use sum_of;

#[inline(always)]
pub(super) fn tree(mut lanes: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}
