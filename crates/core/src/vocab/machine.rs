//! What may follow: a state machine over the tokens of a [`Vocab`].
//!
//! Between segments: the begin of any kind, the tokens of free text, or the end of the sequence. In a segment: its sizes, then its
//! codes place after place, then its end. With `left` tokens to go the machine steers to an end in time: it offers no size
//! whose codes do not fit any more, and no further frame after which there would be no room for the end. A grid whose size was
//! settled before may still be cut off; [`Segment::filled`](super::Segment::filled) is for that.

use super::{Allowed, Vocab, VocabError};
use crate::Token;

/// Where a sequence is, and so what may follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine<'a> {
    vocab: &'a Vocab,
    place: Place,
    read: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// Before the first token.
    Start,
    Between,
    /// Rows are known, or not yet.
    Size {
        kind: usize,
        rows: Option<u32>,
    },
    /// So many codes are read, of so many if that is known.
    Codes {
        kind: usize,
        read: usize,
        of: Option<usize>,
    },
    Over,
}

impl<'a> Machine<'a> {
    /// The machine after these tokens.
    ///
    /// # Errors
    /// [`VocabError::Illegal`] with the first token that may not stand where it is.
    pub fn after(vocab: &'a Vocab, tokens: &[Token]) -> Result<Self, VocabError> {
        let mut machine = Self { vocab, place: Place::Start, read: 0 };
        tokens.iter().try_for_each(|&token| machine.push(token))?;
        Ok(machine)
    }

    /// Reads a token. After an error the machine is where it was.
    ///
    /// # Errors
    /// [`VocabError::Illegal`].
    pub fn push(&mut self, token: Token) -> Result<(), VocabError> {
        let illegal = VocabError::Illegal { token, position: self.read };
        self.place = self.step(token).ok_or(illegal)?;
        self.read += 1;
        Ok(())
    }

    /// The kind of the segment that is being read.
    pub fn kind(&self) -> Option<usize> {
        match self.place {
            Place::Size { kind, .. } | Place::Codes { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// The tokens that may come next, when `left` more may come, this one among them. There is always one, but after the end.
    pub fn allowed(&self, left: usize) -> Allowed {
        let vocab = self.vocab;
        let one = |token: Token| token.0..token.0 + 1;
        let ranges = match &self.place {
            Place::Start => vec![one(vocab.begin())],
            Place::Over => Vec::new(),
            Place::Between => {
                let mut ranges = vec![one(vocab.end())];
                for kind in &vocab.kinds {
                    match kind.marks {
                        // Its begin, its end and the end of the sequence; a grid has two sizes and a place besides.
                        Some((begin, _)) if left >= if kind.grid { 5 + kind.frame() } else { 3 } => {
                            ranges.push(one(begin));
                        }
                        None if left >= 2 => ranges.extend(kind.books.iter().cloned()),
                        _ => {}
                    }
                }
                ranges
            }
            &Place::Size { kind, rows } => {
                let sizes = vocab.sizes();
                let frame = vocab.kinds[kind].frame();
                // After this size: another one if these are the rows, the codes, the end.
                let spare = left.saturating_sub(if rows.is_none() { 3 } else { 2 });
                let most = spare / (frame * rows.unwrap_or(1) as usize).max(1);
                let most = most.clamp(1, sizes.len()) as u32;
                std::iter::once(sizes.start..sizes.start + most).collect()
            }
            &Place::Codes { kind, read, of } => {
                let kind = &vocab.kinds[kind];
                let book = read % kind.frame();
                let end = kind.marks.map(|(_, end)| one(end));
                let more = match of {
                    Some(of) => read < of,
                    None => book != 0 || left > kind.frame(),
                };
                let done = match of {
                    Some(of) => read >= of,
                    None => book == 0,
                };
                let mut ranges: Vec<_> = end.filter(|_| done).into_iter().collect();
                if more {
                    ranges.push(kind.books[book].clone());
                }
                ranges
            }
        };
        Allowed::new(ranges)
    }

    /// Where a token leads, if it may stand here.
    fn step(&self, token: Token) -> Option<Place> {
        let vocab = self.vocab;
        Some(match &self.place {
            Place::Start if token == vocab.begin() => Place::Between,
            Place::Start | Place::Over => return None,
            Place::Between if token == vocab.end() => Place::Over,
            Place::Between => {
                let begun = vocab.kinds.iter().position(|kind| kind.marks.is_some_and(|(begin, _)| begin == token));
                match begun {
                    Some(kind) if vocab.kinds[kind].grid => Place::Size { kind, rows: None },
                    Some(kind) => Place::Codes { kind, read: 0, of: None },
                    None => {
                        let mut free = vocab.kinds.iter().filter(|kind| kind.marks.is_none());
                        free.find(|kind| kind.books.iter().any(|book| book.contains(&token.0)))?;
                        Place::Between
                    }
                }
            }
            &Place::Size { kind, rows } => {
                let sizes = vocab.sizes();
                let size = sizes.contains(&token.0).then(|| token.0 - sizes.start + 1)?;
                match rows {
                    None => Place::Size { kind, rows: Some(size) },
                    Some(rows) => {
                        let of = rows as usize * size as usize * vocab.kinds[kind].frame();
                        Place::Codes { kind, read: 0, of: Some(of) }
                    }
                }
            }
            &Place::Codes { kind: index, read, of } => {
                let kind = &vocab.kinds[index];
                let book = read % kind.frame();
                let whole = book == 0 && of.is_none_or(|of| read == of);
                if whole && kind.marks.is_some_and(|(_, end)| end == token) {
                    return Some(Place::Between);
                }
                let code = kind.books[book].contains(&token.0) && of.is_none_or(|of| read < of);
                code.then_some(Place::Codes { kind: index, read: read + 1, of })?
            }
        })
    }
}
