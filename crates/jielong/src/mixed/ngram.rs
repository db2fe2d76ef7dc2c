//! What is known of the next token from the last few alone: the model that a model of sequences has to beat.

use std::collections::HashMap;

/// Counts of n-grams, interpolated by Witten and Bell's method (1991, *The zero-frequency problem*, method C): a context is
/// trusted the more, the fewer different tokens followed it.
#[derive(Clone, Debug)]
pub struct Ngram {
    /// Tokens of the longest context.
    context: usize,
    counts: HashMap<Vec<u32>, Followers>,
}

#[derive(Clone, Debug, Default)]
struct Followers {
    total: u32,
    each: HashMap<u32, u32>,
}

impl Ngram {
    /// Counts sequences, with contexts of up to `context` tokens.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>, context: usize) -> Self {
        let mut counts: HashMap<Vec<u32>, Followers> = HashMap::new();
        for sequence in sequences {
            for (at, &token) in sequence.iter().enumerate().skip(1) {
                for length in 0..=context.min(at) {
                    let followers = counts.entry(sequence[at - length..at].to_vec()).or_default();
                    followers.total += 1;
                    *followers.each.entry(token).or_default() += 1;
                }
            }
        }
        Self { context, counts }
    }

    /// Probability of a token after others, of which `possible` tokens may come at all.
    pub fn probability(&self, before: &[u32], token: u32, possible: usize) -> f64 {
        let mut probability = 1.0 / possible.max(1) as f64;
        for length in 0..=self.context.min(before.len()) {
            let Some(followers) = self.counts.get(&before[before.len() - length..]) else { break };
            let (total, kinds) = (f64::from(followers.total), followers.each.len() as f64);
            let count = followers.each.get(&token).copied().map_or(0.0, f64::from);
            probability = (count + kinds * probability) / (total + kinds);
        }
        probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_of_one_whole_and_follow_what_was_seen() {
        let sequences = [&[0u32, 1, 2, 3, 1, 2, 3][..], &[0, 2, 2, 1]];
        let ngram = Ngram::new(sequences, 2);
        for before in [&[][..], &[0], &[1, 2], &[9, 9], &[0, 3, 1]] {
            let sum: f64 = (0..5).map(|token| ngram.probability(before, token, 5)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{before:?}: {sum}");
        }
        assert!(ngram.probability(&[1, 2], 3, 5) > 0.6);
        assert!(ngram.probability(&[9, 2], 3, 5) < ngram.probability(&[1, 2], 3, 5));
    }
}
