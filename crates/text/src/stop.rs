//! Strings that end an answer and are no part of it.

use crate::tokenizer::TokenizerError;

/// Watches a text that comes in pieces for any of several strings.
#[derive(Clone, Debug)]
pub struct StopStrings {
    strings: Vec<String>,
    /// Text that may yet turn out to begin a stop string.
    held: String,
    over: bool,
}

/// What a piece of text came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopPiece {
    /// Text that is certainly no part of a stop string.
    pub text: String,
    /// Index of the stop string that appeared; nothing is let out after it.
    pub stopped: Option<usize>,
}

impl StopStrings {
    /// Watches for these strings; none is fine.
    ///
    /// # Errors
    /// [`TokenizerError::EmptyStop`]: an empty string would end every answer before it began.
    pub fn new(strings: Vec<String>) -> Result<Self, TokenizerError> {
        if strings.iter().any(String::is_empty) {
            return Err(TokenizerError::EmptyStop);
        }
        Ok(Self { strings, held: String::new(), over: false })
    }

    /// Adds a piece of text. The stop string that is complete first wins; of several that end at one place, the longest.
    pub fn push(&mut self, piece: &str) -> StopPiece {
        if self.over {
            return StopPiece::default();
        }
        self.held.push_str(piece);
        let places = self.strings.iter().enumerate().filter_map(|(index, stop)| {
            let at = self.held.find(stop)?;
            Some((at + stop.len(), at, index))
        });
        if let Some((_, at, index)) = places.min() {
            self.over = true;
            self.held.truncate(at);
            return StopPiece { text: std::mem::take(&mut self.held), stopped: Some(index) };
        }
        let rest = self.held.split_off(self.open());
        StopPiece { text: std::mem::replace(&mut self.held, rest), stopped: None }
    }

    /// Where the held text first may begin an unfinished stop string.
    fn open(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        let begins = |at: &usize| {
            let tail = &self.held.as_bytes()[*at..];
            self.strings.iter().any(|s| s.len() > tail.len() && s.as_bytes().starts_with(tail))
        };
        let from = self.held.len().saturating_sub(longest);
        let starts = self.held.char_indices().map(|(at, _)| at).skip_while(|&at| at < from);
        starts.into_iter().find(begins).unwrap_or(self.held.len())
    }

    /// The end of the text: what was held back is let out.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut watch = StopStrings::new(stops.iter().map(|s| s.to_string()).collect()).unwrap();
        let mut text = String::new();
        for piece in pieces {
            let StopPiece { text: out, stopped } = watch.push(piece);
            text.push_str(&out);
            if stopped.is_some() {
                return (text, stopped);
            }
        }
        text.push_str(&watch.finish());
        (text, None)
    }

    #[test]
    fn a_stop_string_is_never_let_out() {
        assert_eq!(run(&["END"], &["abc E", "N", "D def"]), ("abc ".into(), Some(0)));
        assert_eq!(run(&["END"], &["abc EN", "d"]), ("abc ENd".into(), None));
        assert_eq!(run(&["b", "ab"], &["xab"]), ("x".into(), Some(1)));
        assert_eq!(run(&["abcd", "c"], &["abc"]), ("ab".into(), Some(1)));
        assert_eq!(run(&["abcd"], &["abc"]), ("abc".into(), None));
        assert_eq!(run(&["abcd", "c"], &["abc", "x"]), ("ab".into(), Some(1)));
        assert_eq!(run(&[], &["as it is"]), ("as it is".into(), None));
        assert!(StopStrings::new(vec![String::new()]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[abé]{0,30}", cuts in prop::collection::vec(0usize..30, 0..6),
            stops in prop::collection::vec("[abé]{1,4}", 0..3)) {
            let mut at: Vec<usize> = cuts.into_iter().filter(|&c| text.is_char_boundary(c) && c <= text.len()).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (out, stopped) = run(&stops, &pieces);
            let first = stops.iter().enumerate().filter_map(|(i, s)| Some((text.find(s)? + s.len(), text.find(s)?, i))).min();
            match first {
                Some((_, place, index)) => prop_assert_eq!((out.as_str(), stopped), (&text[..place], Some(index))),
                None => prop_assert_eq!((out.as_str(), stopped), (text.as_str(), None)),
            }
        }
    }
}
