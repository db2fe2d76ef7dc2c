//! Tokens, the model as a function, the sampler, and the one loop that continues a chain of tokens.
//!
//! - [`Token`]: an id; what it stands for (text, a patch of a picture, 20 ms of sound) is not known here.
//! - [`Model`]: tokens in, a logit for every token of the vocabulary out; [`State`] is what it remembers, owned by the
//!   caller.
//! - [`Sampler`]: from a row of logits to one token.
//! - [`generate`]: the loop, an iterator of [`Event`]s. Streaming is iterating, cancelling is dropping.
//! - [`Codec`]: media to codes and back; [`Codes`] are numbers, media a type of the codec's own.
//! - [`Guess`]: what may follow, cheaply, so that one pass of the model gives several tokens.
//! - [`Vocab`]: one id space for every kind of token; [`Machine`]: which of them may come next.
//! - [`Guided`]: a model that follows its prompt more closely than it would by itself.
//! - [`cost`]: steps, arithmetic and bytes of a generation, as formulas.
//!
//! Absent on purpose: text, media, files, printing, threads, and any tensor library.

mod codec;
pub mod cost;
mod generate;
mod guided;
mod logits;
mod model;
pub mod sampler;
mod select;
mod speculate;
mod token;
mod vocab;

pub use codec::{Codec, CodecError, Codes};
pub use generate::{Event, GenerateError, Generation, Request, Step, StopReason, generate};
pub use guided::Guided;
pub use logits::{LogProbs, Logits};
pub use model::{Model, ModelError, State, check_tokens};
pub use sampler::{SampleError, Sampler, SamplerConfig, SamplerError, Stage};
pub use speculate::{Draft, Guess, Lookup, Speculation};
pub use token::Token;
pub use vocab::{Allowed, Kind, KindConfig, Machine, Segment, Vocab, VocabConfig, VocabError};
