//! Where tensors live, picked at run time: the CPU, or a CUDA card in a build with the feature `cuda`.
//!
//! A card is only ever opened after it was listed: listing is safe without a driver, opening is not.

use std::fmt;
use std::str::FromStr;

pub use burn::tensor::{Device, FloatDType};

/// What the user asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA card if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA card of this index.
    Cuda(usize),
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// Not one of the names.
    #[error("no device is called `{0}`; use auto, cpu, cuda or cuda:N")]
    Name(String),
    /// The program has no CUDA backend.
    #[error("this build has no CUDA backend; build with `--features cuda`, or use --device cpu")]
    NotBuilt,
    /// No card of that index.
    #[error("CUDA card {asked} was asked for, {found} found; see `jielong doctor`, or use --device cpu")]
    NoCard {
        /// The index asked for.
        asked: usize,
        /// Number of cards found.
        found: usize,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name.split_once(':') {
            None if name == "auto" => Ok(Self::Auto),
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| DeviceError::Name(name.into())),
            _ => Err(DeviceError::Name(name.into())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceChoice {
    /// Several of them, with commas between: `cuda:0,cuda:1`.
    ///
    /// # Errors
    /// [`DeviceError::Name`].
    pub fn several(names: &str) -> Result<Vec<Self>, DeviceError> {
        names.split(',').map(|name| name.trim().parse()).collect()
    }

    /// The device, and what was picked where the choice was left open.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`] or [`DeviceError::NoCard`] if a CUDA card was asked for and cannot be had.
    pub fn open(self) -> Result<(Device, DeviceChoice), DeviceError> {
        match self {
            Self::Cpu => Ok((Device::flex(), Self::Cpu)),
            Self::Auto => {
                Ok(cuda_cards().into_iter().next().map_or((Device::flex(), Self::Cpu), |d| (d, Self::Cuda(0))))
            }
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(DeviceError::NotBuilt),
            Self::Cuda(asked) => {
                let mut cards = cuda_cards();
                if asked >= cards.len() {
                    return Err(DeviceError::NoCard { asked, found: cards.len() });
                }
                Ok((cards.swap_remove(asked), self))
            }
        }
    }
}

/// The CUDA cards of this machine; none in a build without the feature, none without a driver.
pub fn cuda_cards() -> Vec<Device> {
    #[cfg(feature = "cuda")]
    {
        Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()
    }
    #[cfg(not(feature = "cuda"))]
    {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_printed() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(7)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(DeviceChoice::several("cuda:0, cuda:2"), Ok(vec![DeviceChoice::Cuda(0), DeviceChoice::Cuda(2)]));
        assert_eq!(DeviceChoice::several("cpu,"), Err(DeviceError::Name(String::new())));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cpu:0", "CUDA"] {
            assert_eq!(bad.parse::<DeviceChoice>(), Err(DeviceError::Name(bad.into())));
        }
    }

    #[test]
    fn a_card_that_is_not_there_is_refused_and_auto_falls_back() {
        let many = cuda_cards().len();
        assert!(DeviceChoice::Cuda(many).open().is_err());
        assert_eq!(DeviceChoice::Cpu.open().unwrap().1, DeviceChoice::Cpu);
        assert_eq!(DeviceChoice::Auto.open().unwrap().1 == DeviceChoice::Cpu, many == 0);
    }
}
