//! Functions of one number, applied to slices.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use super::{activation, elementary, erf};
use crate::isa::{Kernel, Level};
use crate::parallel::{self, ThreadsError};
use crate::simd::Simd;

/// To float32, with one NaN.
#[inline(always)]
pub(super) fn rounded(x: f64) -> f32 {
    one_nan(x as f32)
}

/// The number, or the canonical NaN: which NaN an operation gives depends on the order of its operands in the
/// instruction. By bits, since to the compiler's arithmetic one NaN is as good as another.
#[inline(always)]
pub(super) fn one_nan(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0_0000 } else { bits })
}

/// A function of a number.
trait Unary {
    fn at(x: f32) -> f32;
}

/// A gradient by `x` from that by the function's value.
trait Backward {
    fn at(x: f32, dy: f32) -> f32;
}

struct Map<'a, U> {
    x: &'a [f32],
    y: &'a mut [f32],
    function: PhantomData<U>,
}

impl<U: Unary> Kernel for Map<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = U::at(x);
        }
    }
}

struct MapGradient<'a, U> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    function: PhantomData<U>,
}

impl<U: Backward> Kernel for MapGradient<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((dx, &x), &dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            *dx = U::at(x, dy);
        }
    }
}

/// A name that is none of those accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    name: String,
    accepted: &'static [&'static str],
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown function {:?}; accepted: {}", self.name, self.accepted.join(", "))
    }
}

impl std::error::Error for FunctionError {}

/// A function that is worked out in float64, or in float32 where that gives the same.
macro_rules! unary {
    ($type:ident, float64 $path:path) => {
        unary!(@ $type, x => rounded($path(f64::from(x))));
    };
    ($type:ident, float32 $path:path) => {
        unary!(@ $type, x => one_nan($path(x)));
    };
    (@ $type:ident, $x:ident => $value:expr) => {
        impl Unary for $type {
            #[inline(always)]
            fn at($x: f32) -> f32 {
                $value
            }
        }
    };
}

macro_rules! backward {
    ($type:ident, float64 $path:path) => {
        backward!(@ $type, (x, dy) => rounded($path(f64::from(x), f64::from(dy))));
    };
    ($type:ident, float32 $path:path) => {
        backward!(@ $type, (x, dy) => one_nan($path(x, dy)));
    };
    (@ $type:ident, ($x:ident, $dy:ident) => $value:expr) => {
        impl Backward for $type {
            #[inline(always)]
            fn at($x: f32, $dy: f32) -> f32 {
                $value
            }
        }
    };
}

/// Makes an enumeration of functions, with their names and what they are worked out in, and what runs each of them by a
/// kernel.
macro_rules! functions {
    ($(#[$doc:meta])* $all:ident, $run:ident, $kind:ident, $($(#[$about:meta])* $name:ident $text:literal => $within:ident $path:path),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $all {
            $($(#[$about])* $name,)+
        }

        impl $all {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];
            const NAMES: &[&'static str] = &[$($text),+];
        }

        impl FromStr for $all {
            type Err = FunctionError;

            fn from_str(name: &str) -> Result<Self, FunctionError> {
                match name {
                    $($text => Ok(Self::$name),)+
                    _ => Err(FunctionError { name: name.to_owned(), accepted: Self::NAMES }),
                }
            }
        }

        macro_rules! $run {
            ($function:expr, $unary:ident => $body:expr) => {
                match $function {
                    $($all::$name => {
                        struct At;
                        $kind!(At, $within $path);
                        type $unary = At;
                        $body
                    })+
                }
            };
        }
    };
}

#[inline(always)]
fn sqrt(x: f32) -> f32 {
    x.sqrt()
}

#[inline(always)]
fn reciprocal_sqrt(x: f64) -> f64 {
    1.0 / x.sqrt()
}

functions! {
    /// A function of one number.
    Function, with_function, unary,
    /// `e^x`.
    Exp "exp" => float64 elementary::exp,
    /// The natural logarithm.
    Log "log" => float64 elementary::log,
    /// The hyperbolic tangent.
    Tanh "tanh" => float64 activation::tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid "sigmoid" => float64 activation::sigmoid,
    /// `x sigmoid(x)`, which goes to -0 at minus infinity.
    Silu "silu" => float64 activation::silu,
    /// The error function.
    Erf "erf" => float64 erf::erf,
    /// `x Phi(x)` with Phi the normal distribution, which goes to -0 at minus infinity.
    Gelu "gelu" => float64 activation::gelu,
    /// The same in the approximation by tanh.
    GeluTanh "gelu_tanh" => float64 activation::gelu_tanh,
    /// `max(x, +0)`; NaN stays.
    Relu "relu" => float32 activation::relu,
    /// The square root, correctly rounded.
    Sqrt "sqrt" => float32 sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt "rsqrt" => float64 reciprocal_sqrt
}

functions! {
    /// The gradient of a function of one number: its derivative times the gradient by its value.
    Gradient, with_gradient, backward,
    /// Of [`Function::Silu`].
    Silu "silu" => float64 activation::silu_gradient,
    /// Of [`Function::Gelu`].
    Gelu "gelu" => float64 activation::gelu_gradient,
    /// Of [`Function::GeluTanh`].
    GeluTanh "gelu_tanh" => float64 activation::gelu_tanh_gradient,
    /// Of [`Function::Relu`]: the other gradient above 0, else 0, whatever that one is.
    Relu "relu" => float32 activation::relu_gradient
}

/// Writes `function(x)` to `y`, on the pool where that pays.
///
/// # Errors
///
/// If there can be no pool.
///
/// # Panics
///
/// If the lengths differ or the CPU lacks `level`.
pub fn apply(level: Level, function: Function, x: &[f32], y: &mut [f32]) -> Result<(), ThreadsError> {
    with_function!(function, U => {
        parallel::zip_chunks(x, y, |_, x, y| level.run(Map { x, y, function: PhantomData::<U> }))
    })
}

/// Elements that one thread works through before it takes more.
const CHUNK: usize = 1 << 15;

/// Writes the gradient by `x`, where that by the function's value is `dy`, to `dx`.
///
/// # Errors
///
/// As [`apply`].
///
/// # Panics
///
/// As [`apply`].
pub fn apply_gradient(
    level: Level,
    function: Gradient,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<(), ThreadsError> {
    assert!(x.len() == dy.len() && x.len() == dx.len(), "the lengths differ");
    let count = x.len().div_ceil(CHUNK);
    let parts = x.chunks(CHUNK).zip(dy.chunks(CHUNK)).zip(dx.chunks_mut(CHUNK));
    with_gradient!(function, U => {
        parallel::share(parts, count, |((x, dy), dx)| {
            level.run(MapGradient { x, dy, dx, function: PhantomData::<U> });
        })
    })
}
