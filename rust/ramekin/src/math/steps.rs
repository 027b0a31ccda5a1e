//! What the steps of optimisers share.

/// Elements that one thread works through before it takes more; blocks of random words divide it.
pub(super) const CHUNK: usize = 1 << 14;

#[cfg(test)]
pub(super) mod tests {
    use super::CHUNK;
    use crate::math::tests::numbers;
    use std::hint::black_box;

    pub(crate) const N: usize = 5 * CHUNK / 2 + 3;

    /// Numbers with specials among them.
    pub(crate) fn with_specials(seed: u64) -> Vec<f32> {
        let mut x = numbers(N, seed);
        let specials = [0.0, -0.0, f32::INFINITY, f32::NAN, -f32::NAN, 1e-40, -f32::MAX];
        for (i, special) in specials.into_iter().enumerate() {
            x[97 * (i + seed as usize)] = special;
        }
        x
    }

    pub(crate) fn same(x: f32, y: f32) -> bool {
        x.to_bits() == y.to_bits() || (x.to_bits() == f32::NAN.to_bits() && y.is_nan())
    }

    /// An operation that the compiler cannot join with the next.
    pub(crate) fn each(x: f32) -> f32 {
        black_box(x)
    }
}
