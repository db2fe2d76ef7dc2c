//! Speculative decoding: who guesses, and how much.

use anyhow::{Result, ensure};
use clap::Args;
use jielong::pipeline::{Guesses, Pipeline, Settings};
use jielong_core::{Draft, Lookup, Model};

use super::{Global, model_args};

/// Guessing ahead: the same answer in fewer passes.
#[derive(Args, Clone, Debug, Default)]
pub struct SpeculationArgs {
    /// A smaller model of the same vocabulary guesses the next tokens; the answer stays the same
    #[arg(long, value_name = "MODEL", help_heading = "Speed", conflicts_with = "lookup")]
    draft: Option<String>,
    /// Guess that what was said goes on as it did before (good for editing and quoting)
    #[arg(long, help_heading = "Speed")]
    lookup: bool,
    /// Tokens guessed at a time (default: 4 by a draft, 8 by look-up)
    #[arg(long, value_name = "N", help_heading = "Speed")]
    guesses: Option<usize>,
}

impl SpeculationArgs {
    /// The draft, loaded beside `pipeline`.
    pub fn draft(&self, pipeline: &Pipeline, settings: &Settings, global: &Global) -> Result<Option<Pipeline>> {
        let Some(name) = &self.draft else { return Ok(None) };
        let settings = Settings { cpu: pipeline.cpu(), context: None, ..settings.clone() };
        let draft = Pipeline::open(&model_args::pull(name, global)?, &settings)?;
        let (found, expected) = (draft.model.vocab_size(), pipeline.model.vocab_size());
        ensure!(
            found == expected,
            "--draft {name}: it has {found} tokens, {} has {expected}; a draft needs the same vocabulary",
            pipeline.name
        );
        Ok(Some(draft))
    }

    /// Who guesses.
    pub fn guesses<'a>(&self, draft: Option<&'a Pipeline>) -> Result<Option<Guesses<'a>>> {
        Ok(match draft {
            Some(draft) => {
                Some(Guesses { guess: Box::new(Draft::new(&draft.model)?), count: self.guesses.unwrap_or(4) })
            }
            None if self.lookup => {
                Some(Guesses { guess: Box::new(Lookup::default()), count: self.guesses.unwrap_or(8) })
            }
            None => None,
        })
    }
}
