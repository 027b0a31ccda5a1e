//! The floating-point environment: ours for as long as a kernel runs.
//!
//! Other libraries switch a thread to flush-to-zero or to another rounding direction and leave it so. Bits
//! must not depend on that: [`Guard`] sets the default environment (round to nearest even, subnormals kept,
//! exceptions masked) and puts the caller's back when dropped.

use std::cell::Cell;
use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    /// All exceptions masked, round to nearest even, no flush-to-zero, no denormals-are-zero.
    pub const DEFAULT: u64 = 0x1f80;

    pub fn read() -> u64 {
        let mut value = 0u32;
        // SAFETY: stmxcsr stores four bytes to the address given, a live u32.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        u64::from(value)
    }

    pub fn write(value: u64) {
        let value = value as u32;
        // SAFETY: ldmxcsr reads four bytes of a live u32; the value is DEFAULT or was read by `read`, so no
        // reserved bit is set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    pub const DEFAULT: u64 = 0;

    pub fn read() -> u64 {
        let value: u64;
        // SAFETY: reading FPCR has no side effect.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nostack, preserves_flags)) };
        value
    }

    pub fn write(value: u64) {
        // SAFETY: the value is DEFAULT or was read by `read`.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub const DEFAULT: u64 = 0;
    pub fn read() -> u64 {
        DEFAULT
    }
    pub fn write(_: u64) {}
}

thread_local! {
    /// Whether a guard holds this thread's environment.
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// Holds this thread's environment at the default until dropped.
#[must_use]
pub struct Guard {
    /// None within another guard: reading the register takes as long as some tens of vectors.
    saved: Option<u64>,
    /// It is this thread's.
    _here: PhantomData<*const ()>,
}

impl Guard {
    /// Saves the environment and sets the default, unless another guard has.
    pub fn new() -> Self {
        let saved = (!HELD.replace(true)).then(|| {
            let saved = register::read();
            if saved != register::DEFAULT {
                register::write(register::DEFAULT);
            }
            saved
        });
        Self { saved, _here: PhantomData }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(saved) = self.saved {
            HELD.set(false);
            // Written back always: the sticky exception flags that a kernel raised are not the caller's.
            register::write(saved);
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn guard_overrides_and_restores() {
        let before = register::read();
        let hostile = 0x1f80 | 0x8040 | 0x6000; // flush-to-zero, denormals-are-zero, toward zero
        register::write(hostile);
        let flushed = black_box(f32::MIN_POSITIVE) * black_box(0.5);
        let kept = {
            let _guard = Guard::new();
            drop(Guard::new());
            black_box(f32::MIN_POSITIVE) * black_box(0.5)
        };
        let after = register::read() & !0x3f;
        register::write(before);
        assert_eq!((flushed.to_bits(), kept.to_bits()), (0, 0x0040_0000));
        assert_eq!(after, hostile);
    }
}
