//! Chat templates: a conversation → the text that the model sees.
//!
//! [`ChatTemplate`] renders a model's own Jinja template as Transformers does; [`Template::Affix`] is the home-made kind, a
//! prefix and a suffix round the user's words. Either can tell which characters of the text came from the conversation
//! ([`Template::render_spans`]), so that nobody's words are taken for control tokens.

mod args;
mod filters;
mod json;
mod marks;
mod message;
mod methods;
mod operators;
mod python;
mod render;
mod source;
mod spans;
mod taint;

use chrono::{Local, NaiveDateTime};
use serde_json::{Map, Value};

use crate::tokenizer::Tokenizer;

pub use message::Message;
pub use render::ChatTemplate;

/// Why a template cannot be read or rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}{}: {message}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct TemplateError {
    /// The template.
    pub name: String,
    /// The line of it, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong, or what the template itself says.
    pub message: String,
}

/// What a template is given.
#[derive(Clone, Debug, Default)]
pub struct TemplateInput<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// A list of JSON schemas of functions.
    pub tools: Option<&'a Value>,
    /// The text ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The text ends within the last message, so that the model goes on with it.
    pub continue_final_message: bool,
    /// The time that the template sees; the present if `None`.
    pub now: Option<NaiveDateTime>,
    /// `bos_token`, `eos_token` and so on.
    pub specials: Map<String, Value>,
    /// Further variables: `enable_thinking`, `documents`, ….
    pub variables: Map<String, Value>,
}

/// Who wrote a part of a rendered text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The template: control tokens are recognised in it.
    Template,
    /// The conversation: plain words, whatever they spell.
    Content,
}

/// A part of a rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its characters.
    pub text: String,
    /// Who wrote them.
    pub kind: SpanKind,
}

/// How a conversation becomes text.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a model: a box would save nothing")]
pub enum Template {
    /// The model's own template.
    Chat(ChatTemplate),
    /// The user's words between a prefix and a suffix, other messages as they are.
    Affix {
        /// Before each message of the user.
        prefix: String,
        /// After each message of the user.
        suffix: String,
    },
}

impl Template {
    /// The text that the model sees.
    ///
    /// # Errors
    /// What the template refuses or cannot render.
    pub fn render(&self, input: &TemplateInput) -> Result<String, TemplateError> {
        match self {
            Self::Chat(template) => template.render(input),
            Self::Affix { .. } => Ok(self.affix(input)?.into_iter().map(|span| span.text).collect()),
        }
    }

    /// The text that the model sees, in parts written by the template and by the conversation.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_spans(&self, input: &TemplateInput, tokenizer: &Tokenizer) -> Result<Vec<Span>, TemplateError> {
        match self {
            Self::Chat(template) => template.render_spans(input, tokenizer),
            Self::Affix { .. } => self.affix(input),
        }
    }

    fn affix(&self, input: &TemplateInput) -> Result<Vec<Span>, TemplateError> {
        let Self::Affix { prefix, suffix } = self else { return Ok(Vec::new()) };
        let mut spans = Vec::new();
        for (n, message) in input.messages.iter().enumerate() {
            let text = message.text().ok_or_else(|| TemplateError {
                name: "prefix and suffix".into(),
                line: None,
                message: format!("message {} ({}) has no text", n + 1, message.role),
            })?;
            let user = message.role == "user";
            spans.push(Span { text: if user { prefix.clone() } else { String::new() }, kind: SpanKind::Template });
            spans.push(Span { text, kind: SpanKind::Content });
            spans.push(Span { text: if user { suffix.clone() } else { String::new() }, kind: SpanKind::Template });
        }
        spans.retain(|span| !span.text.is_empty());
        Ok(spans)
    }
}

/// Today's date as `2026-01-15`.
pub fn today() -> String {
    Local::now().format("%Y-%m-%d").to_string()
}
