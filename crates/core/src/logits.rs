//! What a model says about the next token, and how that reads as probabilities.

use std::cmp::Ordering;

use crate::Token;
use crate::select::first;

/// One row of unnormalised log-probabilities, one for every token of the vocabulary in the order of the ids. `-inf`
/// means that the token is impossible.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits(pub Vec<f32>);

impl Logits {
    /// The row as log-probabilities. `None` where it is no distribution: a NaN or `+inf` in it, all of it `-inf`, or
    /// nothing in it.
    pub fn log_probs(&self) -> Option<LogProbs<'_>> {
        let softmax = Softmax::of(self.0.iter().copied());
        softmax.is_distribution().then_some(LogProbs { row: &self.0, softmax })
    }
}

/// A row of logits and what normalises it: the log-softmax, computed where it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct LogProbs<'a> {
    row: &'a [f32],
    softmax: Softmax,
}

impl LogProbs<'_> {
    /// Natural logarithm of the token's probability; `-inf` for an id outside the vocabulary.
    pub fn of(&self, token: Token) -> f32 {
        match self.row.get(token.index()) {
            Some(&logit) => self.softmax.log_prob(logit) as f32,
            None => f32::NEG_INFINITY,
        }
    }

    /// The `count` most likely tokens and their log-probabilities, best first; of equal ones the lower id comes first.
    /// Impossible tokens are left out, so there may be fewer.
    pub fn top(&self, count: usize) -> Vec<(Token, f32)> {
        first(candidates(self.row), count, by_logit)
            .into_iter()
            .map(|candidate| (candidate.token, self.of(candidate.token)))
            .collect()
    }
}

/// A token that can still be drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub token: Token,
    pub logit: f32,
}

/// The possible tokens of a row, in the order of their ids.
pub(crate) fn candidates(row: &[f32]) -> impl Iterator<Item = Candidate> {
    // The sampler refuses vocabularies that a u32 cannot count, and a model's ids are u32 too.
    (0u32..)
        .zip(row)
        .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
        .map(|(id, &logit)| Candidate { token: Token(id), logit })
}

/// Likelier first, then the lower id: a total order, so that no result depends on how something was sorted.
pub(crate) fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.token.cmp(&b.token))
}

/// The largest value; `-inf` if there is none, and NaN is passed over.
pub(crate) fn max(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::NEG_INFINITY, f32::max)
}

/// What turns logits into probabilities, safe from overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    max: f64,
    /// Σ exp(x − max), 1 or more.
    sum: f64,
    log_sum: f64,
}

impl Softmax {
    pub(crate) fn of(values: impl Iterator<Item = f32> + Clone) -> Self {
        let max = f64::from(max(values.clone()));
        let sum: f64 = values.map(|value| (f64::from(value) - max).exp()).sum();
        Self { max, sum, log_sum: sum.ln() }
    }

    /// No NaN, no `+inf`, and something above `-inf`: a NaN is in the sum, and so is ∞ − ∞.
    pub(crate) fn is_distribution(&self) -> bool {
        self.sum.is_finite() && self.max.is_finite()
    }

    pub(crate) fn prob(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max).exp() / self.sum
    }

    /// In nats. The large numbers are subtracted first, so that a common offset of all logits costs no digits.
    pub(crate) fn log_prob(&self, logit: f32) -> f64 {
        f64::from(logit) - self.max - self.log_sum
    }
}
