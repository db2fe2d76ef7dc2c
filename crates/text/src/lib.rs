//! Text as tokens: tokenizers from `tokenizer.json` and from GGUF, incremental UTF-8, stop strings, chat templates.
//!
//! A user's words never become control tokens: a template's rendering keeps which characters were content
//! ([`Template::render_spans`]), and [`Tokenizer::encode_spans`] recognises an added token only where no character of it
//! was content.

mod gguf_export;
mod gguf_vocab;
mod pieces;
mod stop;
mod stream;
mod template;
mod tokenizer;
mod train;

pub use gguf_export::tokenizer_config;
pub use gguf_vocab::GgufVocab;
pub use stop::{StopPiece, StopStrings};
pub use stream::TextStream;
pub use template::{ChatTemplate, Message, Span, SpanKind, Template, TemplateError, TemplateInput, today};
pub use tokenizer::{SkipSpecials, Specials, Tokenizer, TokenizerError};
