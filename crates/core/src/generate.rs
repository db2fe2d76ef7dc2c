//! The loop that continues a chain of tokens, whatever they stand for.
//!
//! 1. The prompt is fed in chunks; the part that the state already holds is not fed again.
//! 2. A token is drawn and handed out, and only when the caller comes back for more it is fed, and so on.
//!
//! So every token that was handed out has been fed except the last: `state.len()` says what is in the state, and a
//! caller that goes on from there passes the whole context again. A context of n positions takes a prompt of p ≤ n
//! tokens and gives up to n − p + 1 more, the last of which has no room to be fed; then the reason is
//! [`StopReason::ContextFull`].
//!
//! With a [`Guess`] several tokens are read in one pass: those that are then drawn are not fed again, the others are taken
//! back. The events are the same, and so is the state once the generation is over or dropped.
//!
//! With a [`Machine`] a token is drawn from those that may come next, and only their logits are computed: what is generated is
//! whole segments, as far as the limits leave room for them.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Serialize, Serializer};

use crate::{
    Allowed, Guess, Logits, Machine, Model, ModelError, SampleError, Sampler, Speculation, State, Token, check_tokens,
};

/// What to continue, and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The whole context. Its beginning must be what the state already holds, `state.len()` tokens of it; a caller with
    /// an older state truncates it to the common beginning first. If the state already holds all of it, the last token
    /// is taken back and fed again, as its logits are needed.
    pub prompt: &'a [Token],
    /// At most so many tokens; `usize::MAX`: until the context is full. 0 ends at once without running the model.
    pub max_new_tokens: usize,
    /// Any of these ends the generation, and is handed out before it does.
    pub end_tokens: &'a [Token],
    /// How many alternatives each [`Step`] reports.
    pub top: usize,
    /// Prompt tokens per call of the model; 0 counts as 1.
    pub chunk: usize,
    /// Checked before every call of the model and every draw; true ends with [`StopReason::Cancelled`].
    pub cancel: Option<&'a AtomicBool>,
}

impl<'a> Request<'a> {
    /// Up to 256 tokens after `prompt`, without end tokens and alternatives, the prompt fed by 512 tokens at a time.
    pub fn new(prompt: &'a [Token]) -> Self {
        Self { prompt, max_new_tokens: 256, end_tokens: &[], top: 0, chunk: 512, cancel: None }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A chunk of the prompt was fed.
    Prefill {
        /// Tokens of the prompt that the state holds now, reused ones included.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was chosen.
    Token(Step),
    /// The last event.
    End(StopReason),
}

/// One token of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The token.
    pub token: Token,
    /// Natural logarithm of the probability that the model itself gave it: before penalties, temperature and filters; among
    /// those that may come next, where a [`Machine`] says which.
    pub logprob: f32,
    /// The likeliest tokens in the model's own distribution, best first, of equal ones the lower id first. Impossible
    /// tokens are left out.
    pub top: Vec<(Token, f32)>,
}

/// Why there are no more tokens. Serialises as its name alone, see [`as_str`](Self::as_str).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// This end token was chosen.
    EndToken(Token),
    /// A stop string appeared. The loop knows no text and never says this; it is for those that do.
    StopString,
    /// The number of tokens that was asked for is reached.
    Length,
    /// The state has no room for another token.
    ContextFull,
    /// The caller said so.
    Cancelled,
}

impl StopReason {
    /// The name: `end_token`, `stop_string`, `length`, `context_full` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndToken(_) => "end_token",
            Self::StopString => "stop_string",
            Self::Length => "length",
            Self::ContextFull => "context_full",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Serialize for StopReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a generation failed. What was fed before stays in the state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The prompt does not fit the model, or the model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The state holds something else than the beginning of the prompt.
    #[error("the state holds {have} tokens and the prompt has only {prompt}; truncate the state to what they share")]
    StateNotAPrefix {
        /// Tokens in the state.
        have: usize,
        /// Tokens of the prompt.
        prompt: usize,
    },
}

/// Continues `request.prompt`. Nothing happens until the first `next()`; dropping the iterator cancels.
pub fn generate<'a, M: Model>(
    model: &'a M,
    state: &'a mut M::State,
    sampler: &'a mut Sampler,
    request: Request<'a>,
) -> Generation<'a, M> {
    Generation {
        model,
        state,
        sampler,
        request,
        history: Vec::new(),
        row: Vec::new(),
        phase: Phase::Start,
        guess: None,
        ahead: VecDeque::new(),
        speculation: Speculation::default(),
        machine: None,
    }
}

