//! The random words of stochastic rounding: Philox4x32-10.
//!
//! Counter-based: word `i` of a seed is word `i mod 4` of the block that the counter `i div 4` gives under the
//! seed as key, whatever thread or instruction set asks for it (Salmon, Moraes, Dror and Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3", 2011).

/// Where in which stream of words an array's first element stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Words {
    /// The key.
    pub seed: u64,
    /// The index of the first element's word.
    pub position: u64,
}

impl Words {
    /// The words from `elements` further on.
    #[must_use]
    pub fn after(self, elements: usize) -> Self {
        Self { position: self.position.wrapping_add(elements as u64), ..self }
    }
}

const ROUNDS: u32 = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// The golden ratio and the square root of three less one, as fractions of 2^32.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block, for `LANES` counters at once. Words lie in the low halves of 64-bit lanes, whose high halves are
/// whatever the last product left: a 32-bit multiplication does not read them, and neither does the caller.
#[inline(always)]
fn philox<const LANES: usize>(mut counter: [[u64; LANES]; 4], mut key: [u32; 2]) -> [[u64; LANES]; 4] {
    const LOW: u64 = u32::MAX as u64;
    for _ in 0..ROUNDS {
        let [c0, c1, c2, c3] = counter;
        let p0 = c0.map(|c| (c & LOW) * u64::from(MULTIPLIERS[0]));
        let p1 = c2.map(|c| (c & LOW) * u64::from(MULTIPLIERS[1]));
        counter = [
            std::array::from_fn(|lane| (p1[lane] >> 32) ^ c1[lane] ^ u64::from(key[0])),
            p1,
            std::array::from_fn(|lane| (p0[lane] >> 32) ^ c3[lane] ^ u64::from(key[1])),
            p0,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

const fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// One word.
#[must_use]
pub fn word(words: Words) -> u32 {
    let block = words.position / 4;
    let out = philox([[block], [block >> 32], [0], [0]], key(words.seed));
    out[(words.position % 4) as usize][0] as u32
}

const LANES: usize = 8;

/// Words that [`fill`] makes at a time.
pub(crate) const BLOCK: usize = 4 * LANES;

/// `BLOCK` words from the one at `4 * block` on.
#[inline(always)]
pub(crate) fn fill(seed: u64, block: u64, out: &mut [u32; BLOCK]) {
    let index: [u64; LANES] = std::array::from_fn(|lane| block.wrapping_add(lane as u64));
    let counter = [index, index.map(|i| i >> 32), [0; LANES], [0; LANES]];
    let made = philox(counter, key(seed));
    for (lane, out) in out.chunks_exact_mut(4).enumerate() {
        for (out, made) in out.iter_mut().zip(&made) {
            *out = made[lane] as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123's `kat_vectors`, lines `philox4x32 10`.
    #[test]
    fn known_answers() {
        let run = |counter: [u32; 4], key: [u32; 2]| {
            philox(counter.map(|c: u32| [u64::from(c)]), key).map(|[word]| word as u32)
        };
        assert_eq!(run([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(run([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            run([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn blocks_are_words_in_order() {
        let mut block = [0; BLOCK];
        for (seed, first) in [(0, 0), (42, 5), (u64::MAX, u64::from(u32::MAX) - 3)] {
            fill(seed, first, &mut block);
            for (i, &got) in block.iter().enumerate() {
                assert_eq!(got, word(Words { seed, position: 4 * first + i as u64 }));
            }
        }
    }
}
