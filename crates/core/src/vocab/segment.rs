//! Segments as tokens, and tokens as segments.

use super::{Vocab, VocabError};
use crate::Token;

/// Codes of one kind: a text, a picture, a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The place of its kind in [`Vocab::kinds`].
    pub kind: usize,
    /// Places: `[rows, columns]`, or `[frames]`.
    pub grid: Vec<usize>,
    /// Local codes, place after place, books innermost; fewer than the grid has if it was cut off. Of text: ids of the tokenizer.
    pub values: Vec<u32>,
}

impl Segment {
    /// A segment without a grid: as many places as it has codes for.
    pub fn open(kind: usize, frame: usize, values: Vec<u32>) -> Self {
        Self { kind, grid: vec![values.len() / frame.max(1)], values }
    }

    /// The segment with the codes that it lacks: those of `blank`, one for each book.
    #[must_use]
    pub fn filled(mut self, blank: &[u32]) -> Self {
        let whole = self.grid.iter().product::<usize>() * blank.len();
        while self.values.len() < whole {
            self.values.push(blank[self.values.len() % blank.len()]);
        }
        self
    }
}

impl Vocab {
    /// The tokens of a segment, with its begin, its sizes and its end.
    ///
    /// # Errors
    /// [`VocabError::Grid`] and [`VocabError::Code`].
    pub fn frame(&self, segment: &Segment) -> Result<Vec<Token>, VocabError> {
        let mut tokens = self.opening(segment.kind, if self.kinds[segment.kind].grid { &segment.grid } else { &[] })?;
        let kind = &self.kinds[segment.kind];
        let places = segment.grid.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        if places.and_then(|places| places.checked_mul(kind.frame())) != Some(segment.values.len()) {
            return Err(VocabError::Grid {
                kind: kind.name.clone(),
                grid: segment.grid.clone(),
                values: segment.values.len(),
                expected: format!("{} of each place are expected", kind.frame()),
            });
        }
        for (at, &code) in segment.values.iter().enumerate() {
            let book = &kind.books[at % kind.frame()];
            if code >= book.len() as u32 {
                let (kind, place, size) = (kind.name.clone(), at / kind.frame(), book.len() as u32);
                return Err(VocabError::Code { kind, place, code, size });
            }
            tokens.push(Token(book.start + code));
        }
        tokens.extend(kind.marks.map(|(_, end)| end));
        Ok(tokens)
    }

    /// The tokens before the codes of a segment: what begins it, and its sizes, as far as they are given.
    ///
    /// # Errors
    /// [`VocabError::Grid`].
    pub fn opening(&self, kind: usize, grid: &[usize]) -> Result<Vec<Token>, VocabError> {
        let sizes = self.sizes();
        let kind = &self.kinds[kind];
        let legal = if kind.grid { grid.is_empty() || grid.len() == 2 } else { grid.is_empty() };
        if !legal || grid.iter().any(|n| !(1..=sizes.len()).contains(n)) {
            return Err(VocabError::Grid {
                kind: kind.name.clone(),
                grid: grid.to_vec(),
                values: 0,
                expected: match kind.grid {
                    true => format!("rows and columns from 1 to {} are expected", sizes.len()),
                    false => "it has no grid".into(),
                },
            });
        }
        let begin = kind.marks.map(|(begin, _)| begin);
        Ok(begin.into_iter().chain(grid.iter().map(|&n| Token(sizes.start + n as u32 - 1))).collect())
    }

    /// The segments of a sequence, or of a part of one that begins between segments. The last may be cut off: its grid is then what
    /// was said of it, its codes those that are there. A segment whose size was not said yet, a frame that is not whole, and
    /// tokens out of place are left out.
    pub fn split(&self, tokens: &[Token]) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut rest = tokens.iter().copied().peekable();
        while let Some(token) = rest.next() {
            let begun = self.kinds.iter().position(|kind| kind.marks.is_some_and(|(begin, _)| begin == token));
            if let Some(index) = begun {
                let kind = &self.kinds[index];
                let sizes = self.sizes();
                let mut grid = Vec::new();
                while kind.grid && grid.len() < 2 {
                    let Some(token) = rest.next_if(|token| sizes.contains(&token.0)) else { break };
                    grid.push((token.0 - sizes.start + 1) as usize);
                }
                let mut values = Vec::new();
                while let Some(token) = rest.next_if(|token| kind.books[values.len() % kind.frame()].contains(&token.0))
                {
                    values.push(token.0 - kind.books[values.len() % kind.frame()].start);
                }
                if !kind.grid {
                    values.truncate(values.len() / kind.frame() * kind.frame());
                    segments.push(Segment::open(index, kind.frame(), values));
                } else if let [rows, columns] = grid[..] {
                    values.truncate(rows * columns * kind.frame());
                    segments.push(Segment { kind: index, grid, values });
                }
                continue;
            }
            let free = self.kinds.iter().position(|kind| kind.marks.is_none() && kind.books[0].contains(&token.0));
            if let Some(kind) = free {
                let mut values = vec![token.0];
                while let Some(token) = rest.next_if(|token| self.kinds[kind].books[0].contains(&token.0)) {
                    values.push(token.0);
                }
                segments.push(Segment::open(kind, 1, values));
            }
        }
        segments
    }
}
