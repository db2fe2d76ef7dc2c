//! A vocabulary as data: `configs/vocab/*.toml`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Kind, VocabError};
use crate::Token;

/// More ids than any model has.
const LIMIT: u64 = 1 << 24;

/// What there is, in the order of the ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabConfig {
    /// Name of the token that begins every sequence.
    #[serde(default = "begin")]
    pub begin: String,
    /// Name of the token that ends every sequence.
    #[serde(default = "end")]
    pub end: String,
    /// The most rows and columns that a grid can have: so many tokens say a size.
    #[serde(default)]
    pub sizes: u32,
    /// The kinds. Text comes first, as a tokenizer's ids begin at 0.
    #[serde(rename = "kind")]
    pub kinds: Vec<KindConfig>,
}

fn begin() -> String {
    "<|begin|>".into()
}

fn end() -> String {
    "<|end|>".into()
}

/// A kind: exactly one of `text`, `books` and `symbols` says what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindConfig {
    /// Its name.
    pub name: String,
    /// Ids of a tokenizer, from 0 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<u32>,
    /// Sizes of a codec's books.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub books: Option<Vec<u32>>,
    /// Pieces of text, each of which is a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Vec<String>>,
    /// Text that stands free between the segments, without a begin and an end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub free: bool,
    /// Rows and columns are said before the codes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub grid: bool,
    /// The codec of the codes: a name or a folder; `rgb` and `mulaw` are pixels and samples as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
}

/// A field that is wrong.
pub(super) fn wrong(field: impl Into<String>, problem: impl Into<String>) -> VocabError {
    VocabError::Config { field: field.into(), problem: problem.into() }
}

impl VocabConfig {
    /// Names of all ids after those of a tokenizer, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let Self { begin, end, sizes, kinds } = self;
        let shared = [begin.clone(), end.clone()].into_iter().chain((1..=*sizes).map(|size| format!("<|{size}|>")));
        shared.chain(kinds.iter().flat_map(KindConfig::names))
    }

    pub(super) fn check(&self) -> Result<(), VocabError> {
        if self.begin.is_empty() || self.end.is_empty() {
            return Err(wrong("begin", "a name is expected, and one for `end`"));
        }
        if self.kinds.is_empty() {
            return Err(wrong("kind", "there is none; a vocabulary has one at least"));
        }
        let mut total = 2 + u64::from(self.sizes);
        for (at, kind) in self.kinds.iter().enumerate() {
            let field = |name: &str| format!("kind[{at}].{name}");
            total += kind.check(&field)?;
            if kind.text.is_some() && at > 0 {
                return Err(wrong(field("text"), "text is the first kind, as a tokenizer's ids begin at 0"));
            }
            if kind.grid && self.sizes == 0 {
                return Err(wrong("sizes", format!("`{}` has a grid; how many rows and columns at most?", kind.name)));
            }
            if self.kinds[..at].iter().any(|other| other.name == kind.name) {
                return Err(wrong(field("name"), format!("there are two kinds `{}`", kind.name)));
            }
            if total > LIMIT {
                return Err(wrong(field("books"), format!("more than {LIMIT} ids in all")));
            }
        }
        Ok(())
    }
}

impl KindConfig {
    /// How many ids it takes.
    fn check(&self, field: &dyn Fn(&str) -> String) -> Result<u64, VocabError> {
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            return Err(wrong(field("name"), "letters, digits, `-` and `_` are expected"));
        }
        let problem = match (&self.text, &self.books, &self.symbols) {
            (Some(count), None, None) if *count > 0 => {
                return match self.grid {
                    true => Err(wrong(field("grid"), "text has none")),
                    false => Ok(u64::from(*count) + 2),
                };
            }
            _ if self.free => return Err(wrong(field("free"), "only text can stand free")),
            (None, Some(books), None) if !books.is_empty() && books.iter().all(|&size| size > 0) => {
                return Ok(books.iter().map(|&size| u64::from(size)).sum::<u64>() + 2);
            }
            (None, None, Some(symbols)) if !symbols.is_empty() && symbols.iter().all(|s| !s.is_empty()) => {
                return Ok(symbols.len() as u64 + 2);
            }
            (Some(_), None, None) => ("text", "a tokenizer has one id at least"),
            (None, Some(_), None) => ("books", "sizes of books from 1 on are expected"),
            (None, None, Some(_)) => ("symbols", "pieces of text are expected, none of them empty"),
            _ => ("name", "exactly one of `text`, `books` and `symbols` is expected"),
        };
        Err(wrong(field(problem.0), problem.1))
    }

    /// The kind with its ids, from `next` on, which moves behind them.
    pub(super) fn laid_out(&self, next: &mut u32) -> Kind {
        let mut take = |count: u32| -> Range<u32> {
            *next += count;
            *next - count..*next
        };
        let marks = (!self.free).then(|| take(2)).map(|ids| (Token(ids.start), Token(ids.start + 1)));
        let books = match (self.text, &self.books) {
            (Some(count), _) => std::iter::once(0..count).collect(),
            (None, Some(books)) => books.iter().map(|&size| take(size)).collect(),
            (None, None) => vec![take(self.symbols.as_ref().map_or(0, Vec::len) as u32)],
        };
        Kind {
            name: self.name.clone(),
            marks,
            books,
            text: self.text.is_some(),
            grid: self.grid,
            symbols: self.symbols.clone().unwrap_or_default(),
            codec: self.codec.clone(),
        }
    }

    /// Names of its ids, those of a tokenizer left out.
    pub(super) fn names(&self) -> Vec<String> {
        let name = &self.name;
        let marks = if self.free { Vec::new() } else { vec![format!("<|{name}|>"), format!("<|/{name}|>")] };
        let books = self.books.iter().flatten().enumerate();
        let codes = books.flat_map(|(book, &size)| {
            (0..size).map(move |code| match book {
                0 => format!("<|{name}:{code}|>"),
                _ => format!("<|{name}.{book}:{code}|>"),
            })
        });
        let symbols = self.symbols.iter().flatten().map(|symbol| format!("<|{name}:{symbol}|>"));
        marks.into_iter().chain(codes).chain(symbols).collect()
    }
}
