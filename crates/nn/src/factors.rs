//! In which type training multiplies.

use std::sync::atomic::{AtomicBool, Ordering};

pub use jielong_kernels::Factors;
use serde::{Deserialize, Serialize};

/// Whether training multiplies bf16 instead of f32, in the whole process.
static BF16: AtomicBool = AtomicBool::new(false);

/// In which type convolutions and linear layers whose gradients are wanted multiply, in the whole process, as
/// `torch.set_float32_matmul_precision` sets it there. Sums stay f32, and so does everything outside training.
pub fn set_training_factors(factors: Factors) {
    BF16.store(factors == Factors::Bf16, Ordering::Relaxed);
}

pub(crate) fn training_factors() -> Factors {
    if BF16.load(Ordering::Relaxed) { Factors::Bf16 } else { Factors::F32 }
}

/// [`Factors`] as `configs/train/*.toml` say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactorsConfig {
    /// As values are.
    #[default]
    F32,
    /// Rounded; sums are f32.
    Bf16,
}

impl From<FactorsConfig> for Factors {
    fn from(config: FactorsConfig) -> Self {
        match config {
            FactorsConfig::F32 => Self::F32,
            FactorsConfig::Bf16 => Self::Bf16,
        }
    }
}
