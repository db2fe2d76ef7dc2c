//! Training of the transformer: by the likelihood of tokens, over whole texts or over answers alone.
//!
//! [`Rows`] give packed rows of tokens and how much each token counts; [`LlamaTask`] is what the loop of `jielong_nn::train`
//! runs. Pre-training and supervised fine-tuning differ in the weights of the rows alone. [`PreferenceTask`] learns from two
//! answers which of them is liked.

mod config;
mod forward;
mod preference;
mod row;
mod task;

use std::ops::Range;

use jielong_nn::train::{Task, TaskError};

use crate::model::Llama;

pub use config::{ModelConfig, NewModel};
pub use preference::{Pair, PreferenceTask};
pub use row::{Batch, Row, RowError};
pub use task::{LlamaTask, Settings};

/// What a model learns from.
pub trait Rows {
    /// How many items there are to learn from.
    fn items(&self) -> usize;

    /// Row `index` of a run, of at most `length` tokens; all chance is a function of `seed` and `index`.
    ///
    /// # Errors
    /// What the data says; the run ends.
    fn row(&self, seed: u64, index: usize, length: usize) -> Result<Row, TaskError>;

    /// Rows that nothing is learned from, to score.
    fn held_out(&self, length: usize) -> Vec<Row>;

    /// Names of spans of ids: the loss is told for each of them.
    fn kinds(&self) -> &[(String, Range<u32>)];
}

/// A task that ends in a model.
pub trait Trained: Task {
    /// The result so far: the mean of the weights, if there is one.
    fn result(&self) -> Llama;

    /// Numbers of the model.
    fn parameters(&self) -> usize;
}
