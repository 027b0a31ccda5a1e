//! The scale of a block, from its largest magnitude.

use super::scheme::{Scale, Scheme};
use crate::convert::{Conversion, decode, encode};
use crate::float::{Bits, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::simd::Simd;

/// How the exponent of a scale that is a power of two is found: `2^e` is the scale, `amax` the largest magnitude,
/// and the elements' largest number is `max`, of exponent `emax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleRounding {
    /// `floor(log2(amax)) - emax` (OCP MX v1.0, section 6.3): numbers above `max 2^e` are cut off.
    Floor,
    /// `ceil(log2(amax)) - emax`.
    Ceil,
    /// As [`Self::Floor`] of `amax` rounded to as many mantissa bits as elements have, halves up: what would be cut
    /// off by half a unit or more raises the exponent.
    Even,
    /// The smallest `e` with `amax <= max 2^e`.
    Rceil,
}

impl ScaleRounding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Floor, Self::Ceil, Self::Even, Self::Rceil];

    /// The public name, the same in Python.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Even => "even",
            Self::Rceil => "rceil",
        }
    }
}

impl std::str::FromStr for ScaleRounding {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|rounding| rounding.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown scale rounding {name:?}; accepted: {names}")
        })
    }
}

/// Scales to read.
#[derive(Clone, Copy, Debug)]
pub enum Scales<'a> {
    /// Codes of a format of up to 8 bits.
    U8(&'a [u8]),
    /// Codes of a format of 9 to 16 bits.
    U16(&'a [u16]),
    /// float32 itself.
    F32(&'a [f32]),
}

/// Scales to write.
#[derive(Debug)]
pub enum ScalesMut<'a> {
    /// Codes of a format of up to 8 bits.
    U8(&'a mut [u8]),
    /// Codes of a format of 9 to 16 bits.
    U16(&'a mut [u16]),
    /// float32 itself.
    F32(&'a mut [f32]),
}

impl<'a> ScalesMut<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::U8(all) => all.len(),
            Self::U16(all) => all.len(),
            Self::F32(all) => all.len(),
        }
    }

    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::U8(all) => {
                let (left, right) = all.split_at_mut(at);
                (Self::U8(left), Self::U8(right))
            }
            Self::U16(all) => {
                let (left, right) = all.split_at_mut(at);
                (Self::U16(left), Self::U16(right))
            }
            Self::F32(all) => {
                let (left, right) = all.split_at_mut(at);
                (Self::F32(left), Self::F32(right))
            }
        }
    }

    /// Some of them.
    pub(super) fn part(&mut self, first: usize, len: usize) -> ScalesMut<'_> {
        match self {
            Self::U8(all) => ScalesMut::U8(&mut all[first..first + len]),
            Self::U16(all) => ScalesMut::U16(&mut all[first..first + len]),
            Self::F32(all) => ScalesMut::F32(&mut all[first..first + len]),
        }
    }

    pub(super) fn shared(&self) -> Scales<'_> {
        match self {
            Self::U8(all) => Scales::U8(all),
            Self::U16(all) => Scales::U16(all),
            Self::F32(all) => Scales::F32(all),
        }
    }
}

impl Scales<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::U8(all) => all.len(),
            Self::U16(all) => all.len(),
            Self::F32(all) => all.len(),
        }
    }

    /// The numbers that some scales stand for.
    pub(super) fn values<F: Float>(&self, level: Level, scale: Scale<'_>, first: usize, values: &mut [F]) {
        let end = first + values.len();
        match self {
            Self::U8(all) => decode(level, format(scale), &all[first..end], values),
            Self::U16(all) => decode(level, format(scale), &all[first..end], values),
            Self::F32(all) => level.run(Convert { from: &all[first..end], to: values }),
        }
    }
}

/// The format of scales that have one.
fn format(scale: Scale<'_>) -> &FloatFormat {
    match scale {
        Scale::Small { format, .. } => format,
        _ => &crate::format::E8M0,
    }
}

/// Numbers of one machine float to another, to nearest even where they must be rounded.
pub(super) struct Convert<'a, A, B> {
    pub from: &'a [A],
    pub to: &'a mut [B],
}

impl<A: Float, B: Float> Kernel for Convert<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = B::from_f64(from.to_f64());
        }
    }
}

