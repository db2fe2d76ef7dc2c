//! What a user can ask of the sampler, and the checks on it.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::Token;

/// How the next token is chosen. The default draws from the model's own distribution; `None`, an empty list or 0 leaves
/// a step out. The names are those of Hugging Face's generation config; for the order of the steps see [the module](super).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// Logits are divided by this; below 1 the likely becomes likelier. 0 is greedy: always the likeliest token, of
    /// equal ones that with the lowest id.
    pub temperature: f32,
    /// Only the k likeliest tokens, 1 or more; those that tie with the last stay too.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability, in (0, 1] (nucleus sampling, arXiv 1904.09751).
    pub top_p: Option<f32>,
    /// Only tokens at least this many times as likely as the likeliest, in [0, 1] (arXiv 2407.01082).
    pub min_p: Option<f32>,
    /// Only the tokens whose surprise is nearest the expected one and that together reach this probability, in (0, 1]
    /// (locally typical sampling, arXiv 2202.00666).
    pub typical_p: Option<f32>,
    /// Only the likeliest tokens that together hold this share of the entropy of the best 100, in (0, 1]
    /// (arXiv 2509.02510).
    pub top_h: Option<f32>,
    /// Only tokens of at least this probability, in [0, 1) (arXiv 2210.15191).
    pub epsilon_cutoff: Option<f32>,
    /// Only tokens of at least the probability min(ε, √ε · exp(−entropy)), in [0, 1) (arXiv 2210.15191).
    pub eta_cutoff: Option<f32>,
    /// Logits of tokens in prompt or answer are divided by this if positive and multiplied if negative; above 0, and 1
    /// does nothing (arXiv 1909.05858).
    pub repetition_penalty: Option<f32>,
    /// Taken off the logit of every token that was generated at least once (OpenAI's formula; the prompt does not count).
    pub presence_penalty: Option<f32>,
    /// Taken off the logit of a token as many times as it was generated (OpenAI's formula; the prompt does not count).
    pub frequency_penalty: Option<f32>,
    /// No sequence of this many tokens, 1 or more, appears twice in prompt and answer.
    pub no_repeat_ngram: Option<usize>,
    /// Sequences that must not be completed. A word that is nothing but an end token is passed over, as Transformers
    /// does; use `suppress` to forbid the end.
    pub bad_words: Vec<Vec<Token>>,
    /// Added to the logit of the last token of a sequence when the tokens before it are there; a sequence of one is the
    /// logit bias known from other interfaces. `-inf` forbids.
    pub sequence_bias: Vec<(Vec<Token>, f32)>,
    /// Tokens that are never chosen.
    pub suppress: Vec<Token>,
    /// End tokens are not chosen before so many tokens were generated.
    pub min_new_tokens: usize,
    /// The same seed draws the same tokens. Without one a seed is made up; [`Sampler::seed`](super::Sampler::seed)
    /// tells which.
    pub seed: Option<u64>,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            typical_p: None,
            top_h: None,
            epsilon_cutoff: None,
            eta_cutoff: None,
            repetition_penalty: None,
            presence_penalty: None,
            frequency_penalty: None,
            no_repeat_ngram: None,
            bad_words: Vec::new(),
            sequence_bias: Vec::new(),
            suppress: Vec::new(),
            min_new_tokens: 0,
            seed: None,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sampler: {field} is {found}, expected {expected}")]
pub struct SamplerError {
    /// Which one, as in `bad_words[2]`.
    pub field: String,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

impl SamplerConfig {
    /// Checks every field against its range and the size of the vocabulary.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn validate(&self, vocab_size: usize) -> Result<(), SamplerError> {
        check(vocab_size > 0 && u32::try_from(vocab_size).is_ok(), "vocab_size", vocab_size, "1 to 4294967295")?;
        self.validate_numbers()?;
        for (at, word) in self.bad_words.iter().enumerate() {
            check_sequence(word, vocab_size, &format!("bad_words[{at}]"))?;
        }
        let mut sequences: Vec<&[Token]> = Vec::with_capacity(self.sequence_bias.len());
        for (at, (sequence, bias)) in self.sequence_bias.iter().enumerate() {
            let field = format!("sequence_bias[{at}]");
            check_sequence(sequence, vocab_size, &field)?;
            let legal = !bias.is_nan() && *bias < f32::INFINITY;
            check(legal, &field, bias, "a finite number or -inf")?;
            sequences.push(sequence);
        }
        sequences.sort_unstable();
        let twice = sequences.windows(2).find(|pair| pair[0] == pair[1]);
        if let Some(pair) = twice {
            let found = format!("{} more than once", list(pair[0]));
            check(false, "sequence_bias", found, "each sequence once")?;
        }
        check_sequence_ids(&self.suppress, vocab_size, "suppress")
    }

    fn validate_numbers(&self) -> Result<(), SamplerError> {
        let found = self.temperature;
        let legal = found.is_finite() && found >= 0.0;
        check(legal, "temperature", found, "0 (greedy) or a positive number")?;
        for (field, found) in [("top_k", self.top_k), ("no_repeat_ngram", self.no_repeat_ngram)] {
            if let Some(found) = found {
                check(found > 0, field, found, "1 or more; leave it out for none")?;
            }
        }
        for (field, found) in [("top_p", self.top_p), ("typical_p", self.typical_p), ("top_h", self.top_h)] {
            if let Some(found) = found {
                let legal = found > 0.0 && found <= 1.0;
                check(legal, field, found, "more than 0 and at most 1")?;
            }
        }
        if let Some(found) = self.min_p {
            check((0.0..=1.0).contains(&found), "min_p", found, "0 to 1")?;
        }
        for (field, found) in [("epsilon_cutoff", self.epsilon_cutoff), ("eta_cutoff", self.eta_cutoff)] {
            if let Some(found) = found {
                let legal = (0.0..1.0).contains(&found);
                check(legal, field, found, "at least 0 and less than 1")?;
            }
        }
        if let Some(found) = self.repetition_penalty {
            let legal = found > 0.0 && found.is_finite();
            check(legal, "repetition_penalty", found, "a positive number")?;
        }
        for (field, found) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            if let Some(found) = found {
                check(found.is_finite(), field, found, "a finite number")?;
            }
        }
        Ok(())
    }
}

fn check(legal: bool, field: &str, found: impl Display, expected: &str) -> Result<(), SamplerError> {
    if legal {
        return Ok(());
    }
    Err(SamplerError { field: field.to_owned(), found: found.to_string(), expected: expected.to_owned() })
}

fn check_sequence(sequence: &[Token], vocab_size: usize, field: &str) -> Result<(), SamplerError> {
    check(!sequence.is_empty(), field, "an empty sequence", "at least one token")?;
    check_sequence_ids(sequence, vocab_size, field)
}

fn check_sequence_ids(sequence: &[Token], vocab_size: usize, field: &str) -> Result<(), SamplerError> {
    let bad = sequence.iter().find(|token| token.index() >= vocab_size);
    let Some(bad) = bad else { return Ok(()) };
    let expected = format!("ids from 0 to {}", vocab_size - 1);
    check(false, field, format!("token {bad}"), &expected)
}

fn list(sequence: &[Token]) -> String {
    let ids: Vec<String> = sequence.iter().map(Token::to_string).collect();
    format!("[{}]", ids.join(", "))
}
