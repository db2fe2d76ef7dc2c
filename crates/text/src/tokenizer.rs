//! A tokenizer, from a `tokenizer.json` or a GGUF vocabulary, through the `tokenizers` library.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use jielong_core::Token;
use serde_json::Value;

use crate::gguf_vocab::{self, GgufVocab};
use crate::pieces::Pieces;
use crate::stream::TextStream;
use crate::template::{Span, SpanKind};

/// Why a tokenizer cannot be read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a usable tokenizer.
    #[error("{name}: {problem}")]
    Invalid {
        /// The file.
        name: String,
        /// What was found, and in which field.
        problem: String,
    },
    /// The library failed on a text.
    #[error("the tokenizer cannot encode this text: {0}")]
    Encode(String),
    /// Another number of entries than was asked for.
    #[error("the vocabulary of text has {found} entries, not {size}")]
    Learn {
        /// As many as there are.
        found: usize,
        /// As many as were asked for.
        size: usize,
    },
    /// An id outside the vocabulary.
    #[error("token {token} is not in the vocabulary of {size}")]
    NoToken {
        /// The id.
        token: Token,
        /// Size of the vocabulary.
        size: usize,
    },
    /// A stop string without a character.
    #[error("a stop string is empty; it would end every answer before it began")]
    EmptyStop,
}

/// Whether a text gets the tokenizer's own special tokens, such as one that begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// As the tokenizer's post-processor says.
    Add,
    /// None.
    None,
}

/// Whether decoded text leaves special tokens out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipSpecials {
    /// They are left out.
    Yes,
    /// They are written as their names.
    No,
}

/// Text to tokens and back. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.0.size).finish_non_exhaustive()
    }
}

