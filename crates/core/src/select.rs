//! The first few of many, without sorting the many.

use std::cmp::Ordering;

/// The `count` items that come first in `order`, in that order. One pass that compares most items once: work grows with
/// the number of items and only logarithmically with `count`.
pub(crate) fn first<T: Copy>(
    items: impl Iterator<Item = T>,
    count: usize,
    order: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    if count == 0 {
        return Vec::new();
    }
    // Twice the count is kept before the worse half is thrown away, so each item is moved a constant number of times.
    let full = count.saturating_mul(2).max(32);
    let mut kept: Vec<T> = Vec::new();
    let mut bar: Option<T> = None;
    for item in items {
        if bar.is_some_and(|bar| order(&item, &bar) != Ordering::Less) {
            continue;
        }
        kept.push(item);
        if kept.len() >= full {
            let (_, last, _) = kept.select_nth_unstable_by(count - 1, &order);
            bar = Some(*last);
            kept.truncate(count);
        }
    }
    kept.sort_unstable_by(&order);
    kept.truncate(count);
    kept
}

/// The shortest beginning of `items`, sorted by `order`, at whose last item `enough` says true (it sees each item once,
/// in order); all of them if it never does. Sorts no more than about eight times what it returns.
pub(crate) fn first_until<T: Copy>(
    items: &[T],
    order: impl Fn(&T, &T) -> Ordering,
    mut enough: impl FnMut(&T) -> bool,
) -> Vec<T> {
    let mut count = 64;
    let mut seen = 0;
    loop {
        let mut sorted = first(items.iter().copied(), count, &order);
        while let Some(item) = sorted.get(seen) {
            seen += 1;
            if enough(item) {
                sorted.truncate(seen);
                return sorted;
            }
        }
        if count >= items.len() {
            return sorted;
        }
        count = count.saturating_mul(8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn first_is_a_sort_and_a_cut(items in prop::collection::vec(0u16..500, 0..2000), count in 0usize..200) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sorted.truncate(count);
            prop_assert_eq!(first(items.into_iter(), count, u16::cmp), sorted);
        }

        #[test]
        fn first_until_is_a_sort_and_a_scan(items in prop::collection::vec(0u16..500, 0..2000), limit in 0u64..200_000) {
            let mut sum = 0;
            let found = first_until(&items, u16::cmp, |item| {
                sum += u64::from(*item);
                sum >= limit
            });
            let mut sorted = items;
            sorted.sort_unstable();
            let mut sum = 0;
            let end = sorted.iter().position(|item| {
                sum += u64::from(*item);
                sum >= limit
            });
            sorted.truncate(end.map_or(usize::MAX, |end| end + 1));
            prop_assert_eq!(found, sorted);
        }
    }
}
