//! How a mixed model is trained, as data: `configs/train/*.toml` with `kind = "transformer"`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jielong_llama::train::ModelConfig;
use jielong_nn::factors::FactorsConfig;
use jielong_nn::train::{AdamWConfig, Plan};
use serde::{Deserialize, Serialize};

use super::config::side;
use super::{MixedConfig, TaskConfig};
use crate::toml_file;

/// A run of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// What is trained.
    pub kind: Kind,
    /// The config of the vocabulary; a path that is not absolute begins at the folder of this config.
    pub vocab: PathBuf,
    /// The folder of the run; a path that is not absolute begins at the working directory.
    pub out: PathBuf,
    /// `auto`, `cpu`, `cuda` or `cuda:N`; several, with commas between, share out the batches.
    #[serde(default = "auto")]
    pub device: String,
    /// In which type products with weights are computed: `f32`, or `bf16`, faster where the processor or the card has it.
    #[serde(default)]
    pub factors: FactorsConfig,
    /// Pixels of the side of pictures, which are square.
    #[serde(default = "side")]
    pub side: usize,
    /// Seconds from the middle of a recording of a data set that are learned; all of it where this is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Tokens of a row, at most; examples are packed into it.
    pub length: usize,
    /// How much of the mean weights stays in a step; 0: no mean, the last weights are the result.
    #[serde(default)]
    pub average: f64,
    /// The most held-out examples of a task that an evaluation scores; they are spread over all.
    #[serde(default = "scored")]
    pub scored: usize,
    /// The transformer.
    pub model: ModelConfig,
    /// How long, how fast, how often. An item is a row.
    pub plan: Plan,
    /// AdamW.
    #[serde(default)]
    pub optimiser: AdamWConfig,
    /// Preference tuning: of the answers of each example the one that was liked becomes likelier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceConfig>,
    /// What is learned.
    #[serde(rename = "task")]
    pub tasks: Vec<TaskConfig>,
}

/// Direct preference optimisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferenceConfig {
    /// How much it costs to leave the model as it is.
    pub beta: f64,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A transformer of the Llama architecture.
    Transformer,
}

fn auto() -> String {
    "auto".into()
}

fn scored() -> usize {
    256
}

impl TrainingConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// The file and what is wrong in it, by field.
    pub fn open(path: &Path) -> Result<Self> {
        let mut config: Self = toml_file::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.vocab = folder.join(&config.vocab);
        if let ModelConfig::Base(base) = &mut config.model {
            *base = folder.join(&base);
        }
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let Some(PreferenceConfig { beta }) = self.preference else { return Ok(()) };
        ensure!(beta > 0.0, "preference.beta = {beta}: a number above 0 is expected");
        for (at, task) in self.tasks.iter().enumerate() {
            let named = || format!("task[{at}] `{}`", task.name);
            ensure!(task.rejected.is_some(), "{}: preference tuning needs a `rejected` answer", named());
            ensure!(task.drop == 0.0, "{}: `drop` has no use in preference tuning", named());
            ensure!(task.weight == 1.0, "{}: `weight` has no use in preference tuning: all pairs are learned", named());
        }
        Ok(())
    }

    /// What the model will be.
    ///
    /// # Errors
    /// The config of the vocabulary cannot be read.
    pub fn mixed(&self) -> Result<MixedConfig> {
        let Self { side, seconds, ref vocab, ref tasks, .. } = *self;
        Ok(MixedConfig { side, seconds, vocab: toml_file::read(vocab)?, tasks: tasks.clone() })
    }
}
