//! Chat templates: the text that a model sees of a conversation, exactly as Transformers renders it, and which characters of
//! it were content.
//!
//! `message` is what is said, `chat` renders the Jinja template of a model ([`ChatTemplate`]), `python` makes values behave as
//! in Python, `spans` tells template and content apart.

mod chat;
mod message;
mod python;
mod spans;

pub use chat::{ChatTemplate, TemplateError, TemplateInput, today};
pub use message::Message;
pub use spans::{Span, SpanKind};

use spans::Marks;

/// How a conversation becomes text.
#[derive(Clone, Debug)]
pub enum Template {
    /// The model's own template.
    Chat(ChatTemplate),
    /// A home-made one: strings before and after the user's words. The system prompt stands first, on lines of its own.
    Affix {
        /// Before the user's words.
        prefix: String,
        /// After them, where the answer begins.
        suffix: String,
    },
}

impl Template {
    /// The text of a conversation.
    ///
    /// # Errors
    /// [`TemplateError`]: what the template raises, or that it takes too long; by name and line.
    pub fn render(&self, input: &TemplateInput) -> Result<String, TemplateError> {
        match self {
            Self::Chat(template) => template.render(input),
            Self::Affix { prefix, suffix } => Ok(affix(prefix, suffix, input.messages).concat()),
        }
    }

    /// The same text, split into what the template wrote and what was content. `added` are the names that a tokenizer
    /// recognises, with whether they are flagged special; see [`crate::Tokenizer::added_tokens`].
    ///
    /// Where a template acts on such a name within content, the rendering is that of content which does not hold it: then the
    /// text differs from [`Template::render`], so that nothing a user writes is taken for the template's own.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_spans(&self, input: &TemplateInput, added: &[(String, bool)]) -> Result<Vec<Span>, TemplateError> {
        match self {
            Self::Chat(template) => {
                let plain = template.render(input)?;
                let marks = Marks::for_text(&plain);
                // A template may refuse marked content that it takes for something else.
                let tainted = template.render(&input.marked(&|text, _| marks.all(text)).input());
                if let Ok(spans) = tainted.map(|text| marks.spans(&text))
                    && spans.iter().map(|s| s.text.as_str()).collect::<String>() == plain
                {
                    return Ok(spans);
                }
                let named = |text: &str, role: &str| marks.names(text, added, role == "assistant");
                let safe = template.render(&input.marked(&named).input())?;
                Ok(marks.named_spans(&safe, added))
            }
            Self::Affix { prefix, suffix } => Ok(affix_spans(prefix, suffix, input.messages)),
        }
    }
}

/// The parts of a home-made template in their order: template and content in turn.
fn affix_spans(prefix: &str, suffix: &str, messages: &[Message]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut add = |text: String, kind| spans.push(Span { text, kind });
    for message in messages {
        match message.role() {
            "user" => {
                add(prefix.to_owned(), SpanKind::Template);
                add(message.text(), SpanKind::Content);
                add(suffix.to_owned(), SpanKind::Template);
            }
            "assistant" => add(message.text(), SpanKind::Content),
            _ => {
                add(message.text(), SpanKind::Content);
                add("\n\n".into(), SpanKind::Template);
            }
        }
    }
    spans.retain(|span| !span.text.is_empty());
    spans
}

fn affix(prefix: &str, suffix: &str, messages: &[Message]) -> Vec<String> {
    affix_spans(prefix, suffix, messages).into_iter().map(|span| span.text).collect()
}
