//! From one machine float to another.

use crate::float::Float;
use crate::isa::Kernel;
use crate::simd::Simd;

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
