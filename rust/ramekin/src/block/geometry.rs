//! Which elements lie in which block.

use std::ops::Range;

/// Matrices of equal shape, one after the other, cut into blocks. Blocks at the lower and right edge may be smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Rows of all matrices together.
    pub rows: usize,
    /// Rows of each matrix.
    pub matrix: usize,
    pub columns: usize,
    /// Rows and columns of a block; at most the matrix's, and at least one.
    pub block: (usize, usize),
    /// Whether there is one block for all, even for nothing.
    whole: bool,
}

impl Geometry {
    /// All rows of all matrices by `columns`. Without a given block they are one matrix in one block.
    pub fn new(lengths: &[usize], columns: usize, given: Option<(usize, usize)>) -> Self {
        let rows = lengths.iter().product();
        let matrix = match given {
            // Rows are blocks of their own, whichever matrix they are of.
            None | Some((1, _)) => rows,
            Some(_) => lengths.last().copied().unwrap_or(1),
        };
        let (high, wide) = given.unwrap_or((rows, columns));
        let block = (high.min(matrix).max(1), wide.min(columns).max(1));
        Self { rows, matrix, columns, block, whole: given.is_none() }
    }

    /// Blocks side by side.
    pub fn across(&self) -> usize {
        self.columns.div_ceil(self.block.1)
    }

    /// Blocks one below the other in a matrix.
    fn down(&self) -> usize {
        self.matrix.div_ceil(self.block.0)
    }

    /// Rows of blocks, of all matrices.
    pub fn bands(&self) -> usize {
        self.rows.checked_div(self.matrix).unwrap_or(0) * self.down()
    }

    /// All blocks.
    pub fn blocks(&self) -> usize {
        if self.whole { 1 } else { self.bands() * self.across() }
    }

    /// The band that a row is in.
    pub fn band(&self, row: usize) -> usize {
        row / self.matrix * self.down() + row % self.matrix / self.block.0
    }

    /// The rows of a band.
    pub fn band_rows(&self, band: usize) -> Range<usize> {
        let (matrix, within) = (band / self.down() * self.matrix, band % self.down() * self.block.0);
        matrix + within..matrix + self.matrix.min(within + self.block.0)
    }

    /// Elements of a block that is not at an edge.
    pub fn block_len(&self) -> usize {
        self.block.0 * self.block.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_its_band() {
        for (lengths, block) in [
            (&[3, 10][..], Some((4, 8))),
            (&[3, 10], Some((1, 8))),
            (&[3, 10], Some((100, 8))),
            (&[30], None),
            (&[], None),
            (&[2, 0], Some((4, 4))),
            (&[0, 2], Some((4, 4))),
        ] {
            let geometry = Geometry::new(lengths, 20, block);
            let mut row = 0;
            for band in 0..geometry.bands() {
                for of_band in geometry.band_rows(band) {
                    assert_eq!((of_band, geometry.band(of_band)), (row, band));
                    row += 1;
                }
            }
            assert_eq!(row, geometry.rows);
        }
        let tiles = Geometry::new(&[3, 10], 20, Some((4, 8)));
        assert_eq!((tiles.bands(), tiles.across(), tiles.blocks()), (9, 3, 27));
        assert_eq!(tiles.band_rows(5), 18..20);
        let whole = Geometry::new(&[3, 10], 20, None);
        assert_eq!((whole.blocks(), whole.block), (1, (30, 20)));
        assert_eq!(Geometry::new(&[0], 20, None).blocks(), 1);
        assert_eq!(Geometry::new(&[0], 20, Some((1, 8))).blocks(), 0);
    }
}
