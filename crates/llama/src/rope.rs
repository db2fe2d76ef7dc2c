//! Rotary position embedding (Su et al. 2021, *RoFormer*) and its published extensions.
//!
//! A head's first `dim` values are rotated in pairs `(i, i + dim/2)`, the half-split order of Hugging Face checkpoints,
//! by the angle `position · frequency[i]`. An extension only changes the frequencies and, for YaRN and LongRoPE, scales
//! the result by an attention factor, so [`RopeConfig`] is reduced to [`Rope`] once, at load.

use burn::tensor::{Device, Int, Tensor};
use jielong_nn::cpu::Values;
use jielong_nn::layers;
use serde::Serialize;

use crate::config::{ConfigError, unsupported};

/// How positions become angles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RopeConfig {
    /// Base of the geometric series of frequencies, `rope_theta`.
    pub theta: f64,
    /// Values of a head that are rotated, from the first; even.
    pub dim: usize,
    /// Change of the frequencies for longer contexts.
    pub scaling: RopeScaling,
}

/// The published extensions of RoPE. Field names are those of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeScaling {
    /// None. Dynamic NTK scaling is this one too, as long as the context is that of training.
    Default,
    /// Positions divided by a factor (Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a smooth passage between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context of the first training.
        original: usize,
    },
    /// YaRN (Peng et al. 2023, §3).
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Rotations over the original context above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which it is divided.
        beta_slow: f64,
        /// Context of the first training.
        original: usize,
        /// Factor on the rotated values.
        attention_factor: f64,
        /// The bounds of the passage are rounded to whole dimensions.
        truncate: bool,
    },
    /// LongRoPE (Ding et al. 2024): a divisor for each frequency, one list for short and one for long contexts.
    Long {
        /// Divisors up to the original context.
        short: Vec<f64>,
        /// Divisors beyond it.
        long: Vec<f64>,
        /// Context of the first training.
        original: usize,
        /// Factor on the rotated values.
        attention_factor: f64,
    },
    /// A divisor for each frequency, as GGUF stores Llama 3's (`rope_freqs.weight`).
    Divisors(Vec<f32>),
}