/// A generation under way: an iterator of events. After [`Event::End`] or an error there are none.
pub struct Generation<'a, M: Model> {
    model: &'a M,
    state: &'a mut M::State,
    sampler: &'a mut Sampler,
    request: Request<'a>,
    /// The prompt, then what was generated.
    history: Vec<Token>,
    /// Working space of the sampler, kept from step to step.
    row: Vec<f32>,
    phase: Phase,
    /// Who guesses, and how many tokens at a time.
    guess: Option<(&'a mut dyn Guess, usize)>,
    /// Guesses that the state holds, each with the logits after it.
    ahead: VecDeque<(Token, Logits)>,
    speculation: Speculation,
    /// What may come next, which has read all of the history.
    machine: Option<Machine<'a>>,
}

/// What comes next.
enum Phase {
    Start,
    /// So many tokens of the prompt were fed.
    Prefill(usize),
    Draw(Logits),
    Feed(Token),
    Stop(StopReason),
    Over,
}

impl<'a, M: Model> Generation<'a, M> {
    /// Lets `guess` propose up to `count` tokens a pass. The answer stays the same; only its speed changes.
    #[must_use]
    pub fn with_guess(mut self, guess: &'a mut dyn Guess, count: usize) -> Self {
        self.guess = Some((guess, count));
        self
    }

    /// Draws only what may follow. The machine has read the prompt.
    #[must_use]
    pub fn with_machine(mut self, machine: Machine<'a>) -> Self {
        self.machine = Some(machine);
        self
    }

    /// How often the guesses were right so far.
    pub fn speculation(&self) -> Speculation {
        self.speculation
    }

