//! The scale of a block, from its largest magnitude.

use super::exponent::{ElementPlan, ExponentPlan, Exponents, Powers, unless_special};
use super::fused::Fused;
use super::scale::ScalesMut;
use super::scheme::{Scale, Scheme};
use crate::convert::{Conversion, EncodePlan, decode, encode, encode_one, plan_of, shape};
use crate::float::{Code, Float};
use crate::format::FloatFormat;
use crate::isa::{Kernel, Level};
use crate::rounding::{Rounding, direction};
use crate::simd::{BYTES, PAIRS, ROWS, Simd};

/// Scales that are found at a time.
const CHUNK: usize = 256;

/// Codes of eight bits.
const CODES: usize = 1 << 8;

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
    of_codes: [f32; CODES],
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
                let codes: [u8; CODES] = std::array::from_fn(|code| code as u8);
                let (mut decoded, mut factors) = ([0.0; CODES], [0.0; CODES]);
                decode(level, format, &codes, &mut decoded);
                level.run(Factors { tensor, decoded: &decoded, factors: &mut factors });
                factors
            }
            _ => [0.0; CODES],
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

    /// Finds the scales of a row of blocks and rounds its elements to nearest even, where there is a short way to do
    /// both at once, and tells whether there is. `far` tells whether there are more elements than stay in a core's
    /// own caches.
    pub fn fused(
        &self,
        element: &FloatFormat,
        (row, width): (&[f32], usize),
        far: bool,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> bool {
        let Some(plan) = plan_of(element, Rounding::TiesToEven) else { return false };
        macro_rules! run {
            ($rule:expr) => {{
                let (level, rule) = (self.level, $rule);
                match (width, element.bits()) {
                    (16, 4) => level.run(Fused::<_, 16, PAIRS> { rule, plan, row, far, codes, scales }),
                    (32, 4) => level.run(Fused::<_, 32, PAIRS> { rule, plan, row, far, codes, scales }),
                    (16, 8) => level.run(Fused::<_, 16, BYTES> { rule, plan, row, far, codes, scales }),
                    (32, 8) => level.run(Fused::<_, 32, BYTES> { rule, plan, row, far, codes, scales }),
                    _ => false,
                }
            }};
        }
        match self.scale {
            Scale::PowerOfTwo(rounding) => run!(self.plan.rounded(rounding)),
            Scale::Small { format, .. } if format.bits() == 8 => {
                let Some(encode) = plan_of(format, Rounding::TiesToEven) else { return false };
                let (max, tensor, of_codes) = (self.plan.max, self.tensor, &self.of_codes);
                run!(SmallScales { max, tensor, encode, of_codes })
            }
            _ => false,
        }
    }

    /// Transformer Engine's steps for NVFP4.
    fn small<F: Float, C: Code>(
        &self,
        format: &FloatFormat,
        most: &[F::Bits],
        factors: &mut [F],
        codes: &mut [C],
    ) {
        let (level, options) = (self.level, Conversion { saturate: true, ..Conversion::default() });
        let mut wanted = [0.0; CHUNK];
        let parts = most.chunks(CHUNK).zip(factors.chunks_mut(CHUNK)).zip(codes.chunks_mut(CHUNK));
        for ((most, factors), codes) in parts {
            let wanted = &mut wanted[..most.len()];
            level.run(Wanted::<F> { max: self.plan.max, tensor: self.tensor, most, wanted });
            encode(level, format, options, wanted, codes);
            if let Some(codes) = C::of_u8(codes) {
                level.run(LookUp { codes, of_codes: &self.of_codes, factors });
            } else {
                decode(level, format, codes, wanted);
                level.run(Factors { tensor: self.tensor, decoded: wanted, factors });
            }
        }
    }
}

/// The scales of a few blocks, in a byte each.
pub(super) trait GroupRule: Copy {
    /// As [`Rule::scales`].
    fn scales(&self, most: &[u32; ROWS], factors: &mut [f32; ROWS], codes: &mut [u8; ROWS]);
}

impl GroupRule for ExponentPlan {
    #[inline(always)]
    fn scales(&self, most: &[u32; ROWS], factors: &mut [f32; ROWS], codes: &mut [u8; ROWS]) {
        for ((&most, factor), code) in most.iter().zip(factors).zip(codes) {
            (*factor, *code) = self.factor_and_code(most);
        }
    }
}

/// NVFP4's steps.
#[derive(Clone, Copy)]
struct SmallScales<'a> {
    max: f32,
    tensor: f32,
    encode: EncodePlan<f32>,
    of_codes: &'a [f32; CODES],
}

impl GroupRule for SmallScales<'_> {
    #[inline(always)]
    fn scales(&self, most: &[u32; ROWS], factors: &mut [f32; ROWS], codes: &mut [u8; ROWS]) {
        const DIRECTION: u8 = direction::TIES_TO_EVEN;
        for (&most, code) in most.iter().zip(&mut *codes) {
            let wanted = wanted::<f32>(most, self.tensor, self.max);
            *code = encode_one::<f32, { shape::SIGNED_ZERO }, DIRECTION>(&self.encode, wanted, 0) as u8;
        }
        for (factor, &code) in factors.iter_mut().zip(&*codes) {
            *factor = self.of_codes[usize::from(code)];
        }
    }
}

/// The scale that a block with this largest magnitude would have in float32; NaN where there is NaN or infinity.
#[inline(always)]
fn wanted<F: Float>(most: F::Bits, tensor: f32, max: f32) -> f32 {
    let scale = F::from_bits_of(most).to_f64() as f32 * tensor / max;
    if most < F::INFINITY { scale } else { f32::NAN }
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

/// The scales that blocks would have in float32.
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
        for (to, &most) in self.wanted.iter_mut().zip(self.most) {
            *to = wanted::<F>(most, self.tensor, self.max);
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
    of_codes: &'a [f32; CODES],
    factors: &'a mut [F],
}

impl<F: Float> Kernel for LookUp<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let factor = |code| F::from_f64(f64::from(self.of_codes[usize::from(code)]));
        // Eight at a time, as the compiler does not do by itself.
        let (eights, rest) = self.codes.as_chunks::<8>();
        let (factors, rest_factors) = self.factors.as_chunks_mut::<8>();
        for (factors, codes) in factors.iter_mut().zip(eights) {
            for (to, &code) in factors.iter_mut().zip(codes) {
                *to = factor(code);
            }
        }
        for (to, &code) in rest_factors.iter_mut().zip(rest) {
            *to = factor(code);
        }
    }
}
