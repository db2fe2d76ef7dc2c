//! How many words of a text are wrong.

use std::iter::zip;

/// Words that are wrong, beside how many there should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordErrors {
    wrong: usize,
    words: usize,
}

impl WordErrors {
    /// Compares a text with what it should be: the fewest words put in, left out or replaced (Levenshtein's distance), whatever their
    /// case.
    pub fn add(&mut self, right: &str, said: &str) {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_lowercase).collect() };
        let (right, said) = (words(right), words(said));
        self.words += right.len();
        self.wrong += distance(&right, &said);
    }

    /// The word error rate: 0 if all is right; above 1 if more is wrong than there should be at all.
    pub fn rate(self) -> f64 {
        self.wrong as f64 / self.words.max(1) as f64
    }
}

fn distance(a: &[String], b: &[String]) -> usize {
    // Distances of the beginning of `a` so far to all beginnings of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (done, word) in a.iter().enumerate() {
        let mut next = vec![done + 1];
        for (at, (replaced, left_out)) in zip(&row, &row[1..]).enumerate() {
            let same = usize::from(b[at] != *word);
            next.push((replaced + same).min(left_out + 1).min(next[at] + 1));
        }
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_put_in_left_out_and_replaced() {
        for (right, said, wrong) in [
            ("one two three", "One two  three", 0),
            ("one two three", "one three", 1),
            ("one two three", "one two two three", 1),
            ("one two three", "one six three", 1),
            ("one two three", "two three four", 2),
            ("one two three", "", 3),
            ("", "one", 1),
        ] {
            let mut errors = WordErrors::default();
            errors.add(right, said);
            assert_eq!(errors, WordErrors { wrong, words: right.split_whitespace().count() }, "{right}: {said}");
        }
        assert_eq!(WordErrors { wrong: 3, words: 4 }.rate(), 0.75);
    }
}
