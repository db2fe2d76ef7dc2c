//! A conversation: messages, what the model has read of them, and how the next answer is made.
//!
//! Before each answer the whole history is rendered and encoded again; what the state already holds of it is kept, the rest
//! is read. When the history no longer fits, the oldest turns leave, the system prompt stays, and the caller is told.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use jielong_core::{Model, Sampler, SamplerConfig, State, Token};
use jielong_llama::KvCache;
use jielong_text::{Message, Span, Specials, Template, TemplateInput};
use serde_json::{Map, Value};

use crate::pipeline::{Guesses, News, Outcome, Pipeline, TextRequest};

/// Tokens that are kept free for an answer, at least, as a share of the context.
const ANSWER_SHARE: usize = 8;

/// A conversation with one model.
pub struct Session<'a> {
    pipeline: &'a Pipeline,
    state: KvCache,
    /// What the state holds.
    read: Vec<Token>,
    sampler: Sampler,
    /// The conversation so far, system prompt included.
    pub messages: Vec<Message>,
    /// Tools offered to the template.
    pub tools: Option<Value>,
    /// Further variables of the template.
    pub variables: Map<String, Value>,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Strings that end an answer.
    pub stop: Vec<String>,
    /// Speculative decoding, if it is wanted.
    pub guesses: Option<Guesses<'a>>,
}

/// An answer and what it took.
pub struct Answer {
    /// The generation.
    pub outcome: Outcome,
    /// Messages that had to leave because the context was full.
    pub dropped: usize,
    /// Tokens of the rendered conversation.
    pub prompt_tokens: usize,
}

impl<'a> Session<'a> {
    /// An empty conversation.
    ///
    /// # Errors
    /// A model without tokenizer, or a sampler that cannot be.
    pub fn new(pipeline: &'a Pipeline, sampling: SamplerConfig) -> Result<Self> {
        pipeline.tokenizer()?;
        Ok(Self {
            pipeline,
            state: pipeline.model.new_state()?,
            read: Vec::new(),
            sampler: Sampler::new(sampling, pipeline.model.vocab_size())?,
            messages: Vec::new(),
            tools: None,
            variables: Map::new(),
            max_new_tokens: usize::MAX,
            stop: Vec::new(),
            guesses: None,
        })
    }

    /// The sampler's settings.
    pub fn sampling(&self) -> &SamplerConfig {
        self.sampler.config()
    }

    /// Changes how tokens are drawn from now on.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn set_sampling(&mut self, sampling: SamplerConfig) -> Result<()> {
        self.sampler = Sampler::new(sampling, self.pipeline.model.vocab_size())?;
        Ok(())
    }

    /// Positions in use.
    pub fn used(&self) -> usize {
        self.state.len()
    }

    /// The text that the model would see now, as spans of template and content, and its tokens. A last message of the
    /// assistant is gone on with.
    ///
    /// # Errors
    /// A model without a template; what the template refuses.
    pub fn prompt(&self) -> Result<(Vec<Span>, Vec<Token>)> {
        self.render(&self.messages)
    }

    fn render(&self, messages: &[Message]) -> Result<(Vec<Span>, Vec<Token>)> {
        let template = self.pipeline.template.as_ref().with_context(|| {
            format!(
                "{} has no chat template; give one with --template PREFIX SUFFIX, or continue raw text with `generate`",
                self.pipeline.name
            )
        })?;
        let continues = messages.last().is_some_and(|m| m.role == "assistant");
        let input = TemplateInput {
            messages,
            tools: self.tools.as_ref(),
            add_generation_prompt: !continues,
            continue_final_message: continues,
            now: None,
            specials: self.pipeline.assets.specials.clone(),
            variables: self.variables.clone(),
        };
        let tokenizer = self.pipeline.tokenizer()?;
        let spans = template.render_spans(&input, tokenizer)?;
        let mut tokens = match template {
            Template::Chat(_) => Vec::new(), // it writes what begins a text itself
            Template::Affix { .. } => tokenizer.encode("", Specials::Add)?,
        };
        tokens.retain(|token| !self.pipeline.assets.end_tokens.contains(token));
        tokens.extend(tokenizer.encode_spans(&spans)?);
        Ok((spans, tokens))
    }

    /// Drops the oldest turns, a user's message with what follows it, until the conversation leaves room for an answer.
    fn fit(&mut self) -> Result<(Vec<Token>, usize)> {
        let context = self.pipeline.model.context();
        let free = (context / ANSWER_SHARE).min(self.max_new_tokens).max(1);
        let mut dropped = 0;
        loop {
            let (_, tokens) = self.render(&self.messages)?;
            if tokens.len() + free <= context {
                return Ok((tokens, dropped));
            }
            let first = self.messages.iter().take_while(|m| m.role == "system").count();
            let next = self.messages.iter().skip(first + 1).position(|m| m.role == "user").map(|n| n + first + 1);
            let Some(next) = next else {
                if tokens.len() < context {
                    return Ok((tokens, dropped));
                }
                bail!(
                    "the last message and the system prompt are {} tokens, the context holds {context}; shorten them",
                    tokens.len()
                );
            };
            dropped += next - first;
            self.messages.drain(first..next);
        }
    }

    /// Answers the conversation: the answer becomes its last message, or lengthens it if that was the assistant's.
    ///
    /// # Errors
    /// What the template refuses, a conversation that cannot fit, or a failing model; the messages stay as they were,
    /// except for those that had to leave.
    pub fn answer(&mut self, cancel: Option<&AtomicBool>, news: &mut dyn FnMut(News)) -> Result<Answer> {
        let (prompt, dropped) = self.fit()?;
        let common = self.read.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
        self.state.truncate(common);
        let request = TextRequest {
            prompt: &prompt,
            max_new_tokens: self.max_new_tokens,
            stop: &self.stop,
            top: 0,
            ignore_end: false,
            cancel,
        };
        let outcome =
            self.pipeline.continue_text(&mut self.state, &mut self.sampler, &request, self.guesses.as_mut(), news);
        self.read = prompt.clone();
        self.read.extend(outcome.iter().flat_map(|o| &o.ids));
        self.read.truncate(self.state.len());
        let outcome = outcome?;
        match self.messages.last_mut().filter(|m| m.role == "assistant") {
            Some(last) => last.push_text(&outcome.text),
            None => self.messages.push(Message::assistant(&outcome.text)),
        }
        Ok(Answer { outcome, dropped, prompt_tokens: prompt.len() })
    }
}
