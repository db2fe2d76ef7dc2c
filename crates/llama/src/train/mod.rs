//! Training of the transformer: by the likelihood of tokens, over whole texts or over answers alone.
//!
//! [`Rows`] give packed rows of tokens and how much each token counts; [`LlamaTask`] is what the loop of `jielong_nn::train`
//! runs. Pre-training and supervised fine-tuning differ in the weights of the rows alone.

mod config;
mod forward;
mod row;
mod task;

use std::ops::Range;

use jielong_nn::train::TaskError;

pub use config::{ModelConfig, NewModel};
pub use row::{Batch, Row, RowError};
pub use task::{LlamaTask, Settings};

/// What a model learns from.
pub trait Rows {
    /// How many items there are to learn from.
    fn items(&self) -> usize;

    /// A row of at most `length` tokens that begins with this item; all chance is a function of `seed`.
    ///
    /// # Errors
    /// What the data says; the run ends.
    fn row(&self, seed: u64, index: usize, length: usize) -> Result<Row, TaskError>;

    /// Rows that nothing is learned from, to score.
    fn held_out(&self, length: usize) -> Vec<Row>;

    /// Names of spans of ids: the loss is told for each of them.
    fn kinds(&self) -> &[(String, Range<u32>)];
}
