//! Speculative decoding: several tokens for one pass of the model (Leviathan et al. 2023; prompt look-up after Saxena 2023).
//!
//! Something cheap guesses the next tokens, the model reads them all at once, and the sampler then draws token after token
//! as it always does. As long as what it draws was guessed, the logits that follow are there already. The guesses are never
//! drawn from: so the answer is, token by token and for every seed, the one without speculation. Nor is anything lost: a
//! guess that is certain of itself is accepted with the probability that the model gives it, the most that any exact scheme
//! can accept of it (Leviathan et al. 2023, §2.3, with all of q on one token).

use crate::{Model, ModelError, State, Token};

/// Something that guesses how a text goes on.
pub trait Guess {
    /// At most `count` tokens that may follow `history`, fewer or none where there is no good guess.
    ///
    /// # Errors
    /// That of a model that guesses.
    fn guess(&mut self, history: &[Token], count: usize) -> Result<Vec<Token>, ModelError>;
}

/// Prompt look-up: what followed the last time that the same few tokens were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Most tokens that must be the same; those are tried first.
    pub longest: usize,
    /// Fewest tokens that must be the same.
    pub shortest: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { longest: 4, shortest: 2 }
    }
}

impl Guess for Lookup {
    fn guess(&mut self, history: &[Token], count: usize) -> Result<Vec<Token>, ModelError> {
        let longest = self.longest.min(history.len().saturating_sub(1));
        for n in (self.shortest.max(1)..=longest).rev() {
            let (before, last) = history.split_at(history.len() - n);
            // The latest place before the end where they stand, its end within the text.
            let found = (0..before.len()).rev().find(|&at| history[at..at + n] == *last);
            if let Some(at) = found {
                return Ok(history[at + n..].iter().take(count).copied().collect());
            }
        }
        Ok(Vec::new())
    }
}

/// A smaller model of the same vocabulary: its likeliest tokens.
#[derive(Debug)]
pub struct Draft<'a, M: Model> {
    model: &'a M,
    state: M::State,
    /// What the state holds.
    read: Vec<Token>,
}

impl<'a, M: Model> Draft<'a, M> {
    /// Tokens that are read at once.
    const CHUNK: usize = 512;

    /// A draft that has read nothing yet.
    ///
    /// # Errors
    /// As [`Model::new_state`].
    pub fn new(model: &'a M) -> Result<Self, ModelError> {
        Ok(Self { model, state: model.new_state()?, read: Vec::new() })
    }

    /// Reads `tokens`, and gives the likeliest that follows.
    fn feed(&mut self, tokens: &[Token]) -> Result<Option<Token>, ModelError> {
        let mut best = None;
        for chunk in tokens.chunks(Self::CHUNK) {
            let logits = self.model.next(chunk, &mut self.state)?;
            self.read.extend_from_slice(chunk);
            best = (0u32..).zip(&logits.0).max_by(|a, b| a.1.total_cmp(b.1)).map(|(id, _)| Token(id));
        }
        Ok(best)
    }
}

impl<M: Model> Guess for Draft<'_, M> {
    fn guess(&mut self, history: &[Token], count: usize) -> Result<Vec<Token>, ModelError> {
        let room = self.model.context().saturating_sub(history.len());
        let count = count.min(room + 1); // the last guess need not be read
        let known = history.iter().all(|token| token.index() < self.model.vocab_size());
        if count == 0 || !known || history.len() > self.model.context() {
            return Ok(Vec::new());
        }
        let common = self.read.iter().zip(history).take_while(|(a, b)| a == b).count();
        let common = common.min(history.len().saturating_sub(1));
        self.state.truncate(common);
        self.read.truncate(common);
        let mut next = self.feed(&history[common..])?;
        let mut guesses = Vec::with_capacity(count);
        while let Some(token) = next {
            guesses.push(token);
            next = if guesses.len() < count { self.feed(&[token])? } else { None };
        }
        Ok(guesses)
    }
}

/// How often guesses were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speculation {
    /// Tokens guessed and read by the model.
    pub proposed: usize,
    /// Of these, tokens that were then drawn.
    pub accepted: usize,
    /// Passes of the model for the answer.
    pub passes: usize,
}
