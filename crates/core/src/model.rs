//! The model as a function: tokens in, a logit for every possible next token out.

use crate::{Allowed, Logits, Token};

/// What a model remembers of the tokens it was fed, such as a key-value cache. Owned by the caller, so that one model
/// serves many requests and nothing leaks from one into another.
pub trait State {
    /// How many tokens this state holds.
    fn len(&self) -> usize;

    /// True before the first token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all but the first `len` tokens, as if the others had never been fed; does nothing where there are fewer.
    fn truncate(&mut self, len: usize);
}

/// A function from tokens to logits. It never changes: whatever does is in its [`State`].
pub trait Model {
    /// What the model remembers between calls.
    type State: State;

    /// How many tokens there are, and so how long a row of logits is.
    fn vocab_size(&self) -> usize;

    /// How many tokens a state can hold.
    fn context(&self) -> usize;

    /// A state that holds nothing.
    ///
    /// # Errors
    /// [`ModelError::Backend`] where the memory cannot be had.
    fn new_state(&self) -> Result<Self::State, ModelError>;

    /// Appends `tokens` to `state` and gives the logits of the token after the last of them.
    ///
    /// # Errors
    /// The state is then as it was before the call. [`check_tokens`] has the checks that every model makes.
    fn next(&self, tokens: &[Token], state: &mut Self::State) -> Result<Logits, ModelError>;

    /// As [`next`](Self::next), where only these tokens may come next: their logits are the same, all others `-inf`. A model
    /// that computes logits one by one leaves the others out.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    fn next_of(&self, tokens: &[Token], state: &mut Self::State, allowed: &Allowed) -> Result<Logits, ModelError> {
        let mut logits = self.next(tokens, state)?;
        allowed.mask(&mut logits.0);
        Ok(logits)
    }

    /// Appends `tokens` to `state` and gives the logits after each of them: the same as one [`next`](Self::next) after
    /// another, in one pass where the model can.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    fn next_each(&self, tokens: &[Token], state: &mut Self::State) -> Result<Vec<Logits>, ModelError> {
        check_tokens(tokens, state.len(), self.context(), self.vocab_size())?;
        let start = state.len();
        let rows = tokens.iter().map(|&token| self.next(&[token], state)).collect();
        if Result::<Vec<_>, _>::is_err(&rows) {
            state.truncate(start);
        }
        rows
    }
}

/// Why a model could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// More tokens than a state can hold.
    #[error("{have} tokens and {new} more do not fit the context of {max}; shorten the prompt")]
    ContextFull {
        /// Tokens in the state.
        have: usize,
        /// Tokens to be added.
        new: usize,
        /// Tokens that a state can hold.
        max: usize,
    },
    /// An id that the model has no embedding for.
    #[error(
        "token {token} is not in the vocabulary of {vocab} (ids 0 to {}); do model and tokenizer belong together?",
        vocab.saturating_sub(1)
    )]
    TokenOutOfRange {
        /// The id.
        token: Token,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// There is nothing to continue.
    #[error("there is no token to continue from; give a prompt of at least one token")]
    NoTokens,
    /// The model computed something that is no distribution.
    #[error(
        "the logits after position {position} hold a NaN or +inf, or are all -inf; the weights may be damaged, or \
         the numbers too large for their type"
    )]
    NotFinite {
        /// Position, counted from 0, of the token that these logits follow.
        position: usize,
    },
    /// The tensor library or the device failed.
    #[error("the backend failed: {0}")]
    Backend(String),
}

/// The checks before any call of [`Model::next`]: there are tokens, all of them are in the vocabulary, and they fit
/// into the context after the `have` that the state holds.
///
/// # Errors
/// [`ModelError::NoTokens`], [`ModelError::ContextFull`] or [`ModelError::TokenOutOfRange`].
pub fn check_tokens(tokens: &[Token], have: usize, context: usize, vocab_size: usize) -> Result<(), ModelError> {
    if tokens.is_empty() {
        return Err(ModelError::NoTokens);
    }
    if tokens.len() > context.saturating_sub(have) {
        return Err(ModelError::ContextFull { have, new: tokens.len(), max: context });
    }
    match tokens.iter().find(|token| token.index() >= vocab_size) {
        Some(&token) => Err(ModelError::TokenOutOfRange { token, vocab: vocab_size }),
        None => Ok(()),
    }
}
