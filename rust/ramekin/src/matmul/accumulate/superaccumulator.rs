//! A fixed-point number that holds any sum of products of float32 exactly.

use crate::float::Float;

/// 64-bit words.
const WORDS: usize = 10;

/// The exponent of the last bit: that of the smallest product of two float32. From there the words reach up to 2^342,
/// which leaves room for the sign and 2^84 of the largest products.
const LAST: i32 = 2 * -149;

/// A sum, in two's complement, and beside it that of the infinite and NaN terms.
#[derive(Clone, Copy)]
pub(super) struct Superaccumulator {
    words: [u64; WORDS],
    /// Zero as long as there are none.
    special: f64,
}

impl Superaccumulator {
    pub const ZERO: Self = Self { words: [0; WORDS], special: 0.0 };

    /// Adds an integer of at most 54 bits times `2^exponent`.
    pub fn add(&mut self, value: i64, exponent: i32) {
        let position = (exponent - LAST) as usize;
        let (word, bit) = (position / 64, position % 64);
        let term = i128::from(value) << bit;
        let (sum, carry) = self.words[word].overflowing_add(term as u64);
        self.words[word] = sum;
        // The upper half and the carry go to the next word, and what the sign and the next carry make of the words
        // above, until they make nothing.
        let mut term = (term >> 64) + i128::from(carry);
        for word in &mut self.words[word + 1..] {
            if term == 0 {
                break;
            }
            let sum = i128::from(*word) + term;
            *word = sum as u64;
            term = sum >> 64;
        }
    }

    /// Adds an infinity or NaN.
    pub fn add_special(&mut self, value: f64) {
        self.special += value;
    }

    /// The sum rounded to odd, to 53 bits, which rounded to float32 gives the sum rounded once.
    pub fn to_odd(self) -> f64 {
        if self.special != 0.0 {
            return self.special;
        }
        let mut words = self.words;
        let negative = words[WORDS - 1] >> 63 == 1;
        if negative {
            let mut carry = true;
            for word in &mut words {
                (*word, carry) = (!*word).overflowing_add(u64::from(carry));
            }
        }
        let Some(top) = words.iter().rposition(|&word| word != 0) else { return 0.0 };
        // The two leading words; what lies below them is one bit.
        let below = words[..top.saturating_sub(1)].iter().any(|&word| word != 0);
        let lower = if top > 0 { words[top - 1] } else { 0 };
        let leading = u128::from(words[top]) << 64 | u128::from(lower);
        // 53 bits of them, the last one set if anything is lost.
        let shift = 128 - 53 - leading.leading_zeros();
        let lost = leading & ((1 << shift) - 1) != 0 || below;
        let significand = (leading >> shift) as u64 | u64::from(lost);
        let exponent = LAST + 64 * (top as i32 - 1) + shift as i32;
        let magnitude = significand as f64 * f64::power_of_two(exponent);
        if negative { -magnitude } else { magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(terms: &[(i64, i32)]) -> f64 {
        let mut sum = Superaccumulator::ZERO;
        for &(value, exponent) in terms {
            sum.add(value, exponent);
        }
        sum.to_odd()
    }

    #[test]
    fn carries_and_borrows_cross_words() {
        let power = f64::power_of_two;
        assert_eq!(sum(&[]).to_bits(), 0);
        assert_eq!(sum(&[(1, -298)]), power(-298));
        assert_eq!(sum(&[(-1, -298)]), -power(-298));
        assert_eq!(sum(&[(-1, -298), (1, -298)]).to_bits(), 0);
        assert_eq!(sum(&[(1, 280), (-1, -298), (1, -298)]), power(280));
        assert_eq!(sum(&[(-1, 280), (1, -298), (-1, -298)]), -power(280));
        // 2^280 - 2^-298 has 578 ones: all 53 leading ones are kept.
        assert_eq!(sum(&[(-1, -298), (1, 280)]), power(280) - power(280 - 53));
        // Below the last bit, what is lost sets it.
        assert_eq!(sum(&[(1, 280), (1, -298)]), power(280) + power(280 - 52));
        assert_eq!(sum(&[(1, 0), (1, -52)]), 1.0 + power(-52));
        assert_eq!(sum(&[(1, 0), (1, -53)]), 1.0 + power(-52));
        for exponent in -298..240 {
            let value = (1i64 << 53) - 1;
            assert_eq!(sum(&[(value, exponent)]), value as f64 * power(exponent));
            assert_eq!(sum(&[(-value, exponent)]), -value as f64 * power(exponent));
        }
    }

    #[test]
    fn infinities_and_nan_outweigh_the_rest() {
        let mut sum = Superaccumulator::ZERO;
        sum.add(1, 0);
        sum.add_special(f64::INFINITY);
        assert_eq!(sum.to_odd(), f64::INFINITY);
        sum.add_special(f64::NEG_INFINITY);
        assert!(sum.to_odd().is_nan());
    }
}
