//! Training: one loop for every model.
//!
//! A [`Task`] owns what learns, a [`Learner`] for each of its modules, and knows what a step is; [`run`] owns order, time and
//! files. A run is a folder:
//!
//! ```text
//! lock                     held while a process trains here
//! loss.csv, scores.csv     what was measured, by step
//! checkpoints/step-N/      the last two: files of the task, manifest.json, manifest.sha256
//! ```
//!
//! A run that was interrupted, by Ctrl-C or by a power cut, goes on from its last checkpoint and comes to the same bits on
//! the CPU: all chance is a function of the seed and the position, see [`Random`], so these two numbers are its whole state.

mod adamw;
mod average;
mod changes;
mod checkpoint;
mod files;
mod gradients;
mod learner;
mod losses;
mod order;
mod plan;
mod random;
mod run;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use adamw::{AdamW, AdamWConfig};
pub use average::Average;
pub use changes::ChangesError;
pub use checkpoint::{CheckpointError, Manifest, latest};
pub use files::write_file;
pub use gradients::{Gradients, scalar};
pub use learner::Learner;
pub use losses::Losses;
pub use order::{Item, spread};
pub use plan::{Plan, PlanError};
pub use random::Random;
pub use run::run;
pub use table::read as read_table;

/// Why a task failed.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Named numbers: losses, scores. They become columns of a table: the names, which have no commas, and their order are the same in
/// every step.
pub type Numbers = Vec<(String, f64)>;

/// What is trained.
pub trait Task {
    /// How many items there are to learn from.
    fn items(&self) -> usize;

    /// Adds the gradients of a batch, times [`Step::share`]; gives its losses.
    ///
    /// # Errors
    /// What the task says; the run ends.
    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError>;

    /// Steps against the gradients, and forgets them.
    ///
    /// # Errors
    /// What the task says; the run ends.
    fn update(&mut self, step: &Step) -> Result<(), TaskError>;

    /// Scores on held-out data. What is to be looked at goes into the folder of the run.
    ///
    /// # Errors
    /// What the task says; the run ends.
    fn evaluate(&mut self, step: &Step, out: &Path) -> Result<Numbers, TaskError>;

    /// Writes everything that changes into files of this folder.
    ///
    /// # Errors
    /// What the task says; the checkpoint is not made, and the run ends.
    fn save(&self, folder: &Path) -> Result<(), TaskError>;

    /// Reads back what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// What the task says; the run does not begin.
    fn load(&mut self, folder: &Path) -> Result<(), TaskError>;
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Counted from 1.
    pub number: u64,
    /// Steps of the whole run.
    pub of: u64,
    /// The learning rate.
    pub rate: f64,
    /// Weight of a batch's gradients: one over the batches of a step.
    pub share: f64,
    /// The seed of the run.
    pub seed: u64,
}

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A checkpoint that cannot be used is passed over.
    Damaged(CheckpointError),
    /// The run goes on after this step.
    Resumed(u64),
    /// A step was made.
    Stepped {
        /// Which.
        step: Step,
        /// Its losses.
        losses: &'a Numbers,
        /// What the rest will take.
        left: Duration,
    },
    /// Held-out data was scored.
    Evaluated {
        /// After which step.
        step: Step,
        /// The scores.
        scores: &'a Numbers,
    },
    /// A checkpoint was made.
    Saved {
        /// After which step.
        step: u64,
        /// Its folder.
        folder: &'a Path,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are made.
    Finished,
    /// It was told to stop; the same call goes on after this step.
    Interrupted(u64),
}

/// Why a run cannot begin or go on. The last checkpoint is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Numbers that make no run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is nothing to learn from.
    #[error("there are no items to learn from")]
    NoItems,
    /// Another process trains in this folder.
    #[error("{0}: another process trains in this folder; end it, or choose another folder")]
    Locked(PathBuf),
    /// The folder is of another run.
    #[error("{folder} holds a run of another config: it has `{found}`, now `{asked}`; choose another folder")]
    OtherRun {
        /// The folder.
        folder: PathBuf,
        /// The first line that differs, as it was.
        found: String,
        /// The same line as it is now.
        asked: String,
    },
    /// A checkpoint can neither be read nor written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No checkpoint is whole.
    #[error("no checkpoint can be used; move them away to begin anew:{}", .0.iter().map(|e| format!("\n  {e}")).collect::<String>())]
    AllDamaged(Vec<CheckpointError>),
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The losses are no numbers any more.
    #[error("step {step}: {name} is {value}; a lower rate may help, or a smaller `clip`")]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        name: String,
        /// Its value.
        value: f64,
    },
    /// The task failed.
    #[error("step {step}: {source}")]
    Task {
        /// The step.
        step: u64,
        /// What it said.
        source: TaskError,
    },
}
