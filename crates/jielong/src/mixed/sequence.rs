//! Segments as sequences of a vocabulary.

use std::ops::Range;

use anyhow::Result;
use jielong_core::{Segment, Token, Vocab, VocabError};
use jielong_text::{SkipSpecials, Tokenizer};

/// Turns segments into tokens, and texts into segments and back.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// The ids.
    pub vocab: &'a Vocab,
    /// The text among them.
    pub tokenizer: &'a Tokenizer,
}

/// What is given: the beginning of a sequence, between two segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<Token>,
    texts: Vec<Range<usize>>,
}

/// A whole sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is given.
    pub prompt: Prompt,
    /// What is asked for, up to the end of the sequence.
    pub answer: Vec<Token>,
    /// An answer that was not liked.
    pub rejected: Option<Vec<Token>>,
}

impl Prompt {
    /// The prompt without its texts: what guidance leads away from.
    pub fn without_texts(&self) -> Vec<Token> {
        let kept = self.tokens.iter().enumerate().filter(|(at, _)| !self.texts.iter().any(|text| text.contains(at)));
        kept.map(|(_, token)| *token).collect()
    }
}

impl Example {
    /// What is given and what is asked for.
    pub fn tokens(&self) -> Vec<Token> {
        [&*self.prompt.tokens, &self.answer].concat()
    }

    /// How many tokens it has, with the longer answer.
    pub fn len(&self) -> usize {
        self.prompt.tokens.len() + self.answer.len().max(self.rejected.as_ref().map_or(0, Vec::len))
    }

    /// Never: a sequence has a beginning.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Sequences<'_> {
    /// A text as a segment: of a tokenizer's ids, which are never control tokens, or of symbols.
    ///
    /// # Errors
    /// A text that is not made of the kind's symbols.
    pub fn text(&self, kind: usize, text: &str) -> Result<Segment> {
        let of = &self.vocab.kinds()[kind];
        let values = match of.text {
            true => self.tokenizer.encode_plain(text)?.into_iter().map(|token| token.0).collect(),
            false => of.codes_of(text)?,
        };
        Ok(Segment::open(kind, 1, values))
    }

    /// The text of a segment of text or symbols.
    ///
    /// # Errors
    /// The tokenizer cannot say it.
    pub fn text_of(&self, segment: &Segment) -> Result<String> {
        let of = &self.vocab.kinds()[segment.kind];
        if !of.text {
            return Ok(of.text_of(&segment.values));
        }
        let tokens: Vec<Token> = segment.values.iter().map(|&id| Token(id)).collect();
        Ok(self.tokenizer.decode(&tokens, SkipSpecials::No)?)
    }

    /// The beginning of a sequence with these segments.
    ///
    /// # Errors
    /// As [`Vocab::frame`].
    pub fn prompt(&self, segments: &[Segment]) -> Result<Prompt, VocabError> {
        let mut prompt = Prompt { tokens: vec![self.vocab.begin()], texts: Vec::new() };
        for segment in segments {
            let start = prompt.tokens.len();
            prompt.tokens.extend(self.vocab.frame(segment)?);
            if self.vocab.kinds()[segment.kind].text {
                prompt.texts.push(start..prompt.tokens.len());
            }
        }
        Ok(prompt)
    }

    /// A whole sequence, or two that differ in the answer.
    ///
    /// # Errors
    /// As [`Vocab::frame`].
    pub fn example(
        &self,
        prompt: &[Segment],
        answer: &Segment,
        rejected: Option<&Segment>,
    ) -> Result<Example, VocabError> {
        let ended = |answer: &Segment| -> Result<Vec<Token>, VocabError> {
            let mut tokens = self.vocab.frame(answer)?;
            tokens.push(self.vocab.end());
            Ok(tokens)
        };
        let rejected = rejected.map(ended).transpose()?;
        Ok(Example { prompt: self.prompt(prompt)?, answer: ended(answer)?, rejected })
    }
}
