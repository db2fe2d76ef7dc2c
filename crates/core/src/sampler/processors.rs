//! The steps that look at the tokens so far, and that greedy choice obeys too. Each changes a row of logits in place.

use super::SamplerConfig;
use crate::Token;

/// The tokens so far: the prompt, then what was generated.
#[derive(Clone, Copy)]
pub(super) struct History<'a> {
    pub all: &'a [Token],
    pub prompt_len: usize,
}

impl<'a> History<'a> {
    pub(super) fn generated(self) -> &'a [Token] {
        self.all.get(self.prompt_len..).unwrap_or_default()
    }
}

/// All of the processors that the config asks for, in the order of Transformers' `generate()`.
pub(super) fn process(config: &SamplerConfig, row: &mut [f32], history: History<'_>, end_tokens: &[Token]) {
    if !config.sequence_bias.is_empty() {
        sequence_bias(row, history.all, &config.sequence_bias);
    }
    if let Some(penalty) = config.repetition_penalty.filter(|penalty| *penalty != 1.0) {
        repetition_penalty(row, history.all, penalty);
    }
    let presence = config.presence_penalty.unwrap_or(0.0);
    let frequency = config.frequency_penalty.unwrap_or(0.0);
    if presence != 0.0 || frequency != 0.0 {
        count_penalties(row, history.generated(), presence, frequency);
    }
    if let Some(size) = config.no_repeat_ngram {
        no_repeat_ngram(row, history.all, size);
    }
    bad_words(row, history.all, &config.bad_words, end_tokens);
    if history.generated().len() < config.min_new_tokens {
        forbid(row, end_tokens);
    }
    forbid(row, &config.suppress);
}

/// The biases of a token are summed before they are added, so that their order does not matter.
fn sequence_bias(row: &mut [f32], history: &[Token], biases: &[(Vec<Token>, f32)]) {
    let mut sums: Vec<(Token, f32)> =
        biases.iter().filter_map(|(sequence, bias)| Some((completed_by(history, sequence)?, *bias))).collect();
    sums.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    for same in sums.chunk_by(|a, b| a.0 == b.0) {
        let bias: f32 = same.iter().map(|(_, bias)| bias).sum();
        change(row, same[0].0, |logit| logit + bias);
    }
}

fn repetition_penalty(row: &mut [f32], history: &[Token], penalty: f32) {
    let mut seen = vec![false; row.len()];
    for &token in history {
        if let Some(seen) = seen.get_mut(token.index())
            && !std::mem::replace(seen, true)
        {
            change(row, token, |logit| if logit < 0.0 { logit * penalty } else { logit / penalty });
        }
    }
}

fn count_penalties(row: &mut [f32], generated: &[Token], presence: f32, frequency: f32) {
    let mut counts = vec![0u32; row.len()];
    for token in generated {
        if let Some(count) = counts.get_mut(token.index()) {
            *count = count.saturating_add(1);
        }
    }
    for token in generated {
        // Taking the count leaves 0 for the token's next appearance, so each is penalised once.
        let count = counts.get_mut(token.index()).map_or(0, std::mem::take);
        if count > 0 {
            change(row, *token, |logit| logit - (count as f32 * frequency + presence));
        }
    }
}

fn no_repeat_ngram(row: &mut [f32], history: &[Token], size: usize) {
    if history.len() < size {
        return;
    }
    let begun = &history[history.len() + 1 - size..];
    for ngram in history.windows(size) {
        if let Some((last, start)) = ngram.split_last()
            && start == begun
        {
            change(row, *last, |_| f32::NEG_INFINITY);
        }
    }
}

fn bad_words(row: &mut [f32], history: &[Token], words: &[Vec<Token>], end_tokens: &[Token]) {
    for word in words {
        let is_end = matches!(word.as_slice(), [token] if end_tokens.contains(token));
        if let Some(last) = completed_by(history, word).filter(|_| !is_end) {
            change(row, last, |_| f32::NEG_INFINITY);
        }
    }
}

fn forbid(row: &mut [f32], tokens: &[Token]) {
    for &token in tokens {
        change(row, token, |_| f32::NEG_INFINITY);
    }
}

/// The last token of `sequence`, if all before it is how `history` ends.
fn completed_by(history: &[Token], sequence: &[Token]) -> Option<Token> {
    let (&last, start) = sequence.split_last()?;
    history.ends_with(start).then_some(last)
}

/// Passes over ids outside the row: end tokens and history are not the sampler's to check.
fn change(row: &mut [f32], token: Token, new: impl Fn(f32) -> f32) {
    if let Some(logit) = row.get_mut(token.index()) {
        *logit = new(*logit);
    }
}
