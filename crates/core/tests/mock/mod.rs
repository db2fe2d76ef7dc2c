//! A model whose logits depend on every token it was fed, in order: what a wrong or missing token would change.

use std::cell::RefCell;

use jielong_core::{Logits, Model, ModelError, State, Token, check_tokens};

/// The tokens themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tape(pub Vec<Token>);

impl State for Tape {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

/// Hashes the tape; logits lie in -4 to 4.
pub struct Mock {
    pub vocab_size: usize,
    pub context: usize,
    /// How many tokens each call was given.
    pub calls: RefCell<Vec<usize>>,
    /// Changes a row, given the tape.
    pub spoil: fn(&[Token], &mut Vec<f32>),
}

impl Mock {
    pub fn new(vocab_size: usize, context: usize) -> Self {
        Self { vocab_size, context, calls: RefCell::default(), spoil: |_, _| () }
    }

    #[allow(dead_code, reason = "not every test counts")]
    pub fn fed(&self) -> usize {
        self.calls.borrow().iter().sum()
    }

    pub fn row(&self, tape: &[Token]) -> Vec<f32> {
        let mix = |hash: u64, value: u64| (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let hash = tape.iter().fold(1, |hash, token| mix(hash, u64::from(token.0) + 1));
        let logit = |id| (mix(mix(hash, id), 7) >> 40) as f32 / (1 << 21) as f32 - 4.0;
        let mut row = (0..self.vocab_size as u64).map(logit).collect();
        (self.spoil)(tape, &mut row);
        row
    }
}

impl Model for Mock {
    type State = Tape;

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn context(&self) -> usize {
        self.context
    }

    fn new_state(&self) -> Result<Tape, ModelError> {
        Ok(Tape::default())
    }

    fn next(&self, tokens: &[Token], state: &mut Tape) -> Result<Logits, ModelError> {
        check_tokens(tokens, state.len(), self.context, self.vocab_size)?;
        self.calls.borrow_mut().push(tokens.len());
        state.0.extend_from_slice(tokens);
        Ok(Logits(self.row(&state.0)))
    }
}
