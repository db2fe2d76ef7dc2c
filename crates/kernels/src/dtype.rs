//! Types that weights are stored in, under GGML's names.

use std::fmt;
use std::str::FromStr;

/// How the values of a weight are stored: one by one, or in blocks that share scales.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// 32 values of 8 bits, one scale.
    Q8_0,
    /// 32 values of 4 bits, one scale.
    Q4_0,
    /// 32 values of 4 bits, scale and minimum.
    Q4_1,
    /// 32 values of 5 bits, one scale.
    Q5_0,
    /// 32 values of 5 bits, scale and minimum.
    Q5_1,
    /// 256 values of 4 bits; 8 scales and minima of 6 bits.
    Q4_K,
    /// 256 values of 5 bits; 8 scales and minima of 6 bits.
    Q5_K,
    /// 256 values of 6 bits; 16 scales of 8 bits.
    Q6_K,
}

impl Dtype {
    /// All of them, in the order of the numbers that they are.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// Values in a block; 1 for the plain types.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Bytes of `len` values; `None` if they are not whole blocks or too many to count.
    pub fn bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// This type, or what llama.cpp puts in its place where a row of `width` values is not whole blocks of it.
    pub const fn fitting(self, width: usize) -> Self {
        match self {
            _ if width.is_multiple_of(self.block_len()) => self,
            Self::Q4_K => Self::Q5_0.fitting(width),
            Self::Q5_K => Self::Q5_1.fitting(width),
            Self::Q6_K => Self::Q8_0.fitting(width),
            _ => Self::F16,
        }
    }

    /// GGML's name, such as `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
        }
    }
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    /// GGML's name in either case.
    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        Self::ALL
            .into_iter()
            .find(|d| d.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownDtype { name: name.into() })
    }
}

/// Not the name of a type of weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no type of weights is called `{name}`; use {}", Dtype::ALL.map(|d| d.name().to_ascii_lowercase()).join(", "))]
pub struct UnknownDtype {
    name: String,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}
