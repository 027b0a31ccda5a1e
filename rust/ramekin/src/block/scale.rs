//! Scales, and how those that are powers of two are rounded.

use super::floats::Convert;
use super::scheme::Scale;
use crate::convert::decode;
use crate::float::Float;
use crate::format::FloatFormat;
use crate::isa::Level;

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
}
