//! What the CPU could do, and what the microkernel makes of it: measured, on the thread that asks.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::kernel::{Corner, Ends, tile, tile_shape};
use super::pairs;
use super::panel::{ROW, Unit};
use super::peak::Peak;
use super::scratch::Lines;
use crate::isa::{Kernel, Level};
use crate::simd::Simd;

/// Rates in operations a second; a multiply-add counts as two.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Of multiply-adds whose operands stay in registers.
    pub peak: f64,
    /// Of the microkernel, whose operands are packed and in the first-level cache.
    pub kernel: f64,
}

/// Measures one level, with pairs of bfloat16 or with float32; None if the level multiplies no pairs.
///
/// The best of many short runs, taken in turns so that both meet the same clock; `time` is for all of them.
///
/// # Panics
///
/// If the CPU lacks the level.
#[must_use]
pub fn roofline(level: Level, pairs: bool, time: Duration) -> Option<Roofline> {
    let unit = if pairs { Unit::Pair } else { Unit::Float };
    (!pairs || pairs::agree(level)).then(|| level.run(Measure { unit, time }))
}

struct Measure {
    unit: Unit,
    time: Duration,
}

/// Lines of depth in one run.
const LINES: usize = 1 << 14;

impl Kernel for Measure {
    type Output = Roofline;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Roofline {
        let (rows, columns) = tile_shape::<S>();
        let operations = (2 * rows * columns * LINES * self.unit.elements()) as f64;
        // Small enough for the first-level cache with room to spare.
        let depth = 256;
        let (mut a, mut b) = (Lines::new(rows * ROW), Lines::new(depth * columns));
        a.fill(0x3f80_3f80);
        b.fill(0x3f80_3f80);
        let mut c = vec![0.0f32; rows * columns];
        let mut best = Roofline { peak: 0.0, kernel: 0.0 };
        let end = Instant::now() + self.time;
        while Instant::now() < end {
            best.peak = best.peak.max(Peak { unit: self.unit, lines: LINES }.run(simd));
            let start = Instant::now();
            for _ in 0..LINES / depth {
                let corner = Corner { c: &mut c, stride: columns, rows, columns };
                let ends = Ends { first: true, last: false, scales: None };
                tile(simd, self.unit, (&a, &b, &[]), depth, corner, ends);
            }
            black_box(&c);
            best.kernel = best.kernel.max(operations / start.elapsed().as_secs_f64());
        }
        best
    }
}
