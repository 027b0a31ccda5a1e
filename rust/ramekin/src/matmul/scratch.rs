//! Memory for packed blocks, kept from one product to the next: small products would spend longer on getting it.

use std::cell::Cell;

/// What packed blocks are: a product needs one of each on the same thread.
#[derive(Clone, Copy)]
pub(super) enum Packed {
    /// A block of B.
    Block,
    /// A block of A, and a panel.
    Rows,
}

thread_local! {
    static KEPT: [Cell<Vec<u32>>; 2] = const { [Cell::new(Vec::new()), Cell::new(Vec::new())] };
}

/// The most that a thread keeps for each, in units: a block of A and the panels of a small B.
const MOST: usize = 1 << 17;

/// Units that hold anything.
pub(super) struct Scratch {
    memory: Vec<u32>,
    of: Packed,
}

impl Scratch {
    pub fn new(of: Packed, units: usize) -> Self {
        let mut memory = KEPT.with(|kept| kept[of as usize].take());
        if memory.len() < units {
            // Not `resize`: what is there need not move, nor stay.
            drop(memory);
            memory = vec![0; units];
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
            KEPT.with(|kept| kept[self.of as usize].set(std::mem::take(&mut self.memory)));
        }
    }
}