struct Inner {
    full: tokenizers::Tokenizer,
    /// The same without added tokens, made when it is first needed.
    plain: OnceLock<tokenizers::Tokenizer>,
    pieces: Pieces,
    /// Added tokens: whether each is flagged special.
    added: HashMap<u32, (String, bool)>,
    size: usize,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Read`] and [`TokenizerError::Invalid`].
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let name = path.display().to_string();
        let json = std::fs::read(path).map_err(|source| TokenizerError::Read { path: name.clone(), source })?;
        Self::from_json(&json, &name)
    }

    /// Reads the contents of a `tokenizer.json`; `name` is for messages.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`]: what the library refuses or stumbles over, ids given twice.
    pub fn from_json(json: &[u8], name: &str) -> Result<Self, TokenizerError> {
        #[derive(serde::Deserialize)]
        struct Outline {
            #[serde(default)]
            decoder: Value,
            #[serde(default)]
            added_tokens: Vec<Added>,
        }
        #[derive(serde::Deserialize)]
        struct Added {
            id: u32,
            content: String,
        }
        let invalid = |problem: String| TokenizerError::Invalid { name: name.into(), problem };
        let Outline { decoder, added_tokens } =
            serde_json::from_slice(json).map_err(|e| invalid(format!("not valid JSON: {e}")))?;
        let mut full = guarded(|| tokenizers::Tokenizer::from_bytes(json)).map_err(invalid)?;
        // Length is the model's business, not that of a file made for training.
        full.with_padding(None);
        full.with_truncation(None)
            .map_err(|e| TokenizerError::Invalid { name: name.into(), problem: e.to_string() })?;
        // The library numbers added tokens itself, and a gap would shift them silently.
        for Added { id, content } in added_tokens {
            let got = full.token_to_id(&content);
            if got != Some(id) {
                let problem = format!("`added_tokens`: {content:?} has id {id}, which is taken or leaves a gap");
                return Err(TokenizerError::Invalid { name: name.into(), problem });
            }
        }
        Self::new(full, Pieces::of_decoder(&decoder), name)
    }

    /// Builds the tokenizer of a GGUF file; `name` is for messages.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`]: an unknown model or pre-tokenizer, by name; lists that do not fit each other.
    pub fn from_gguf(vocab: GgufVocab, name: &str) -> Result<Self, TokenizerError> {
        let invalid = |problem: String| TokenizerError::Invalid { name: name.into(), problem };
        let (full, pieces) = gguf_vocab::build(vocab).map_err(invalid)?;
        Self::new(full, pieces, name)
    }

    /// The contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], if the library cannot write it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.0.full.to_string(true).map_err(|e| TokenizerError::Encode(e.to_string()))
    }

    /// What it is made of.
    pub(crate) fn library(&self) -> &tokenizers::Tokenizer {
        &self.0.full
    }

    fn new(full: tokenizers::Tokenizer, pieces: Pieces, name: &str) -> Result<Self, TokenizerError> {
        let vocab = full.get_vocab(true);
        if vocab.is_empty() {
            return Err(TokenizerError::Invalid { name: name.into(), problem: "the vocabulary is empty".into() });
        }
        let mut seen: HashMap<u32, &str> = HashMap::with_capacity(vocab.len());
        for (entry, &id) in &vocab {
            if let Some(other) = seen.insert(id, entry) {
                let problem = format!("id {id} is given to both {other:?} and {entry:?}");
                return Err(TokenizerError::Invalid { name: name.into(), problem });
            }
        }
        // A post-processor that names tokens which are not there fails only when it runs.
        encoded(&full, "a", true)
            .map_err(|e| TokenizerError::Invalid { name: name.into(), problem: format!("`post_processor`: {e}") })?;
        let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let added =
            full.get_added_tokens_decoder().iter().map(|(&id, t)| (id, (t.content.clone(), t.special))).collect();
        Ok(Self(Arc::new(Inner { full, plain: OnceLock::new(), pieces, added, size })))
    }

    /// Highest id + 1; there may be gaps.
    pub fn vocab_size(&self) -> usize {
        self.0.size
    }

    /// Tokens of a text, in which control tokens are recognised by their names.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizerError> {
        let encoding = encoded(&self.0.full, text, specials == Specials::Add)?;
        Ok(encoding.get_ids().iter().map(|&id| Token(id)).collect())
    }

    /// Tokens of a user's words: no control or other added token comes of them, whatever they spell.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<Token>, TokenizerError> {
        let plain = self.0.plain.get_or_init(|| without_added(&self.0.full));
        let encoding = encoded(plain, text, false)?;
        let ids = encoding.get_ids();
        // A model whose own vocabulary spells a control token: cut the spelling apart.
        let caught = ids.iter().zip(encoding.get_offsets()).find(|(id, _)| self.0.added.contains_key(id));
        if let Some((_, &(start, end))) = caught
            && let Some(cut) = text.get(start..end).and_then(|t| t.char_indices().nth(1)).map(|(n, _)| start + n)
        {
            let mut tokens = self.encode_plain(&text[..cut])?;
            tokens.extend(self.encode_plain(&text[cut..])?);
            return Ok(tokens);
        }
        Ok(ids.iter().map(|&id| Token(id)).collect())
    }

    /// Tokens of a rendered template. An added token is recognised only where no character of it is content; but for that
    /// the tokens are those of the whole text, so that they do not depend on where spans begin and end.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_spans(&self, spans: &[Span]) -> Result<Vec<Token>, TokenizerError> {
        let mut text = String::new();
        let mut content = Vec::new();
        for span in spans {
            let start = text.len();
            text.push_str(&span.text);
            if span.kind == SpanKind::Content && !span.text.is_empty() {
                content.push(start..text.len());
            }
        }
        let mut tokens = Vec::new();
        self.encode_part(&text, 0..text.len(), &content, &mut tokens)?;
        Ok(tokens)
    }

    fn encode_part(
        &self,
        text: &str,
        part: Range<usize>,
        content: &[Range<usize>],
        tokens: &mut Vec<Token>,
    ) -> Result<(), TokenizerError> {
        let encoding = encoded(&self.0.full, &text[part.clone()], false)?;
        let is_content = |range: &Range<usize>| {
            let after = content.partition_point(|c| c.end <= range.start);
            content.get(after).is_some_and(|c| c.start < range.end)
        };
        let found = encoding.get_ids().iter().zip(encoding.get_offsets());
        let caught: Vec<Range<usize>> = found
            .filter(|(id, _)| self.0.added.contains_key(id))
            .map(|(_, &(start, end))| part.start + start..part.start + end)
            .filter(is_content)
            .collect();
        if caught.is_empty() {
            tokens.extend(encoding.get_ids().iter().map(|&id| Token(id)));
            return Ok(());
        }
        let mut at = part.start;
        for range in caught {
            if at < range.start {
                self.encode_part(text, at..range.start, content, tokens)?;
            }
            tokens.extend(self.encode_plain(&text[range.clone()])?);
            at = range.end;
        }
        if at < part.end { self.encode_part(text, at..part.end, content, tokens) } else { Ok(()) }
    }

    /// Text of tokens.
    ///
    /// # Errors
    /// [`TokenizerError::NoToken`].
    pub fn decode(&self, tokens: &[Token], skip: SkipSpecials) -> Result<String, TokenizerError> {
        let mut stream = TextStream::new(self.clone(), skip);
        let mut text = String::new();
        for &token in tokens {
            text.push_str(&stream.push(token)?);
        }
        text.push_str(&stream.finish());
        Ok(text)
    }

    /// Text of tokens as they come, without special tokens.
    pub fn stream(&self) -> TextStream {
        TextStream::new(self.clone(), SkipSpecials::Yes)
    }

    /// The bytes that a token stands for within a text.
    pub fn bytes(&self, token: Token) -> Option<Vec<u8>> {
        Some(self.0.pieces.bytes(&self.0.full.id_to_token(token.0)?))
    }

    /// The text that a token stands for within a text; bytes that are no UTF-8 are replaced.
    pub fn text(&self, token: Token) -> Option<String> {
        self.bytes(token).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The token of a vocabulary entry, in the tokenizer's own writing.
    pub fn id(&self, entry: &str) -> Option<Token> {
        self.0.full.token_to_id(entry).map(Token)
    }

    /// Whether the token is flagged special: a control token.
    pub fn is_special(&self, token: Token) -> bool {
        self.0.added.get(&token.0).is_some_and(|(_, special)| *special)
    }

    /// Tokens recognised before anything else is encoded, with whether they are flagged special.
    pub fn added_tokens(&self) -> Vec<(String, bool)> {
        let mut added: Vec<_> = self.0.added.iter().collect();
        added.sort_unstable_by_key(|(id, _)| **id);
        added.into_iter().map(|(_, token)| token.clone()).collect()
    }

    /// The whole vocabulary in the order of ids: each token and what it stands for.
    pub fn entries(&self) -> Vec<(Token, String)> {
        let ids: HashSet<u32> = self.0.full.get_vocab(true).into_values().collect();
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Some((Token(id), self.text(Token(id))?))).collect()
    }

    pub(crate) fn pieces(&self) -> Pieces {
        self.0.pieces
    }

    pub(crate) fn entry(&self, token: Token) -> Result<String, TokenizerError> {
        self.0.full.id_to_token(token.0).ok_or(TokenizerError::NoToken { token, size: self.0.size })
    }

    /// The library's own joining of tokens, none left out.
    pub(crate) fn join(&self, tokens: &[Token]) -> Result<String, TokenizerError> {
        let ids: Vec<u32> = tokens.iter().map(|t| t.0).collect();
        guarded(|| self.0.full.decode(&ids, false)).map_err(TokenizerError::Encode)
    }
}

/// The same tokenizer without its added tokens.
fn without_added(full: &tokenizers::Tokenizer) -> tokenizers::Tokenizer {
    let mut plain = tokenizers::Tokenizer::new(full.get_model().clone());
    plain.with_normalizer(full.get_normalizer().cloned());
    plain.with_pre_tokenizer(full.get_pre_tokenizer().cloned());
    plain
}

fn encoded(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    specials: bool,
) -> Result<tokenizers::Encoding, TokenizerError> {
    guarded(|| tokenizer.encode(text, specials)).map_err(TokenizerError::Encode)
}

/// Runs the library; its panics on malformed data become errors.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("the tokenizers library failed: {}", said.unwrap_or("without a reason")))
        }
    }
}
