//! From a row of logits to one token.
//!
//! The order of the steps is that of Transformers' `generate()`:
//!
//! | | step | looks at |
//! |---|---|---|
//! | processors | sequence bias (of one token: logit bias) | prompt and answer |
//! | | repetition penalty | prompt and answer |
//! | | presence and frequency penalty (not in Transformers: OpenAI's formula) | answer only |
//! | | no-repeat n-gram | prompt and answer |
//! | | bad words | prompt and answer |
//! | | min new tokens | length of the answer |
//! | | suppress | |
//! | warpers | temperature | |
//! | | top-h, top-k, top-p, min-p, typical-p, epsilon, eta | what the one before left |
//! | choice | a draw in proportion to exp(logit) | the seed |
//!
//! Greedy choice (temperature 0) obeys the processors, has no use for the warpers, and takes nothing from the generator.
//! Penalties and bans change logits; a filter takes a token away by setting it to `-inf`. Probabilities and sums are
//! computed in f64.
//!
//! A row must be a distribution before and after the processors: a NaN, a `+inf` or nothing above `-inf` is a
//! [`SampleError`], never a token. Single `-inf` are legal.

mod config;
mod draw;
mod processors;
mod warpers;

use std::fmt;

use rand_pcg::Pcg64;

use self::processors::History;
use crate::Token;
use crate::logits::max;
pub use config::{SamplerConfig, SamplerError};

/// A checked [`SamplerConfig`] with its random generator. The generator goes on from draw to draw; all else about a
/// choice is in the arguments of the call.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    vocab_size: usize,
    seed: u64,
    generator: Pcg64,
}

/// Where a row went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It came like this.
    Before,
    /// Biases, penalties and bans made it so.
    After,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before any processing",
            Self::After => "after biases, penalties and bans",
        })
    }
}

/// Why no token could be chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The row is not as long as the vocabulary.
    #[error("a row of {found} logits came to a sampler for a vocabulary of {expected}")]
    RowLength {
        /// Length of the row.
        found: usize,
        /// Size of the vocabulary that the sampler was made for.
        expected: usize,
    },
    /// NaN or `+inf`.
    #[error("{stage}, the logit of token {token} is {found}, expected a finite number or -inf")]
    NotFinite {
        /// The first such token.
        token: Token,
        /// Its logit.
        found: f32,
        /// Before or after the processors.
        stage: Stage,
    },
    /// No token is possible.
    #[error(
        "{stage}, the logits of all {vocab} tokens are -inf, so that none can be chosen{}",
        match stage { Stage::Before => "", Stage::After => "; forbid less" }
    )]
    NoneLeft {
        /// Size of the vocabulary.
        vocab: usize,
        /// Before or after the processors.
        stage: Stage,
    },
}

impl Sampler {
    /// A sampler for rows of `vocab_size` logits (the model's vocabulary, which may be larger than the tokenizer's).
    ///
    /// # Errors
    /// The first field of the config that is out of range, with its value and the range.
    pub fn new(config: SamplerConfig, vocab_size: usize) -> Result<Self, SamplerError> {
        config.validate(vocab_size)?;
        let seed = config.seed.unwrap_or_else(draw::fresh_seed);
        Ok(Self { config, vocab_size, seed, generator: draw::generator(seed) })
    }

    /// What it was made from.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// How long a row of logits must be.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The seed in use: the config's, or the one that was made up for it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// True at temperature 0: the likeliest token is chosen, and nothing is drawn.
    pub fn is_greedy(&self) -> bool {
        self.config.temperature == 0.0
    }

    /// Turns `logits` into the row after all processors and warpers, with `-inf` for what cannot be drawn; at
    /// temperature 0, after the processors alone. `history` is the prompt and then what was generated since.
    ///
    /// # Errors
    /// See [`SampleError`]; the row is then of no use.
    pub fn process(
        &self,
        logits: &mut [f32],
        prompt_len: usize,
        history: &[Token],
        end_tokens: &[Token],
    ) -> Result<(), SampleError> {
        self.run_processors(logits, prompt_len, history, end_tokens)?;
        if !self.is_greedy() {
            let left = warpers::warp(&self.config, logits);
            logits.fill(f32::NEG_INFINITY);
            for candidate in left {
                logits[candidate.token.index()] = candidate.logit;
            }
        }
        Ok(())
    }

    /// Chooses a token: one that [`process`](Self::process) leaves above `-inf`. The row is used as working space.
    ///
    /// # Errors
    /// See [`SampleError`]; nothing was drawn then.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        prompt_len: usize,
        history: &[Token],
        end_tokens: &[Token],
    ) -> Result<Token, SampleError> {
        self.run_processors(logits, prompt_len, history, end_tokens)?;
        let chosen = if self.is_greedy() {
            greedy(logits)
        } else {
            draw::draw(&warpers::warp(&self.config, logits), &mut self.generator)
        };
        chosen.ok_or(SampleError::NoneLeft { vocab: self.vocab_size, stage: Stage::After })
    }

    fn run_processors(
        &self,
        row: &mut [f32],
        prompt_len: usize,
        history: &[Token],
        end_tokens: &[Token],
    ) -> Result<(), SampleError> {
        if row.len() != self.vocab_size {
            return Err(SampleError::RowLength { found: row.len(), expected: self.vocab_size });
        }
        check_row(row, Stage::Before)?;
        let history = History { all: history, prompt_len };
        processors::process(&self.config, row, history, end_tokens);
        check_row(row, Stage::After)
    }
}

fn check_row(row: &[f32], stage: Stage) -> Result<(), SampleError> {
    // Two questions of all values, without a way out in between, so that the compiler can take many at a time.
    let legal = row.iter().fold(true, |legal, logit| legal & (*logit < f32::INFINITY));
    let possible = row.iter().fold(false, |any, logit| any | (*logit > f32::NEG_INFINITY));
    if legal && possible {
        return Ok(());
    }
    let bad = (0u32..).zip(row).find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
    Err(match bad {
        Some((id, &found)) => SampleError::NotFinite { token: Token(id), found, stage },
        None => SampleError::NoneLeft { vocab: row.len(), stage },
    })
}

/// The likeliest token; of equal ones the lowest id.
fn greedy(row: &[f32]) -> Option<Token> {
    let max = max(row.iter().copied());
    (0u32..).zip(row).find(|(_, logit)| **logit == max).map(|(id, _)| Token(id))
}
