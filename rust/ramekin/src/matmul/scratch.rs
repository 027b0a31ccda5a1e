//! Memory for packed blocks, kept from one product to the next: getting it anew would take a small product longer than its
//! work, and a large one a page fault for each page.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// What packed blocks are: a product needs one of each on the same thread.
#[derive(Clone, Copy)]
pub(super) enum Packed {
    /// A block of B.
    Block,
    /// A block of A, and a panel.
    Rows,
}

thread_local! {
    static KEPT: [Cell<Lines>; 2] = const { [Cell::new(Lines::NONE), Cell::new(Lines::NONE)] };
}

/// The most that a thread keeps for each, in units: the largest block of B, with its padding.
const MOST: usize = (1 << 20) + (1 << 16);

/// Units of a cache line.
const LINE: usize = 16;

/// Units that begin with a cache line: vectors that lie across two lines would be read in twice the time.
#[derive(Debug)]
pub(super) struct Lines {
    memory: Vec<u32>,
    start: usize,
}

impl Lines {
    const NONE: Self = Self { memory: Vec::new(), start: 0 };

    /// So many zeros.
    pub fn new(units: usize) -> Self {
        let memory = vec![0; units + LINE - 1];
        let start = memory.as_ptr().align_offset(LINE * size_of::<u32>()).min(LINE - 1);
        Self { memory, start }
    }
}

impl Deref for Lines {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.memory[self.start..]
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [u32] {
        &mut self.memory[self.start..]
    }
}

/// Units that hold anything.
pub(super) struct Scratch {
    memory: Lines,
    of: Packed,
}

impl Scratch {
    pub fn new(of: Packed, units: usize) -> Self {
        let mut memory = KEPT.with(|kept| kept[of as usize].replace(Lines::NONE));
        if memory.len() < units {
            // Not `resize`: what is there need not move, nor stay.
            drop(memory);
            memory = Lines::new(units);
        }
        Self { memory, of }
    }

    pub fn units(&mut self) -> &mut [u32] {
        &mut self.memory
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.memory.len() <= MOST {
            KEPT.with(|kept| kept[self.of as usize].set(std::mem::replace(&mut self.memory, Lines::NONE)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_begin_with_a_cache_line() {
        for units in [0, 1, 15, 16, 1000, 1 << 18] {
            let lines = Lines::new(units);
            assert!(lines.len() >= units && lines.iter().all(|&unit| unit == 0));
            assert_eq!(lines.as_ptr() as usize % 64, 0);
        }
    }
}
