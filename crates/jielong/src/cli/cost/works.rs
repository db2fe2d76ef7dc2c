//! What is generated: a picture or a sound, by its smallest parts or by codes, and how many tokens that is.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use jielong_audio::codec::FrameConfig;
use jielong_audio::mulaw::MuLaw;
use jielong_audio::sound::RATES;
use jielong_core::Codec;
use jielong_image::pixel::Learning;
use jielong_image::vq::VqConfig;
use serde::Serialize;

/// Longest side of a picture.
const WIDEST: usize = 1 << 16;
/// Longest sound in seconds.
const LONGEST: f64 = 1e5;
/// Longest frame in milliseconds.
const LONGEST_HOP: f64 = 1e4;

/// Width and height in pixels, `1024x1024`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(usize, usize);

/// Seconds and samples a second, `60s@22050`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length(f64, u32);

/// Milliseconds of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hop(f64);

/// What a token of codes stands for.
#[derive(Clone, Copy, Debug)]
pub struct Units {
    /// Pixels of a patch in each direction.
    pub patch: usize,
    /// Length of a frame.
    pub hop: Hop,
    /// Codes of a frame.
    pub books: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    Image,
    Audio,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Pixel,
    Sample,
    Code,
}

/// One thing to generate, in one kind of tokens.
#[derive(Clone, Debug)]
pub struct Work {
    pub medium: Medium,
    /// Its size, as the user says it.
    pub size: String,
    pub unit: Unit,
    /// Tokens, and so steps.
    pub steps: usize,
    /// Tokens that are legal at each place.
    pub legal: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self(1024, 1024)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=WIDEST).contains(side));
        let sides = text.split_once(['x', '×']).and_then(|(width, height)| Some(Self(side(width)?, side(height)?)));
        sides.ok_or_else(|| format!("expected WIDTHxHEIGHT in pixels, each from 1 to {WIDEST}, such as 1024x1024"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}x{}", self.0, self.1)
    }
}

impl Default for Length {
    fn default() -> Self {
        Self(60.0, 22_050)
    }
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = |text: &str| text.trim().strip_suffix('s')?.parse().ok().filter(|s| *s > 0.0 && *s <= LONGEST);
        let rate = |text: &str| text.trim().parse().ok().filter(|rate| RATES.contains(rate));
        let found = text.split_once('@').and_then(|(length, at)| Some(Self(seconds(length)?, rate(at)?)));
        found.ok_or_else(|| {
            let (low, high) = (RATES.start(), RATES.end());
            format!(
                "expected SECONDSs@RATE, up to {LONGEST} seconds of {low} to {high} samples a second, such as 60s@22050"
            )
        })
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}s@{}", self.0, self.1)
    }
}

impl FromStr for Hop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hop = text.parse().ok().filter(|hop| *hop > 0.0 && *hop <= LONGEST_HOP).map(Self);
        hop.ok_or_else(|| format!("expected milliseconds above 0 and up to {LONGEST_HOP}, such as 20"))
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Size {
    /// One token a pixel of a palette, and one a patch; a patch that is not whole is one too.
    pub fn works(self, units: &Units) -> Result<[Work; 2]> {
        let Self(width, height) = self;
        let codec = VqConfig::from_toml(include_str!("../../../../../configs/codec/emoji.toml"))?;
        let codes = width.div_ceil(units.patch) * height.div_ceil(units.patch);
        let work = |unit, steps, legal| Work { medium: Medium::Image, size: self.to_string(), unit, steps, legal };
        let palette = Learning::default().colours;
        Ok([work(Unit::Pixel, width * height, palette), work(Unit::Code, codes, codec.quantizer.codes())])
    }
}

impl Length {
    /// One token a sample of µ-law, and one a code of a frame; a frame that is not whole is one too.
    pub fn works(self, units: &Units) -> Result<[Work; 2]> {
        let Self(seconds, rate) = self;
        let codec = match units.books {
            1 => include_str!("../../../../../configs/codec/speech.toml"),
            _ => include_str!("../../../../../configs/codec/speech-4.toml"),
        };
        let samples = ((seconds * f64::from(rate)).round() as usize).max(1);
        let frames = (seconds * 1000.0 / units.hop.0 - 1e-9).ceil() as usize; // what rounding adds is no frame
        let work = |unit, steps, legal| Work { medium: Medium::Audio, size: self.to_string(), unit, steps, legal };
        let levels = MuLaw::default().books().iter().sum::<u32>() as usize;
        let legal = FrameConfig::from_toml(codec)?.quantizer.codes();
        Ok([work(Unit::Sample, samples, levels), work(Unit::Code, frames.max(1) * units.books, legal)])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn steps(works: Result<[Work; 2]>) -> [usize; 2] {
        works.unwrap().map(|work| work.steps)
    }

    #[test]
    fn tokens_are_counted() {
        let units = |patch, hop, books| Units { patch, hop: Hop(hop), books };
        let classic = units(16, 20.0, 1);
        assert_eq!(steps(Size::default().works(&classic)), [1_048_576, 4096]);
        assert_eq!(steps(Length::default().works(&classic)), [1_323_000, 3000]);
        assert_eq!(steps("17x16".parse::<Size>().unwrap().works(&classic)), [272, 2]);
        assert_eq!(steps("0.06s@16000".parse::<Length>().unwrap().works(&units(8, 20.0, 4))), [960, 12]);
        assert_eq!(steps("0.061s@16000".parse::<Length>().unwrap().works(&units(8, 20.0, 1))), [976, 4]);
        assert_eq!(steps("1s@24000".parse::<Length>().unwrap().works(&units(8, 12.5, 8))), [24_000, 640]);
    }

    #[test]
    fn sizes_and_lengths_that_are_none() {
        for bad in ["", "1024", "0x5", "5x", "ax5", "5x-1", "70000x5", "5x5x5", "1e3x5"] {
            assert!(bad.parse::<Size>().unwrap_err().contains("1024x1024"), "{bad}");
        }
        for bad in ["", "60", "60s", "60@22050", "0s@22050", "-1s@22050", "NaNs@22050", "infs@22050", "60s@5", "60s@x"]
        {
            assert!(bad.parse::<Length>().unwrap_err().contains("60s@22050"), "{bad}");
        }
        for bad in ["", "0", "-20", "NaN", "inf", "20ms"] {
            assert!(bad.parse::<Hop>().unwrap_err().contains("milliseconds"), "{bad}");
        }
        for good in ["1024x1024", "7x9"] {
            assert_eq!(good.parse::<Size>().unwrap().to_string(), good);
        }
        for good in ["60s@22050", "0.5s@8000"] {
            assert_eq!(good.parse::<Length>().unwrap().to_string(), good);
        }
    }
}
