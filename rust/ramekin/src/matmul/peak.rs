//! How fast multiply-adds go whose operands stay in registers: measured, on the thread that asks.

use std::hint::black_box;
use std::time::Instant;

use super::panel::Unit;
use crate::isa::Kernel;
use crate::simd::Simd;

/// Runs as many independent chains as a tile has, each of so many units.
pub(super) struct Peak {
    pub unit: Unit,
    pub lines: usize,
}

/// The most chains of any tile.
const MOST: usize = 24;

impl Kernel for Peak {
    /// Operations a second; a multiply-add counts as two.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let operations = 2 * S::TILE.0 * S::TILE.1 * S::LANES * self.lines * self.unit.elements();
        let start = Instant::now();
        black_box(match self.unit {
            Unit::Float => chains::<S, false>(simd, self.lines),
            Unit::Pair => chains::<S, true>(simd, self.lines),
        });
        operations as f64 / start.elapsed().as_secs_f64()
    }
}

/// As many independent chains as a tile has, in turn: enough to hide the latency of each.
#[inline(always)]
fn chains<S: Simd, const PAIRS: bool>(simd: S, lines: usize) -> f32 {
    let chains = S::TILE.0 * S::TILE.1;
    assert!(chains <= MOST);
    let (a, b) = (simd.splat(black_box(1.0)), simd.splat(black_box(1.0)));
    let mut sums = [simd.splat(0.0); MOST];
    for _ in 0..lines {
        for sum in sums.iter_mut().take(chains) {
            *sum = if PAIRS { simd.fma_pairs(a, b, *sum) } else { simd.fma(a, b, *sum) };
        }
    }
    let mut total = [0.0f32; 16];
    let mut all = 0.0;
    for sum in &sums[..chains] {
        // SAFETY: no vector has more than 16 lanes.
        unsafe { simd.store(total.as_mut_ptr(), *sum) };
        all += total[0];
    }
    all
}
