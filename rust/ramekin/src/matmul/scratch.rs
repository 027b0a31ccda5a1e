//! Memory for packed blocks, kept from one product to the next: small products would spend longer on getting it.

use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The most that a thread keeps, in units: a block of A and the panels of a small B.
const MOST: usize = 1 << 17;

/// Units that hold anything. A second one on the same thread gets memory of its own.
pub(super) struct Scratch(Vec<u32>);

impl Scratch {
    pub fn new(units: usize) -> Self {
        let mut memory = KEPT.take();
        if memory.len() < units {
            // Not `resize`: what is there need not move.
            memory = vec![0; units];
        }
        Self(memory)
    }

    pub fn units(&mut self) -> &mut [u32] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.len() <= MOST {
            KEPT.set(std::mem::take(&mut self.0));
        }
    }
}