    /// What was generated so far.
    pub fn generated(&self) -> &[Token] {
        self.history.get(self.request.prompt.len()..).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<Option<Event>, GenerateError> {
        // An error on the way leaves Over behind.
        let mut phase = mem::replace(&mut self.phase, Phase::Over);
        if let Phase::Start = phase {
            phase = self.start()?;
        }
        if self.cancelled() && !matches!(phase, Phase::Stop(_) | Phase::Over) {
            phase = Phase::Stop(StopReason::Cancelled);
        }
        Ok(match phase {
            Phase::Prefill(fed) => Some(self.prefill(fed)?),
            Phase::Draw(mut logits) => Some(self.draw(&mut logits)?),
            Phase::Feed(token) => {
                let mut logits = self.feed(token)?;
                Some(self.draw(&mut logits)?)
            }
            Phase::Stop(reason) => Some(Event::End(reason)),
            Phase::Start | Phase::Over => None,
        })
    }

    /// Every check on the request, before the model runs.
    fn start(&mut self) -> Result<Phase, GenerateError> {
        let Request { prompt, .. } = self.request;
        let (vocab_size, expected) = (self.model.vocab_size(), self.sampler.vocab_size());
        if vocab_size != expected {
            let found = vocab_size;
            return Err(SampleError::RowLength { found, expected }.into());
        }
        let Some(last) = prompt.len().checked_sub(1) else {
            return Err(ModelError::NoTokens.into());
        };
        let have = self.state.len();
        let Some(new) = prompt.get(have..) else {
            let prompt = prompt.len();
            return Err(GenerateError::StateNotAPrefix { have, prompt });
        };
        let new = if new.is_empty() { &prompt[last..] } else { new };
        let fed = prompt.len() - new.len();
        check_tokens(new, fed, self.model.context(), vocab_size)?;
        if self.request.max_new_tokens == 0 {
            return Ok(Phase::Stop(StopReason::Length));
        }
        self.state.truncate(fed);
        self.history.extend_from_slice(prompt);
        Ok(Phase::Prefill(fed))
    }

    fn prefill(&mut self, fed: usize) -> Result<Event, GenerateError> {
        let Request { prompt, chunk, .. } = self.request;
        let done = fed.saturating_add(chunk.max(1)).min(prompt.len());
        let last = done == prompt.len();
        let logits = match self.allowed().filter(|_| last) {
            Some(allowed) => self.model.next_of(&prompt[fed..done], self.state, &allowed)?,
            None => self.model.next(&prompt[fed..done], self.state)?,
        };
        self.phase = if last { Phase::Draw(logits) } else { Phase::Prefill(done) };
        let total = prompt.len();
        Ok(Event::Prefill { done, total })
    }

    /// The logits after `token`, the last of the history: at hand if it was guessed, else from a pass of the model that
    /// reads new guesses too.
    fn feed(&mut self, token: Token) -> Result<Logits, ModelError> {
        match self.ahead.pop_front() {
            Some((guessed, logits)) if guessed == token => {
                self.speculation.accepted += 1;
                return Ok(logits);
            }
            Some(_) => self.take_back(),
            None => {}
        }
        self.speculation.passes += 1;
        let guesses = self.guesses()?;
        if guesses.is_empty() {
            return match self.allowed() {
                Some(allowed) => self.model.next_of(&[token], self.state, &allowed),
                None => self.model.next(&[token], self.state),
            };
        }
        self.speculation.proposed += guesses.len();
        let tokens: Vec<Token> = std::iter::once(token).chain(guesses.iter().copied()).collect();
        let mut rows = self.model.next_each(&tokens, self.state)?.into_iter();
        let first = rows.next().ok_or_else(|| ModelError::Backend("no logits for a token".into()))?;
        self.ahead = guesses.into_iter().zip(rows).collect();
        Ok(first)
    }

    /// New guesses, no more than the answer and the state have room for.
    fn guesses(&mut self) -> Result<Vec<Token>, ModelError> {
        let left = self.request.max_new_tokens.saturating_sub(self.generated().len() + 1);
        let room = self.model.context().saturating_sub(self.state.len() + 1);
        let Some((guess, count)) = &mut self.guess else { return Ok(Vec::new()) };
        let mut guesses = guess.guess(&self.history, (*count).min(left).min(room))?;
        let vocab_size = self.model.vocab_size();
        let known = guesses.iter().take_while(|token| token.index() < vocab_size).count();
        guesses.truncate(known.min(left).min(room));
        Ok(guesses)
    }

    /// Makes the state forget what was guessed and not drawn: it holds all of the history but its last token.
    fn take_back(&mut self) {
        self.ahead.clear();
        self.state.truncate(self.history.len().saturating_sub(1));
    }

    /// What may come next, if anybody says.
    fn allowed(&self) -> Option<Allowed> {
        let machine = self.machine.as_ref()?;
        // Tokens that may still be drawn: the last one of a context has no room to be fed.
        let room = (self.model.context() + 1).saturating_sub(self.history.len());
        let left = self.request.max_new_tokens.saturating_sub(self.generated().len());
        Some(machine.allowed(left.min(room)))
    }

    fn draw(&mut self, logits: &mut Logits) -> Result<Event, GenerateError> {
        let position = self.history.len().saturating_sub(1);
        if let Some(allowed) = self.allowed() {
            allowed.mask(&mut logits.0);
        }
        let log_probs = logits.log_probs();
        let log_probs = log_probs.ok_or(ModelError::NotFinite { position })?;
        self.row.clone_from(&logits.0);
        let Request { prompt, end_tokens, top, .. } = self.request;
        let token = self.sampler.sample(&mut self.row, prompt.len(), &self.history, end_tokens)?;
        self.history.push(token);
        let legal = self.machine.as_mut().is_none_or(|machine| machine.push(token).is_ok());
        debug_assert!(legal, "only what may come next was left to draw");
        self.phase = self.after(token);
        Ok(Event::Token(Step { token, logprob: log_probs.of(token), top: log_probs.top(top) }))
    }

    fn after(&self, token: Token) -> Phase {
        if self.request.end_tokens.contains(&token) {
            Phase::Stop(StopReason::EndToken(token))
        } else if self.generated().len() >= self.request.max_new_tokens {
            Phase::Stop(StopReason::Length)
        } else if self.history.len() > self.model.context() {
            Phase::Stop(StopReason::ContextFull)
        } else {
            Phase::Feed(token)
        }
    }

    fn cancelled(&self) -> bool {
        let cancel = self.request.cancel;
        cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

impl<M: Model> Iterator for Generation<'_, M> {
    type Item = Result<Event, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

impl<M: Model> FusedIterator for Generation<'_, M> {}

impl<M: Model> Drop for Generation<'_, M> {
    fn drop(&mut self) {
        if !self.ahead.is_empty() {
            self.take_back();
        }
    }
}
