//! A few ranges of ids.

use std::ops::Range;

use crate::Token;

/// The tokens that may come next: ranges of ids, sorted and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Range<u32>>);

impl Allowed {
    /// The union of some ranges.
    pub fn new(mut ranges: Vec<Range<u32>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    /// The ranges.
    pub fn ranges(&self) -> &[Range<u32>] {
        &self.0
    }

    /// Whether it is one of them.
    pub fn contains(&self, token: Token) -> bool {
        self.0.iter().any(|range| range.contains(&token.0))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(ExactSizeIterator::len).sum()
    }

    /// Sets every logit of another token to `-inf`.
    pub fn mask(&self, row: &mut [f32]) {
        let mut at = 0;
        for range in &self.0 {
            let [start, end] = [range.start, range.end].map(|id| (id as usize).min(row.len()));
            row[at..start].fill(f32::NEG_INFINITY);
            at = end;
        }
        row[at..].fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mask_leaves_what_is_in_any_range(ranges in prop::collection::vec((0u32..40, 0u32..10), 0..6)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let allowed = Allowed::new(ranges.clone());
            let mut row = vec![1.0; 45];
            allowed.mask(&mut row);
            for id in 0..45 {
                let expected = ranges.iter().any(|range| range.contains(&id));
                prop_assert_eq!(allowed.contains(Token(id)), expected);
                prop_assert_eq!(row[id as usize] == 1.0, expected);
            }
            prop_assert!(allowed.ranges().windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(allowed.count(), (0..60).filter(|&id| allowed.contains(Token(id))).count());
        }
    }
}