impl RopeConfig {
    /// Refuses what has no angle.
    pub(crate) fn check(&self, head_dim: usize) -> Result<(), ConfigError> {
        if !self.theta.is_finite() || self.theta <= 0.0 {
            return Err(unsupported("rope_theta", self.theta, "; it must be a number above 0"));
        }
        if self.dim == 0 || self.dim > head_dim || !self.dim.is_multiple_of(2) {
            return Err(ConfigError::Contradiction(format!(
                "{} rotated values do not fit a head of {head_dim}; the number must be even",
                self.dim
            )));
        }
        let positive = |key: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(unsupported(key, value, "; it must be a number above 0"))
            }
        };
        let half = |key: &str, have: usize| {
            if have == self.dim / 2 {
                Ok(())
            } else {
                Err(ConfigError::Contradiction(format!("`{key}` has {have} values, expected {}", self.dim / 2)))
            }
        };
        match &self.scaling {
            RopeScaling::Default => Ok(()),
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                positive("rope_scaling.factor", *factor)?;
                positive("rope_scaling.low_freq_factor", *low_freq_factor)?;
                positive("rope_scaling.high_freq_factor", *high_freq_factor)?;
                positive("rope_scaling.original_max_position_embeddings", *original as f64)?;
                if low_freq_factor == high_freq_factor {
                    return Err(ConfigError::Contradiction(format!(
                        "`rope_scaling.low_freq_factor` and `high_freq_factor` are both {low_freq_factor}"
                    )));
                }
                Ok(())
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, attention_factor, .. } => {
                positive("rope_scaling.factor", *factor)?;
                positive("rope_scaling.beta_fast", *beta_fast)?;
                positive("rope_scaling.beta_slow", *beta_slow)?;
                positive("rope_scaling.original_max_position_embeddings", *original as f64)?;
                positive("rope_scaling.attention_factor", *attention_factor)
            }
            RopeScaling::Long { short, long, original, attention_factor } => {
                half("rope_scaling.short_factor", short.len())?;
                half("rope_scaling.long_factor", long.len())?;
                for &divisor in short.iter().chain(long) {
                    positive("rope_scaling factors", divisor)?;
                }
                positive("rope_scaling.original_max_position_embeddings", *original as f64)?;
                positive("rope_scaling.attention_factor", *attention_factor)
            }
            RopeScaling::Divisors(divisors) => {
                half("rope_freqs.weight", divisors.len())?;
                divisors.iter().try_for_each(|&d| positive("rope_freqs.weight", f64::from(d)))
            }
        }
    }

    /// Angle per position of each rotated pair, `dim / 2` values, for a context of `context` positions.
    pub fn frequencies(&self, context: usize) -> Vec<f32> {
        let base = (0..self.dim / 2).map(|i| self.theta.powf(-2.0 * i as f64 / self.dim as f64));
        let scaled: Vec<f64> = match &self.scaling {
            RopeScaling::Default => base.collect(),
            RopeScaling::Linear { factor } => base.map(|f| f / factor).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => base
                .map(|f| {
                    let turns = *original as f64 * f / std::f64::consts::TAU; // over the original context
                    let keep = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    f * (keep + (1.0 - keep) / factor)
                })
                .collect(),
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, truncate, .. } => {
                let (low, high) = self.yarn_passage(*beta_fast, *beta_slow, *original, *truncate);
                base.enumerate()
                    .map(|(i, f)| {
                        let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        f * (1.0 - divided + divided / factor)
                    })
                    .collect()
            }
            RopeScaling::Long { short, long, original, .. } => {
                let divisors = if context > *original { long } else { short };
                base.zip(divisors).map(|(f, d)| f / d).collect()
            }
            RopeScaling::Divisors(divisors) => base.zip(divisors).map(|(f, d)| f / f64::from(*d)).collect(),
        };
        scaled.into_iter().map(|f| f as f32).collect()
    }

    /// What each frequency is divided by.
    pub(crate) fn divisors(&self) -> Vec<f32> {
        let plain = Self { scaling: RopeScaling::Default, ..self.clone() };
        let divide = |(plain, scaled): (f32, f32)| plain / scaled;
        plain.frequencies(0).into_iter().zip(self.frequencies(0)).map(divide).collect()
    }

    /// First and last pair of YaRN's passage from kept to divided frequencies.
    fn yarn_passage(&self, beta_fast: f64, beta_slow: f64, original: usize, truncate: bool) -> (f64, f64) {
        let pair = |turns: f64| {
            self.dim as f64 * (original as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln())
        };
        let (low, high) = (pair(beta_fast), pair(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(self.dim as f64 - 1.0));
        (low, if low == high { high + 0.001 } else { high })
    }

    /// Factor on the rotated values.
    pub(crate) fn attention_factor(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::Long { attention_factor, .. } => {
                *attention_factor
            }
            _ => 1.0,
        }
    }
}

/// Frequencies, ready to make the angles of any positions; nothing is learned of them.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    frequencies: Tensor<2>, // [1, dim/2], f32
    factor: f64,
}

/// Cosines and sines of one run of positions, shared by all layers of a step.
#[derive(Clone, Debug)]
pub(crate) struct Angles {
    cos: Tensor<4>, // [1, t, 1, dim/2]
    sin: Tensor<4>,
}

impl Rope {
    pub(crate) fn new(config: &RopeConfig, context: usize, device: &Device) -> Self {
        let frequencies = Tensor::<1>::from_floats(config.frequencies(context).as_slice(), &device.clone().inner());
        Self { frequencies: frequencies.unsqueeze(), factor: config.attention_factor() }
    }

    /// Angles of the positions `start .. start + count`, on a device.
    pub(crate) fn angles(&self, start: usize, count: usize, device: &Device) -> Angles {
        let range = start as i64..(start + count) as i64;
        let frequencies = self.frequencies.clone().to_device(device); // a copy of the model learns there
        let positions = Tensor::<1, Int>::arange(range, device).float().unsqueeze_dim::<2>(1);
        let angles = (positions * frequencies).unsqueeze_dims::<4>(&[0, 2]); // [1, t, 1, dim/2]
        Angles { cos: angles.clone().cos() * self.factor, sin: angles.sin() * self.factor }
    }
}

impl Angles {
    /// Cosines and sines, `[t, dim/2]`, where they are on the CPU.
    pub(crate) fn values(&self) -> (Values, Values) {
        (Values::of(self.cos.clone()), Values::of(self.sin.clone()))
    }

    /// Rotates queries or keys `[b, t, heads, head_dim]`; values beyond the rotated ones pass unchanged.
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        layers::rotate(x, &self.cos, &self.sin)
    }
}