/// What the scales of one tensor are found by.
pub(super) struct Rule<'a> {
    level: Level,
    scale: Scale<'a>,
    plan: ElementPlan,
    /// Whether elements have a NaN.
    has_nan: bool,
    /// NVFP4's factor for the whole tensor; 1 elsewhere.
    tensor: f32,
    /// What elements are multiplied by under each scale of a format of up to 8 bits.
    of_codes: Vec<f32>,
}

impl<'a> Rule<'a> {
    /// `amax` is that of the tensor, read where that has a scale.
    pub fn new(level: Level, scheme: &Scheme<'a>, amax: f64) -> Self {
        let plan = ElementPlan::new(scheme.element);
        let tensor = match scheme.scale {
            Scale::Small { format, tensor: true } => level.run(TensorFactor { max: plan.max, format, amax }),
            _ => 1.0,
        };
        let of_codes = match scheme.scale {
            Scale::Small { format, .. } if format.bits() <= 8 => {
                let codes: Vec<u8> = (0..=u8::MAX).collect();
                let (mut decoded, mut factors) = (vec![0.0; codes.len()], vec![0.0; codes.len()]);
                decode(level, format, &codes, &mut decoded);
                level.run(Factors { tensor, decoded: &decoded, factors: &mut factors });
                factors
            }
            _ => Vec::new(),
        };
        let has_nan = scheme.element.nan_code().is_some();
        Self { level, scale: scheme.scale, plan, has_nan, tensor, of_codes }
    }

    /// The tensor's own scale, if it has one.
    pub fn tensor_scale(&self) -> Option<f64> {
        match self.scale {
            Scale::Small { tensor: true, .. } => Some(self.level.run(Inverse(self.tensor))),
            _ => None,
        }
    }

    /// Writes the scales of blocks with these largest magnitudes, and what to multiply their elements by before they
    /// are rounded: zero where all are to be zero.
    pub fn scales<F: Float>(&self, most: &[F::Bits], factors: &mut [F], scales: ScalesMut<'_>) {
        assert!(most.len() == factors.len() && most.len() == scales.len(), "one scale for each block");
        let level = self.level;
        match (self.scale, scales) {
            (Scale::PowerOfTwo(rounding), ScalesMut::U8(codes)) => {
                level.run(Exponents { plan: self.plan.rounded(rounding), most, factors, codes });
            }
            (Scale::Float32(Some(rounding)), ScalesMut::F32(scales)) => {
                let (plan, has_nan) = (self.plan.rounded(rounding), self.has_nan);
                level.run(Powers { plan, has_nan, most, factors, scales });
            }
            (Scale::Float32(None), ScalesMut::F32(scales)) => {
                let (max, has_nan) = (self.plan.max, self.has_nan);
                level.run(Quotients { max, has_nan, most, factors, scales });
            }
            (Scale::Small { format, .. }, ScalesMut::U8(codes)) => self.small(format, most, factors, codes),
            (Scale::Small { format, .. }, ScalesMut::U16(codes)) => self.small(format, most, factors, codes),
            _ => panic!("the scales are of another type"),
        }
    }

    /// Transformer Engine's steps for NVFP4.
    fn small<F: Float, C: crate::float::Code>(
        &self,
        format: &FloatFormat,
        most: &[F::Bits],
        factors: &mut [F],
        codes: &mut [C],
    ) {
        let (level, mut wanted) = (self.level, vec![0.0f32; most.len()]);
        level.run(Wanted::<F> { max: self.plan.max, tensor: self.tensor, most, wanted: &mut wanted });
        let options = Conversion { saturate: true, ..Conversion::default() };
        encode(level, format, options, &wanted, codes);
        if let Some(codes) = C::of_u8(codes) {
            level.run(LookUp { codes, of_codes: &self.of_codes, factors });
        } else {
            decode(level, format, codes, &mut wanted);
            level.run(Factors { tensor: self.tensor, decoded: &wanted, factors });
        }
    }
}

/// What the rules need to know of an element's format.
#[derive(Clone, Copy)]
struct ElementPlan {
    /// The largest number, which every format of up to 16 bits has in float32.
    max: f32,
    emax: i32,
    mantissa_bits: u32,
    /// The fraction of the largest number, as a float64's.
    max_fraction: u64,
}

const FRACTION: u64 = (1 << f64::MANTISSA_BITS) - 1;

