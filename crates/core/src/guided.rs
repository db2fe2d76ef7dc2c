//! Classifier-free guidance (Ho & Salimans 2022; for token models Sanchez et al. 2023, arXiv 2306.17806).
//!
//! The model reads two beginnings, the prompt and one that does not say what is wanted, and what follows after both. The logits are
//! `other + scale · (prompt − other)`: 1 is the model itself, more follows the prompt more closely.

use crate::{Allowed, Logits, Model, ModelError, State, Token};

/// A model that is guided away from another prompt.
#[derive(Clone, Debug)]
pub struct Guided<'a, M> {
    model: &'a M,
    scale: f32,
    /// Tokens of the prompt.
    prompt: usize,
    /// What is read instead of them.
    other: Vec<Token>,
}

impl<'a, M: Model> Guided<'a, M> {
    /// The model, guided by `scale`: the first `prompt` tokens it is fed are the prompt, and `other` stands for them on the other side.
    pub fn new(model: &'a M, scale: f32, prompt: usize, other: Vec<Token>) -> Self {
        Self { model, scale, prompt, other }
    }

    /// Feeds both sides; `read` is how the last logits of each are had.
    fn both(
        &self,
        tokens: &[Token],
        state: &mut Both<M::State>,
        read: impl Fn(&[Token], &mut M::State) -> Result<Logits, ModelError>,
    ) -> Result<Logits, ModelError> {
        let start = state.len();
        let after = tokens.len() - self.prompt.saturating_sub(start).min(tokens.len());
        let mut mine = read(tokens, &mut state.mine)?;
        if state.len() < self.prompt {
            return Ok(mine); // nobody draws within a prompt
        }
        let held = state.other.len();
        let answer = &tokens[tokens.len() - after..];
        let new: Vec<Token> =
            if held == 0 { self.other.iter().chain(answer).copied().collect() } else { answer.to_vec() };
        let other = read(&new, &mut state.other).inspect_err(|_| state.mine.truncate(start))?;
        for (mine, other) in mine.0.iter_mut().zip(other.0) {
            if *mine > f32::NEG_INFINITY && other > f32::NEG_INFINITY {
                *mine = other + self.scale * (*mine - other);
            }
        }
        Ok(mine)
    }
}

/// What both sides remember.
#[derive(Clone, Debug)]
pub struct Both<S> {
    mine: S,
    other: S,
    prompt: usize,
    /// Tokens of the other prompt.
    others: usize,
}

impl<S: State> State for Both<S> {
    fn len(&self) -> usize {
        self.mine.len()
    }

    fn truncate(&mut self, len: usize) {
        self.mine.truncate(len);
        // At the end of the prompt the other side is fed again from its beginning.
        self.other.truncate(if len > self.prompt { self.others + len - self.prompt } else { 0 });
    }
}

impl<M: Model> Model for Guided<'_, M> {
    type State = Both<M::State>;

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn context(&self) -> usize {
        // The other side has to have room too.
        self.model.context().saturating_sub(self.other.len().saturating_sub(self.prompt))
    }

    fn new_state(&self) -> Result<Self::State, ModelError> {
        let [mine, other] = [self.model.new_state()?, self.model.new_state()?];
        Ok(Both { mine, other, prompt: self.prompt, others: self.other.len() })
    }

    fn next(&self, tokens: &[Token], state: &mut Self::State) -> Result<Logits, ModelError> {
        self.both(tokens, state, |tokens, state| self.model.next(tokens, state))
    }

    fn next_of(&self, tokens: &[Token], state: &mut Self::State, allowed: &Allowed) -> Result<Logits, ModelError> {
        self.both(tokens, state, |tokens, state| self.model.next_of(tokens, state, allowed))
    }
}
