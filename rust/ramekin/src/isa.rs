//! Which kernels this CPU runs.
//!
//! A kernel is written once, as a `Kernel` whose `run` is `#[inline(always)]`; `Level::run` calls it
//! inside a function that carries the level's `#[target_feature]`, so the compiler vectorises the one body for
//! that instruction set. The level is found once; `RAMEKIN_ISA` forces a lower one.

use std::fmt;
use std::sync::OnceLock;

use crate::fpenv;
use crate::once::once;
use crate::simd::{Portable, Simd};
#[cfg(target_arch = "x86_64")]
use crate::simd::{X86Avx2, X86Avx512, X86Avx512Bf16};

/// A set of instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What every CPU of the architecture has.
    Portable,
    /// x86-64 AVX2, FMA, F16C and BMI2 (x86-64-v3).
    Avx2,
    /// x86-64 AVX-512 F, BW, CD, DQ and VL (x86-64-v4).
    Avx512,
    /// AVX-512 with its BF16 dot products and its VBMI byte permutations.
    Avx512Bf16,
}

/// Code that is compiled once for every level. Its `run` must be `#[inline(always)]`, and so must all it
/// calls in its loops: what is not inlined is compiled for the baseline.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The name that `RAMEKIN_ISA` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }

    /// Whether this CPU and operating system run it.
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        self <= Self::highest()
    }

    /// The highest level of this machine, which has all below it too. Found once.
    #[inline]
    fn highest() -> Self {
        static HIGHEST: OnceLock<Level> = OnceLock::new();
        *once(&HIGHEST, || Self::ALL.into_iter().rfind(|level| level.is_detected()).unwrap_or(Self::Portable))
    }

    fn is_detected(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
                    && is_x86_feature_detected!("bmi2")
            };
            let avx512 = || {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            };
            match self {
                Self::Portable => true,
                Self::Avx2 => avx2(),
                Self::Avx512 => avx512(),
                Self::Avx512Bf16 => {
                    avx512()
                        && is_x86_feature_detected!("avx512bf16")
                        && is_x86_feature_detected!("avx512vbmi")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The levels this machine runs, lowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }

    /// Runs a kernel compiled for this level, in the default floating-point environment.
    ///
    /// # Panics
    ///
    /// If the CPU lacks the level.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.is_available(), "this CPU does not run {self}");
        let _guard = fpenv::Guard::new();
        match self {
            Self::Portable => run_portable(kernel),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: is_available found every feature that the function enables.
            Self::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512Bf16 => unsafe { run_avx512bf16(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("only the portable level is available"),
        }
    }
}

#[inline(never)]
pub(crate) fn run_portable<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Portable)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
pub(crate) fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function carries the features that the token stands for.
    kernel.run(unsafe { X86Avx2::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c,bmi2")]
pub(crate) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function carries the features that the token stands for.
    kernel.run(unsafe { X86Avx512::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx512vbmi,avx2,fma,f16c,bmi2"
)]
pub(crate) fn run_avx512bf16<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function carries the features that the token stands for.
    kernel.run(unsafe { X86Avx512Bf16::new() })
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `RAMEKIN_ISA` asks for what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError(String);

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Level::available().map(Level::name).collect();
        write!(f, "RAMEKIN_ISA={:?} is not a level of this CPU; accepted here: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for IsaError {}

/// The level in use: the highest available, or what `RAMEKIN_ISA` names. Read once.
///
/// # Errors
///
/// If `RAMEKIN_ISA` names no level or one that the CPU lacks.
pub fn active() -> Result<Level, IsaError> {
    static ACTIVE: OnceLock<Result<Level, IsaError>> = OnceLock::new();
    once(&ACTIVE, || choose(std::env::var("RAMEKIN_ISA").ok().as_deref())).clone()
}

fn choose(asked: Option<&str>) -> Result<Level, IsaError> {
    match asked {
        None | Some("") => Ok(Level::available().last().unwrap_or(Level::Portable)),
        Some(name) => Level::available().find(|l| l.name() == name).ok_or_else(|| IsaError(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_what_is_asked_and_refuses_the_rest() {
        assert_eq!(choose(Some("portable")), Ok(Level::Portable));
        assert_eq!(choose(None), Ok(Level::available().last().unwrap()));
        let message = choose(Some("sse9")).unwrap_err().to_string();
        assert!(message.contains("sse9") && message.contains("portable"), "{message}");
    }
}
