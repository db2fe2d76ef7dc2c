//! Codes of a codec as codes of a kind, and back.
//!
//! Where the books are the same, so are the codes. A codec with one large book may also be spread over several small ones whose
//! sizes multiply to its own: a code is then its digits, the lowest first. That keeps a vocabulary small, and a quantiser of levels
//! (FSQ) has such digits by nature: its code is a number whose digits are the levels.

use super::{Kind, Segment, Vocab, VocabError};
use crate::Codes;

impl Kind {
    /// How many codes of this kind a code of these books becomes.
    ///
    /// # Errors
    /// [`VocabError::Books`]: they are others, and do not multiply to the codec's only one either.
    fn digits(&self, books: &[u32]) -> Result<usize, VocabError> {
        let own: Vec<u32> = self.books.iter().map(|book| book.len() as u32).collect();
        let whole = own.iter().try_fold(1u32, |all, &size| all.checked_mul(size));
        if own == books {
            Ok(1)
        } else if whole.is_some_and(|whole| books == [whole]) {
            Ok(own.len())
        } else {
            Err(VocabError::Books { kind: self.name.clone(), own, books: books.to_vec() })
        }
    }
}

impl Vocab {
    /// The segment of a codec's codes; `books` are the codec's.
    ///
    /// # Errors
    /// [`VocabError::Books`].
    pub fn segment(&self, kind: usize, codes: &Codes, books: &[u32]) -> Result<Segment, VocabError> {
        let Kind { books: own, .. } = &self.kinds[kind];
        let values = match self.kinds[kind].digits(books)? {
            1 => codes.values.clone(),
            _ => {
                let digits = |&code: &u32| {
                    own.iter().scan(code, |rest, book| {
                        let size = book.len() as u32;
                        let digit = *rest % size;
                        *rest /= size;
                        Some(digit)
                    })
                };
                codes.values.iter().flat_map(digits).collect()
            }
        };
        Ok(Segment { kind, grid: codes.grid.clone(), values })
    }

    /// The codec's codes of a whole segment, for media of this size; `books` are the codec's.
    ///
    /// # Errors
    /// [`VocabError::Books`].
    pub fn codes(&self, segment: &Segment, books: &[u32], size: Vec<usize>) -> Result<Codes, VocabError> {
        let kind = &self.kinds[segment.kind];
        let digits = kind.digits(books)?;
        let code = |digits: &[u32]| {
            let sized = kind.books.iter().zip(digits).rev();
            sized.fold(0, |code, (book, digit)| code * book.len() as u32 + digit)
        };
        let values = match digits {
            1 => segment.values.clone(),
            _ => segment.values.chunks_exact(digits).map(code).collect(),
        };
        Ok(Codes { size, grid: segment.grid.clone(), books: books.len(), values })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{KindConfig, VocabConfig};

    fn vocab(books: &[u32]) -> Vocab {
        let kind = KindConfig { name: "sound".into(), books: Some(books.to_vec()), ..KindConfig::default() };
        Vocab::new(VocabConfig { begin: "b".into(), end: "e".into(), sizes: 0, kinds: vec![kind] }).unwrap()
    }

    proptest! {
        #[test]
        fn codes_become_digits_and_codes_again(values in prop::collection::vec(0u32..60, 0..9)) {
            let codes = Codes { size: vec![values.len()], grid: vec![values.len()], books: 1, values };
            for books in [&[60][..], &[5, 12], &[3, 4, 5]] {
                let vocab = vocab(books);
                let segment = vocab.segment(0, &codes, &[60]).unwrap();
                prop_assert_eq!(segment.values.len(), codes.values.len() * books.len());
                prop_assert!(vocab.frame(&segment).is_ok());
                prop_assert_eq!(&vocab.codes(&segment, &[60], codes.size.clone()).unwrap(), &codes);
            }
        }
    }

    #[test]
    fn the_lowest_digit_comes_first_and_other_books_are_refused() {
        let codes = Codes { size: vec![1], grid: vec![1], books: 1, values: vec![17] };
        assert_eq!(vocab(&[5, 12]).segment(0, &codes, &[60]).unwrap().values, [2, 3]);
        for other in [&[61][..], &[12, 5], &[]] {
            assert!(matches!(vocab(&[5, 12]).segment(0, &codes, other), Err(VocabError::Books { .. })));
        }
    }
}
