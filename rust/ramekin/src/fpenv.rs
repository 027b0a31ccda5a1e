//! The floating-point environment: ours for as long as a kernel runs.
//!
//! Other libraries switch a thread to flush-to-zero or to another rounding direction and leave it so. Bits
//! must not depend on that: [`Guard`] sets the default environment (round to nearest even, subnormals kept,
//! exceptions masked) and puts the caller's back when dropped. [`observe`] tells which exceptions arithmetic met,
//! [`raise`] passes them on to the caller's environment.

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

    /// The bits of the sticky flags.
    const FLAGS: u64 = 0x3f;

    pub fn flags() -> u64 {
        read() & FLAGS
    }

    pub fn set_flags(flags: u64) {
        write((read() & !FLAGS) | (flags & FLAGS));
    }

    /// Flush-to-zero, denormals-are-zero, toward zero.
    #[cfg(test)]
    pub const HOSTILE: u64 = DEFAULT | 0x8040 | 0x6000;

    #[cfg(test)]
    pub const OVERFLOW: u64 = 1 << 3;
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

    /// The bits of the sticky flags.
    const FLAGS: u64 = 0x9f;

    pub fn flags() -> u64 {
        let value: u64;
        // SAFETY: reading FPSR has no side effect.
        unsafe { asm!("mrs {}, fpsr", out(reg) value, options(nostack, preserves_flags)) };
        value & FLAGS
    }

    pub fn set_flags(flags: u64) {
        let value: u64;
        // SAFETY: reading FPSR has no side effect; what is written was read, but for the flags.
        unsafe {
            asm!("mrs {}, fpsr", out(reg) value, options(nostack, preserves_flags));
            asm!("msr fpsr, {}", in(reg) (value & !FLAGS) | (flags & FLAGS), options(nostack, preserves_flags));
        }
    }

    /// Flush-to-zero, toward zero.
    #[cfg(test)]
    pub const HOSTILE: u64 = 1 << 24 | 0b11 << 22;

    #[cfg(test)]
    pub const OVERFLOW: u64 = 1 << 2;
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub const DEFAULT: u64 = 0;
    pub fn read() -> u64 {
        DEFAULT
    }
    pub fn write(_: u64) {}
    pub fn flags() -> u64 {
        0
    }
    pub fn set_flags(_: u64) {}
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

/// Floating-point exceptions (IEEE 754-2019, section 7), as the flags of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Exceptions(u64);

impl Exceptions {
    /// None.
    pub const NONE: Self = Self(0);
    /// Invalid operation: the lowest flag of x86's MXCSR as of ARM's FPSR.
    pub const INVALID: Self = Self(1);

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// As a number, to be kept where only numbers can be.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What [`bits`](Self::bits) gave.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Runs `work` in the default environment and tells the exceptions that its arithmetic met; the caller's flags stay as
/// they were. Only arithmetic on what `work` reads from memory, whose results it writes there, is sure to be met: the
/// compiler orders nothing else around the flags.
pub fn observe<R>(work: impl FnOnce() -> R) -> (R, Exceptions) {
    let _guard = Guard::new();
    let before = register::flags();
    register::set_flags(0);
    let result = work();
    let met = register::flags();
    register::set_flags(before);
    (result, Exceptions(met))
}

/// Sets this thread's sticky flags of these exceptions, as arithmetic that meets them does.
pub fn raise(exceptions: Exceptions) {
    if exceptions != Exceptions::NONE {
        register::set_flags(register::flags() | exceptions.0);
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn guard_overrides_and_restores() {
        // In a black box on the whole too: the compiler knows no order of arithmetic and the register.
        let halved = || black_box(black_box(f32::MIN_POSITIVE) * black_box(0.5)).to_bits();
        let before = register::read();
        register::write(register::HOSTILE);
        let flushed = halved();
        let kept = {
            let _guard = Guard::new();
            drop(Guard::new());
            halved()
        };
        let after = register::read() & !0x3f; // x86 has its flags in the same register
        register::write(before);
        assert_eq!((flushed, kept), (0, 0x0040_0000));
        assert_eq!(after, register::HOSTILE);
    }

    #[test]
    fn exceptions_are_told_and_raised() {
        let kept = register::flags();
        register::set_flags(0);
        let signalling = || black_box(black_box(f32::from_bits(0x7f80_0001)) + black_box(1.0));
        let (sum, met) = observe(signalling);
        assert!(sum.is_nan());
        assert_eq!((met, register::flags()), (Exceptions::INVALID, 0));
        // Within a guard as well, and what was raised before stays.
        {
            let _guard = Guard::new();
            let (_, none) = observe(|| black_box(black_box(1.0f32) + black_box(1.0)));
            let (_, overflow) = observe(|| black_box(black_box(f32::MAX) * black_box(2.0)));
            assert_eq!(none, Exceptions::NONE);
            assert_ne!(overflow.bits() & register::OVERFLOW, 0);
        }
        raise(Exceptions::NONE);
        assert_eq!(register::flags(), 0);
        raise(met);
        let raised = register::flags();
        register::set_flags(kept);
        assert_eq!(raised, 1);
        assert_eq!(Exceptions::from_bits(met.bits()).and(Exceptions::NONE), met);
    }
}