impl ElementPlan {
    fn new(format: &FloatFormat) -> Self {
        let mut max = [0.0f64];
        decode(Level::Portable, format, &[format.max_code()], &mut max);
        Self {
            max: max[0] as f32,
            emax: format.max_exponent(),
            mantissa_bits: format.mantissa_bits,
            max_fraction: max[0].to_bits() & FRACTION,
        }
    }

    fn rounded(&self, rounding: ScaleRounding) -> ExponentPlan {
        let half_unit = 1 << (f64::MANTISSA_BITS - self.mantissa_bits - 1);
        let (add, above) = match rounding {
            ScaleRounding::Floor => (0, FRACTION),
            ScaleRounding::Ceil => (0, 0),
            ScaleRounding::Even => (half_unit, FRACTION),
            ScaleRounding::Rceil => (0, self.max_fraction),
        };
        ExponentPlan { add, above, bias: f64::BIAS + self.emax }
    }
}

/// The exponent of a scale that is a power of two, in steps that are the same for every rounding.
#[derive(Clone, Copy)]
struct ExponentPlan {
    /// What is added to the bits of the largest magnitude.
    add: u64,
    /// A larger fraction raises the exponent by one.
    above: u64,
    bias: i32,
}

/// The largest and the smallest exponent of E8M0.
const EXPONENT: i32 = 127;

impl ExponentPlan {
    /// In float64 every float32 is a normal number, and what is subnormal has the smallest exponent anyway.
    #[inline(always)]
    fn exponent(&self, amax: f64) -> i32 {
        let bits = amax.to_bits() + self.add;
        let above = i32::from(bits & FRACTION > self.above);
        ((bits >> f64::MANTISSA_BITS) as i32 + above - self.bias).clamp(-EXPONENT, EXPONENT)
    }
}

/// `2^-exponent`, for exponents of E8M0.
#[inline(always)]
fn inverse_power<F: Float>(exponent: i32) -> F {
    F::from_f64(f64::from_bits(((f64::BIAS - exponent) as u64) << f64::MANTISSA_BITS))
}

/// Codes of E8M0: all ones where there is NaN or infinity.
struct Exponents<'a, F: Float> {
    plan: ExponentPlan,
    most: &'a [F::Bits],
    factors: &'a mut [F],
    codes: &'a mut [u8],
}

impl<F: Float> Kernel for Exponents<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let plan = self.plan;
        let zero = F::from_bits_of(F::Bits::ZERO);
        for ((&most, factor), code) in self.most.iter().zip(self.factors).zip(self.codes) {
            let finite = most < F::INFINITY;
            let exponent = plan.exponent(F::from_bits_of(most).to_f64());
            let inverse = inverse_power(exponent);
            *factor = if finite { inverse } else { zero };
            *code = if finite { (exponent + EXPONENT) as u8 } else { u8::MAX };
        }
    }
}

/// What a float32 scale is and what elements are multiplied by, where the largest magnitude is zero, infinite or NaN:
/// nothing is scaled, and NaN that elements do not have comes to the scale.
#[inline(always)]
fn unless_special<F: Float>(most: F::Bits, has_nan: bool, (scale, factor): (f32, F)) -> (f32, F) {
    let zero = F::Bits::ZERO;
    let special = most == zero || most >= F::INFINITY;
    let none = most > F::INFINITY && !has_nan;
    let one = F::from_f64(1.0);
    let (scale, factor) = if special { (1.0, one) } else { (scale, factor) };
    if none { (f32::NAN, F::from_bits_of(zero)) } else { (scale, factor) }
}

/// Powers of two as float32.
struct Powers<'a, F: Float> {
    plan: ExponentPlan,
    has_nan: bool,
    most: &'a [F::Bits],
    factors: &'a mut [F],
    scales: &'a mut [f32],
}

impl<F: Float> Kernel for Powers<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((&most, factor), scale) in self.most.iter().zip(self.factors).zip(self.scales) {
            let exponent = self.plan.exponent(F::from_bits_of(most).to_f64());
            let scaled = (inverse_power::<f32>(-exponent), inverse_power::<F>(exponent));
            (*scale, *factor) = unless_special::<F>(most, self.has_nan, scaled);
        }
    }
}

