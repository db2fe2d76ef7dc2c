//! One model for several kinds of tokens: what it learns from, and what it is asked.
//!
//! ```text
//! configs/vocab/*.toml   kinds of tokens and their ids             ─┐
//! configs/train/*.toml   tasks: "a drawing in this style from that" ─┤→ MixedConfig
//! data sets              drawings, recordings, records of text → Entry → parts of a task → tokens (Sequences)
//! Media                  the vocabulary and its codecs: pictures and sounds ↔ segments, those of data sets made once and kept
//! Corpus                 sequences packed into rows, for training
//! a folder               config.json, model.safetensors, tokenizer.json: a plain Llama for anyone; mixed.toml: the rest
//! ```
//!
//! A task is data: a prompt of parts and an answer. Training fills its parts from entries of a data set, a recipe on the command
//! line from what the user gives; so a model can do what its `mixed.toml` says.

mod codes;
mod config;
mod corpus;
mod entries;
mod media;
mod model;
mod ngram;
mod sequence;
mod training;

pub use config::{Changes, MOST_CANDIDATES, MixedConfig, Part, SamplingConfig, Take, TaskConfig};
pub use corpus::{Corpus, Material};
pub use entries::{Entry, File};
pub use media::Media;
pub use model::{Answer, Ask, Mixed};
pub use ngram::Ngram;
pub use sequence::{Example, Prompt, Sequences};
pub use training::{PreferenceConfig, TrainingConfig};
