//! Training of the learned codec.
//!
//! Sources: van den Oord et al. 2017 and Esser et al. 2021 for the losses of the book and the critic; what is instead of their
//! perceptual loss, and why, is in [`Comparison`]'s file. [`CodecTask`] is what the loop of `jielong_nn::train` runs.

mod augment;
mod config;
mod critic;
mod loss;
mod score;
mod task;
mod upkeep;

pub use augment::{Changes, whole};
pub use config::{DataConfig, Kind, TrainingConfig, TrainingConfigError};
pub use critic::{Critic, CriticConfig};
pub use loss::{Comparison, Parts, Weights};
pub use score::{Score, ScoreError, compare, grid, score};
pub use task::{CodecTask, CodecTaskError, Files};
pub use upkeep::{Replacement, UpkeepConfig, Usage};
