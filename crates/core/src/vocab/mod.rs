//! One id space for every kind of token, laid out by a config.
//!
//! ```text
//! ids of the tokenizer | begin end | sizes 1 2 … | of each kind: its begin and end, then its codes, book after book
//! ```
//!
//! A sequence is [`Vocab::begin`], segments, [`Vocab::end`]. A segment is the begin of its kind, the sizes of its grid if the kind has
//! one, its codes place after place (books innermost), and its end. A kind that is added at the end of a config moves no
//! other id. [`Machine`] knows what may follow, [`Vocab::frame`] and [`Vocab::split`] turn segments into tokens and back.

mod allowed;
mod codes;
mod config;
mod machine;
mod segment;

use std::collections::HashSet;
use std::ops::Range;

pub use allowed::Allowed;
pub use config::{KindConfig, VocabConfig};
pub use machine::Machine;
pub use segment::Segment;

use crate::Token;

/// A vocabulary of text, control tokens and codes: the only converter between tokens and local codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocab {
    config: VocabConfig,
    kinds: Vec<Kind>,
    /// First id after those of the tokenizer; `begin`, and `end` after it.
    first: u32,
    size: u32,
}

/// A kind of segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// What begins and ends a segment; `None`: its tokens stand free between segments (text of an existing tokenizer).
    pub marks: Option<(Token, Token)>,
    /// Ids of each book's codes.
    pub books: Vec<Range<u32>>,
    /// Its codes are the ids of a tokenizer.
    pub text: bool,
    /// Rows and columns are said before the codes; otherwise a segment is as long as it gets.
    pub grid: bool,
    /// What its codes stand for, where a text says it: codes of this kind and texts turn into each other.
    pub symbols: Vec<String>,
    /// The codec that its codes belong to.
    pub codec: Option<String>,
}

/// A vocabulary that cannot be, or tokens that are not of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabError {
    /// A config that contradicts itself.
    #[error("`{field}`: {problem}")]
    Config {
        /// Which field, as in `kind[2].books`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such kind.
    #[error("there is no kind `{name}` in this vocabulary; it has {}", known.join(", "))]
    NoKind {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A code outside its book.
    #[error("code {code} at place {place} of `{kind}` is outside the book of {size}")]
    Code {
        /// The kind.
        kind: String,
        /// The place.
        place: usize,
        /// The code.
        code: u32,
        /// Codes of the book.
        size: u32,
    },
    /// A codec whose codes are not those of the kind.
    #[error(
        "`{kind}` has the books {own:?}; the codec's are {books:?}, neither the same nor one book of their product"
    )]
    Books {
        /// The kind.
        kind: String,
        /// Its books.
        own: Vec<u32>,
        /// The codec's.
        books: Vec<u32>,
    },
    /// A grid that the kind cannot have.
    #[error("a segment of `{kind}` with the grid {grid:?} and {values} codes: {expected}")]
    Grid {
        /// The kind.
        kind: String,
        /// The grid.
        grid: Vec<usize>,
        /// How many codes.
        values: usize,
        /// What it may be.
        expected: String,
    },
    /// A text that is not made of the kind's symbols.
    #[error("`{kind}` has no symbol for `{rest}`, at byte {at} of the text")]
    Symbol {
        /// The kind.
        kind: String,
        /// Where.
        at: usize,
        /// The text from there, its beginning.
        rest: String,
    },
    /// A token that may not stand where it is.
    #[error("token {token} at position {position} cannot follow what is before it")]
    Illegal {
        /// The token.
        token: Token,
        /// Its position.
        position: usize,
    },
}

impl Vocab {
    /// Lays out the ids.
    ///
    /// # Errors
    /// [`VocabError::Config`], the first field that is wrong.
    pub fn new(config: VocabConfig) -> Result<Self, VocabError> {
        config.check()?;
        let first = config.kinds.iter().find_map(|kind| kind.text).unwrap_or(0);
        let mut next = first + 2 + config.sizes;
        let kinds = config.kinds.iter().map(|kind| kind.laid_out(&mut next)).collect();
        let mut seen = HashSet::new();
        if let Some(name) = config.names().find(|name| !seen.insert(name.clone())) {
            return Err(config::wrong("kind", format!("two tokens are called `{name}`; give them other names")));
        }
        Ok(Self { config, kinds, first, size: next })
    }

    /// What it was made from.
    pub fn config(&self) -> &VocabConfig {
        &self.config
    }

    /// How many ids there are.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// The first token of every sequence.
    pub fn begin(&self) -> Token {
        Token(self.first)
    }

    /// The last token of every sequence.
    pub fn end(&self) -> Token {
        Token(self.first + 1)
    }

    /// Tokens of sizes, from that of 1 on.
    fn sizes(&self) -> Range<u32> {
        self.first + 2..self.first + 2 + self.config.sizes
    }

    /// The kinds, in the order of the config.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The place of a kind by its name.
    ///
    /// # Errors
    /// [`VocabError::NoKind`], with those there are.
    pub fn kind(&self, name: &str) -> Result<usize, VocabError> {
        self.kinds.iter().position(|kind| kind.name == name).ok_or_else(|| VocabError::NoKind {
            name: name.into(),
            known: self.kinds.iter().map(|kind| kind.name.clone()).collect(),
        })
    }

    /// Names of all tokens after those of the tokenizer, in the order of their ids: its added tokens.
    pub fn added(&self) -> impl Iterator<Item = String> {
        self.config.names()
    }
}

impl Kind {
    /// Its codes are those of media, not of a text.
    pub fn is_media(&self) -> bool {
        !self.text && self.symbols.is_empty()
    }

    /// Codes of a place.
    pub fn frame(&self) -> usize {
        self.books.len()
    }

    /// Codes of a text: at each place the longest symbol that fits.
    ///
    /// # Errors
    /// [`VocabError::Symbol`].
    pub fn codes_of(&self, text: &str) -> Result<Vec<u32>, VocabError> {
        let mut codes = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let fitting = (0u32..).zip(&self.symbols).filter(|(_, symbol)| text[at..].starts_with(symbol.as_str()));
            let Some((code, symbol)) = fitting.max_by_key(|(_, symbol)| symbol.len()) else {
                let rest = text[at..].chars().take(12).collect();
                return Err(VocabError::Symbol { kind: self.name.clone(), at, rest });
            };
            codes.push(code);
            at += symbol.len();
        }
        Ok(codes)
    }

    /// The text of codes; what is no code of this kind is left out.
    pub fn text_of(&self, codes: &[u32]) -> String {
        codes.iter().filter_map(|&code| self.symbols.get(code as usize)).map(String::as_str).collect()
    }
}
