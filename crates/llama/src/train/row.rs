//! What is learned from: rows of tokens in which examples lie one after another, and several such rows as a batch.

use jielong_nn::attention::Sees;

use crate::config::Config;

/// Examples one after another, in a row of one sequence (Krell et al. 2021, *Efficient sequence packing without
/// cross-contamination*). Each sees only itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// For each token the number of its example; neighbours of the same number are of one example.
    pub example: Vec<u32>,
    /// For each token how much its prediction from those before it counts: 0 for the first of an example, and for all that is
    /// only read.
    pub weights: Vec<f32>,
}

impl Row {
    /// Adds an example: its tokens, and how much each counts. The first never does.
    ///
    /// # Panics
    /// If there are not as many weights as tokens.
    pub fn push(&mut self, tokens: &[u32], weights: &[f32]) {
        assert_eq!(tokens.len(), weights.len(), "a weight for each token");
        let number = self.example.last().map_or(0, |last| last.wrapping_add(1));
        self.tokens.extend_from_slice(tokens);
        self.example.resize(self.tokens.len(), number);
        self.weights.extend((0..).zip(weights).map(|(place, &weight)| if place == 0 { 0.0 } else { weight }));
    }
}

/// A row that a model cannot learn from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RowError {
    /// Not one of each for every token.
    #[error("a row has {tokens} tokens, {examples} numbers of examples and {weights} weights")]
    Lengths {
        /// Tokens.
        tokens: usize,
        /// Numbers of examples.
        examples: usize,
        /// Weights.
        weights: usize,
    },
    /// A token outside the vocabulary.
    #[error("token {token} at place {place} of a row is outside the vocabulary of {vocab_size}")]
    Token {
        /// The token.
        token: u32,
        /// Where it is.
        place: usize,
        /// Tokens of the model.
        vocab_size: usize,
    },
    /// A weight that is none.
    #[error("the weight at place {place} of a row is {weight}; {expected} is expected")]
    Weight {
        /// The weight.
        weight: f32,
        /// Where it is.
        place: usize,
        /// What is expected.
        expected: &'static str,
    },
    /// More tokens than the model reads.
    #[error("a row of {length} tokens does not fit the context of {context}")]
    Long {
        /// Tokens of the row.
        length: usize,
        /// Positions of the model.
        context: usize,
    },
    /// Nothing is learned.
    #[error("no token of a batch has a weight above 0")]
    NoWeight,
}

/// Rows of equal length, checked for a model, and which of their tokens are predicted.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) tokens: Vec<u32>, // [rows, length]
    examples: Vec<u32>,          // [rows, length]
    pub(crate) shape: [usize; 2],
    /// For each token with a weight: the place before it, from which it is predicted.
    pub(crate) places: Vec<u32>,
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f32>,
}

impl Batch {
    /// Rows for a model of this config; those that are shorter than the longest are filled up with what counts nothing.
    ///
    /// # Errors
    /// [`RowError`], the first of them.
    pub fn new(rows: &[Row], config: &Config) -> Result<Self, RowError> {
        let length = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        let size = rows.len() * length;
        let mut batch = Self {
            tokens: Vec::with_capacity(size),
            examples: Vec::with_capacity(size),
            shape: [rows.len(), length],
            places: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
        };
        for row in rows {
            check(row, config)?;
            let begin = batch.tokens.len();
            for (place, (&token, &weight)) in row.tokens.iter().zip(&row.weights).enumerate().skip(1) {
                if weight > 0.0 {
                    batch.places.push((begin + place - 1) as u32);
                    batch.targets.push(token);
                    batch.weights.push(weight);
                }
            }
            batch.tokens.extend_from_slice(&row.tokens);
            batch.examples.extend_from_slice(&row.example);
            let padding = row.example.last().map_or(0, |last| last.wrapping_add(1));
            batch.tokens.resize(begin + length, 0);
            batch.examples.resize(begin + length, padding);
        }
        if batch.targets.is_empty() { Err(RowError::NoWeight) } else { Ok(batch) }
    }

    /// What a layer with this window sees.
    pub(crate) fn sees(&self, window: Option<usize>) -> Sees {
        Sees::packed(&self.examples, self.shape[1], window)
    }

    /// Rows and tokens of a row.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The tokens that are predicted.
    #[must_use]
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// How much each of them counts.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}

fn check(row: &Row, config: &Config) -> Result<(), RowError> {
    let length = row.tokens.len();
    if row.example.len() != length || row.weights.len() != length {
        return Err(RowError::Lengths { tokens: length, examples: row.example.len(), weights: row.weights.len() });
    }
    if length > config.context {
        return Err(RowError::Long { length, context: config.context });
    }
    let vocab_size = config.vocab_size;
    if let Some((place, &token)) = row.tokens.iter().enumerate().find(|(_, token)| **token as usize >= vocab_size) {
        return Err(RowError::Token { token, place, vocab_size });
    }
    for (place, &weight) in row.weights.iter().enumerate() {
        let first = place == 0 || row.example[place] != row.example[place - 1];
        if first && weight != 0.0 {
            return Err(RowError::Weight { weight, place, expected: "0 for the first token of an example" });
        }
        if !weight.is_finite() || weight < 0.0 {
            return Err(RowError::Weight { weight, place, expected: "a number from 0 on" });
        }
    }
    Ok(())
}
