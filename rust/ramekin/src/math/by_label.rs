//! Sums of the rows that bear the same label: the gradient of a table that rows were looked up in.

use super::map::rounded;
use super::rows::{count, rows_of_part, share};
use super::softmax::Labels;
use crate::isa::{Kernel, Level};
use crate::parallel::ThreadsError;
use crate::simd::Simd;

struct Sums<'a> {
    x: &'a [f32],
    width: usize,
    /// Of each row of `out`, the rows of `x` that it is the sum of.
    members: &'a [&'a [usize]],
    out: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.width;
        let mut sums = vec![0.0f64; width];
        for (out, &members) in self.out.chunks_exact_mut(width).zip(self.members) {
            sums.fill(0.0);
            for &row in members {
                for (sum, &x) in sums.iter_mut().zip(&self.x[row * width..(row + 1) * width]) {
                    *sum += f64::from(x);
                }
            }
            for (out, &sum) in out.iter_mut().zip(&sums) {
                *out = rounded(sum);
            }
        }
    }
}

/// Writes to row `l` of `out` the sum of the rows of `x` whose label is `l`: an ascending chain from +0 in float64,
/// rounded once.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the width is 0, the elements make no whole rows, there are not as many labels as rows of `x`, a label is no row
/// of `out`, or the CPU lacks `level`.
pub fn sum_rows_by_label(
    level: Level,
    x: &[f32],
    width: usize,
    labels: Labels<'_>,
    out: &mut [f32],
) -> Result<(), ThreadsError> {
    let (rows, labels) = (count(out.len(), width), labels.as_slice());
    assert_eq!(count(x.len(), width), labels.len(), "one label for each row");
    // The rows of each label, in ascending order.
    let mut ends = vec![0; rows + 1];
    for &label in labels {
        ends[label as usize + 1] += 1;
    }
    for label in 0..rows {
        ends[label + 1] += ends[label];
    }
    let (mut next, mut order) = (ends.clone(), vec![0; labels.len()]);
    for (row, &label) in labels.iter().enumerate() {
        let place = &mut next[label as usize];
        order[*place] = row;
        *place += 1;
    }
    let members: Vec<&[usize]> = ends.windows(2).map(|ends| &order[ends[0]..ends[1]]).collect();
    let part = rows_of_part(width);
    let parts = members.chunks(part).zip(out.chunks_mut(part * width));
    share(parts, rows, width, |(members, out)| level.run(Sums { x, width, members, out }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{numbers, on_every_level};

    #[test]
    fn sums_are_of_the_rows_with_the_label() {
        for (rows, width, classes) in [(1, 1, 1), (7, 3, 20), (500, 33, 5), (300, 1000, 70)] {
            let x = numbers(rows * width, 1);
            let labels: Vec<i64> = (0..rows).map(|i| ((i * i + 3 * i) % classes) as i64).collect();
            let labels_of = Labels::new(&labels, classes).unwrap();
            let out = on_every_level(classes * width, |level, out| {
                sum_rows_by_label(level, &x, width, labels_of, out).unwrap();
            });
            for class in 0..classes {
                for column in 0..width {
                    let members = (0..rows).filter(|&row| labels[row] == class as i64);
                    let right = members.fold(0.0, |sum, row| sum + f64::from(x[row * width + column]));
                    assert_eq!(out[class * width + column], right as f32);
                }
            }
        }
    }
}
