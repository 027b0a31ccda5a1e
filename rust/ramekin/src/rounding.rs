//! The rounding directions, and what each adds below the last kept bit.

use std::fmt;
use std::str::FromStr;

/// A rounding direction of IEEE 754-2019 (section 4.3), or round-to-odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To nearest; a tie goes to the neighbour whose last significand bit is zero.
    #[default]
    TiesToEven,
    /// To nearest; a tie goes to the neighbour of larger magnitude.
    TiesToAway,
    /// Truncation.
    TowardZero,
    /// To the neighbour not below.
    TowardPositive,
    /// To the neighbour not above.
    TowardNegative,
    /// An inexact result takes the neighbour whose last significand bit is one, so that a second rounding
    /// to a shorter format is as good as one (Boldo and Melquiond, 2008).
    ToOdd,
    /// Away from zero with a probability equal to the fractional distance from the neighbour toward zero: the
    /// top 32 bits of that distance, plus a 32-bit uniform word, carry. See [`crate::random`].
    Stochastic,
}

impl Rounding {
    /// The directions whose result depends on the number alone.
    pub const DETERMINISTIC: [Self; 6] = [
        Self::TiesToEven,
        Self::TiesToAway,
        Self::TowardZero,
        Self::TowardPositive,
        Self::TowardNegative,
        Self::ToOdd,
    ];

    /// Every direction.
    pub const ALL: [Self; 7] = [
        Self::TiesToEven,
        Self::TiesToAway,
        Self::TowardZero,
        Self::TowardPositive,
        Self::TowardNegative,
        Self::ToOdd,
        Self::Stochastic,
    ];

    /// The public name, the same in Python.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TiesToEven => "ties-to-even",
            Self::TiesToAway => "ties-to-away",
            Self::TowardZero => "toward-zero",
            Self::TowardPositive => "toward-positive",
            Self::TowardNegative => "toward-negative",
            Self::ToOdd => "to-odd",
            Self::Stochastic => "stochastic",
        }
    }
}

/// The directions as constants, for kernels of each: their steps differ.
pub(crate) mod direction {
    pub const TIES_TO_EVEN: u8 = 0;
    pub const TIES_TO_AWAY: u8 = 1;
    pub const TOWARD_ZERO: u8 = 2;
    pub const TOWARD_POSITIVE: u8 = 3;
    pub const TOWARD_NEGATIVE: u8 = 4;
    pub const TO_ODD: u8 = 5;
    pub const STOCHASTIC: u8 = 6;
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no rounding direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRounding(String);

impl fmt::Display for UnknownRounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Rounding::ALL.iter().map(|r| r.name()).collect();
        write!(f, "unknown rounding {:?}; accepted: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownRounding {}

impl FromStr for Rounding {
    type Err = UnknownRounding;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| UnknownRounding(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for rounding in Rounding::ALL {
            assert_eq!(rounding.to_string().parse(), Ok(rounding));
        }
        let message = "nearest".parse::<Rounding>().unwrap_err().to_string();
        assert!(message.contains("nearest") && message.contains("ties-to-even"), "{message}");
    }
}
