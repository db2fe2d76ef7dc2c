//! Where the words of a conversation spell an added token, or could become part of one.

use std::collections::{HashMap, HashSet};

/// Added tokens, to be looked for.
pub(crate) struct Marks<'a> {
    /// Whole tokens by their first character, each list with its distinct lengths in bytes.
    by_first: HashMap<char, Vec<usize>>,
    all: HashSet<&'a str>,
    longest: usize,
}

impl<'a> Marks<'a> {
    /// Looks for these; blank ones, of which no harm can come, are left out.
    pub(crate) fn new(tokens: impl Iterator<Item = &'a str>) -> Self {
        let all: HashSet<&str> = tokens.filter(|token| !token.trim().is_empty()).collect();
        let mut by_first: HashMap<char, Vec<usize>> = HashMap::new();
        for token in &all {
            let lengths = by_first.entry(token.chars().next().unwrap_or_default()).or_default();
            if !lengths.contains(&token.len()) {
                lengths.push(token.len());
            }
        }
        let longest = all.iter().map(|token| token.len()).max().unwrap_or(0);
        Self { by_first, all, longest }
    }

    /// Places of characters without which no token in the text is whole.
    pub(crate) fn whole(&self, text: &str) -> Vec<usize> {
        let begins = |&(at, c): &(usize, char)| {
            let lengths = self.by_first.get(&c).map(Vec::as_slice).unwrap_or_default();
            lengths.iter().any(|n| text.get(at..at + n).is_some_and(|part| self.all.contains(part)))
        };
        text.char_indices().filter(begins).map(|(at, _)| solid(text, at)).collect()
    }

    /// The same, and places without which no token comes of the text and what a template writes round it.
    pub(crate) fn whole_or_part(&self, text: &str) -> Vec<usize> {
        let mut places = self.whole(text);
        if text.is_empty() {
            return places;
        }
        let near = |at: usize| text.len() - at < self.longest;
        for (at, c) in text.char_indices().rev().take_while(|(at, _)| near(*at)) {
            if self.by_first.contains_key(&c) && self.all.iter().any(|token| token.starts_with(&text[at..])) {
                places.push(solid(text, at));
            }
        }
        for (at, c) in text.char_indices().take_while(|(at, _)| *at < self.longest) {
            if self.all.iter().any(|token| token.ends_with(&text[..at + c.len_utf8()])) && !c.is_whitespace() {
                places.push(at);
            }
        }
        if text.len() < self.longest && self.all.iter().any(|token| token.contains(text)) {
            places.push(solid(text, 0));
        }
        places
    }
}

/// The first character at or after `at` that is not blank, where there is one.
fn solid(text: &str, at: usize) -> usize {
    text[at..].char_indices().find(|(_, c)| !c.is_whitespace()).map_or(at, |(n, _)| at + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_parts_of_them_are_found() {
        let marks = Marks::new(["<|im_end|>", "</think>", "\n\n", "<s>"].into_iter());
        assert_eq!(marks.whole("a<|im_end|>b</think>"), [1, 12]);
        assert_eq!(marks.whole("a\n\n<|im_end"), [0usize; 0]);
        assert_eq!(marks.whole_or_part("a<|im_"), [1]);
        assert_eq!(marks.whole_or_part("end|> a"), [4]);
        assert_eq!(marks.whole_or_part("im_"), [0]);
        assert_eq!(marks.whole_or_part("nothing here"), [0usize; 0]);
    }
}
