//! Sums in float64 in one order, whatever the vectors are.

/// Element `k` of a sum goes to lane `k mod 16`.
pub(super) const LANES: usize = 16;

/// Adds a term `of(k)` for each of `0..count` in lanes, each ascending from +0, then lane `l + 8` to lane `l`, and so
/// with 4, 2 and 1.
macro_rules! sum_of {
    ($count:expr, $k:ident => $term:expr) => {{
        let count: usize = $count;
        let mut lanes = [0.0f64; crate::math::lanes::LANES];
        let whole = count / crate::math::lanes::LANES * crate::math::lanes::LANES;
        let mut first = 0;
        while first < whole {
            for (lane, sum) in lanes.iter_mut().enumerate() {
                let $k = first + lane;
                *sum += $term;
            }
            first += crate::math::lanes::LANES;
        }
        for (lane, sum) in lanes.iter_mut().enumerate().take(count - whole) {
            let $k = whole + lane;
            *sum += $term;
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

/// The sum of float64 numbers.
#[inline(always)]
pub(super) fn sum_of_slice(x: &[f64]) -> f64 {
    sum_of!(x.len(), k => x[k])
}
