//! Text from tokens as they come, as valid UTF-8.
//!
//! A character may span several tokens: bytes are held back until it is complete. A byte that can never be part of a
//! character becomes U+FFFD at once, an unfinished character only at the end, so that the pieces joined are always the
//! text of all tokens together.

use jielong_core::Token;

use crate::pieces::Pieces;
use crate::tokenizer::{SkipSpecials, Tokenizer, TokenizerError};

/// Turns tokens into text, piece by piece.
#[derive(Clone, Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    skip: SkipSpecials,
    /// Bytes of an unfinished character.
    held: Vec<u8>,
    /// Something was written already.
    begun: bool,
    /// All tokens, where only the library's decoder can join them.
    tokens: Vec<Token>,
    /// Bytes of the library's text that were handed out.
    written: usize,
}

impl TextStream {
    pub(crate) fn new(tokenizer: Tokenizer, skip: SkipSpecials) -> Self {
        Self { tokenizer, skip, held: Vec::new(), begun: false, tokens: Vec::new(), written: 0 }
    }

    /// The text that is certain after this token; often empty.
    ///
    /// # Errors
    /// [`TokenizerError::NoToken`] for an id outside the vocabulary; the stream goes on as if it had not come.
    pub fn push(&mut self, token: Token) -> Result<String, TokenizerError> {
        let entry = self.tokenizer.entry(token)?;
        if self.skip == SkipSpecials::Yes && self.tokenizer.is_special(token) {
            return Ok(String::new());
        }
        if self.tokenizer.pieces() == Pieces::Other {
            return self.push_whole(token);
        }
        let mut bytes = self.tokenizer.pieces().bytes(&entry);
        let drops = self.tokenizer.pieces() == Pieces::SentencePiece { drop_first_space: true };
        if drops && !self.begun && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        self.begun = true;
        self.held.extend(bytes);
        Ok(self.certain())
    }

    /// What can no longer change of the bytes held back.
    fn certain(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    match error.error_len() {
                        Some(bad) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &rest[bad..];
                        }
                        None => break, // an unfinished character
                    }
                }
            }
        }
        self.held = rest.to_vec();
        text
    }

    /// With the library's decoder: the text of all tokens, less what was handed out.
    fn push_whole(&mut self, token: Token) -> Result<String, TokenizerError> {
        self.tokens.push(token);
        let text = self.tokenizer.join(&self.tokens)?;
        let settled = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        let piece = text.get(self.written..settled).unwrap_or_default().to_owned();
        self.written += piece.len();
        Ok(piece)
    }

    /// The end of the text: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        if !self.tokens.is_empty() {
            let text = self.tokenizer.join(&self.tokens).unwrap_or_default();
            return text.get(self.written..).unwrap_or_default().to_owned();
        }
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}