/// The elements' largest number over the largest magnitude, and its inverse, in float32.
struct Quotients<'a, F: Float> {
    max: f32,
    has_nan: bool,
    most: &'a [F::Bits],
    factors: &'a mut [F],
    scales: &'a mut [f32],
}

impl<F: Float> Kernel for Quotients<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((&most, factor), scale) in self.most.iter().zip(self.factors).zip(self.scales) {
            let quotient = (self.max / F::from_bits_of(most).to_f64() as f32).min(f32::MAX);
            let scaled = (1.0 / quotient, F::from_f64(f64::from(quotient)));
            (*scale, *factor) = unless_special::<F>(most, self.has_nan, scaled);
        }
    }
}

/// NVFP4's factor for the whole tensor: the product of the largest numbers of scales and elements over the largest
/// magnitude.
struct TensorFactor<'a> {
    max: f32,
    format: &'a FloatFormat,
    amax: f64,
}

impl Kernel for TensorFactor<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f32 {
        let amax = self.amax as f32;
        let factor = (ElementPlan::new(self.format).max * self.max / amax).min(f32::MAX);
        if amax == 0.0 || !amax.is_finite() || factor == 0.0 { 1.0 } else { factor }
    }
}

struct Inverse(f32);

impl Kernel for Inverse {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        f64::from(1.0 / self.0)
    }
}

/// The scales that blocks would have in float32; NaN where there is NaN or infinity.
struct Wanted<'a, F: Float> {
    max: f32,
    tensor: f32,
    most: &'a [F::Bits],
    wanted: &'a mut [f32],
}

impl<F: Float> Kernel for Wanted<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (wanted, &most) in self.wanted.iter_mut().zip(self.most) {
            let scale = F::from_bits_of(most).to_f64() as f32 * self.tensor / self.max;
            *wanted = if most < F::INFINITY { scale } else { f32::NAN };
        }
    }
}

/// What elements are multiplied by, given their block's scale as it is stored.
struct Factors<'a, F> {
    tensor: f32,
    decoded: &'a [f32],
    factors: &'a mut [F],
}

impl<F: Float> Kernel for Factors<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (factor, &decoded) in self.factors.iter_mut().zip(self.decoded) {
            let quotient = (self.tensor / decoded).min(f32::MAX);
            *factor = F::from_f64(if decoded.is_nan() { 0.0 } else { f64::from(quotient) });
        }
    }
}

/// The same by a table.
struct LookUp<'a, F> {
    codes: &'a [u8],
    of_codes: &'a [f32],
    factors: &'a mut [F],
}

impl<F: Float> Kernel for LookUp<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (factor, &code) in self.factors.iter_mut().zip(self.codes) {
            *factor = F::from_f64(f64::from(self.of_codes[usize::from(code)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        for rounding in ScaleRounding::ALL {
            assert_eq!(rounding.name().parse(), Ok(rounding));
        }
        let message = "down".parse::<ScaleRounding>().unwrap_err();
        assert!(message.contains("down") && message.contains("rceil"), "{message}");
    }

    #[test]
    fn exponents_at_powers_of_two_and_their_neighbours() {
        let e4m3 = ElementPlan::new(FloatFormat::named("float8_e4m3fn").unwrap());
        let exponent = |rounding, x: f32| e4m3.rounded(rounding).exponent(f64::from(x));
        let below = |x: f32| f32::from_bits(x.to_bits() - 1);
        let above = |x: f32| f32::from_bits(x.to_bits() + 1);
        use ScaleRounding::{Ceil, Even, Floor, Rceil};
        for (rounding, x, right) in [
            (Floor, 1.0, -8),
            (Floor, below(1.0), -9),
            (Floor, 448.0, 0),
            (Ceil, 1.0, -8),
            (Ceil, above(1.0), -7),
            (Ceil, below(1.0), -8),
            // With three mantissa bits 1.9375 lies half-way to 2.
            (Even, 1.9375, -7),
            (Even, below(1.9375), -8),
            (Rceil, 448.0, 0),
            (Rceil, above(448.0), 1),
            (Rceil, below(448.0), 0),
            (Rceil, 256.0, 0),
            (Floor, f32::MAX, 119),
            (Even, f32::MAX, 120),
            (Floor, 0.0, -127),
            (Ceil, f32::from_bits(1), -127),
        ] {
            assert_eq!(exponent(rounding, x), right, "{rounding:?} {x:e}");
        }
    }
}
