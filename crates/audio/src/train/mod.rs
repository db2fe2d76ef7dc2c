//! Training of the learned codec: [`CodecTask`] is what the loop of `jielong_nn::train` runs.

mod augment;
mod config;
mod critic;
mod loss;
mod score;
mod task;

pub use augment::Changes;
pub use config::{DataConfig, Kind, TrainingConfig, TrainingConfigError};
pub use critic::{Critic, CriticConfig};
pub use loss::{Comparison, Parts, Weights};
pub use score::{Measures, Score, score};
pub use task::{CodecTask, CodecTaskError, Files};
