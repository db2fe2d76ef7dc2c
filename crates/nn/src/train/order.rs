//! Which item comes when: another permutation in each epoch, a function of seed and position.

use super::random::Random;

/// An item to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which one.
    pub index: usize,
    /// What its random changes begin with; another in each epoch.
    pub seed: u64,
}

/// So many of all, evenly spread from the first on; all of them where there are no more.
pub fn spread<T>(all: &[T], count: usize) -> impl Iterator<Item = &T> {
    let count = count.min(all.len());
    (0..count).map(move |index| &all[index * all.len() / count])
}

/// The endless order of items.
#[derive(Debug)]
pub(super) struct Order {
    items: usize,
    seed: u64,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// An order of `items`, which are not none.
    pub(super) fn new(items: usize, seed: u64) -> Self {
        Self { items, seed, epoch: None }
    }

    /// The items from this position on.
    pub(super) fn take(&mut self, position: u64, count: usize) -> Vec<Item> {
        (position..).take(count).map(|position| self.item(position)).collect()
    }

    fn item(&mut self, position: u64) -> Item {
        let (epoch, place) = (position / self.items as u64, (position % self.items as u64) as usize);
        let order = match &mut self.epoch {
            Some((of, order)) if *of == epoch => order,
            other => &mut other.insert((epoch, Random::at(&[self.seed, epoch]).permutation(self.items))).1,
        };
        Item { index: order[place], seed: Random::at(&[self.seed, position, 1]).bits() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_every_item_once_and_a_position_is_enough_to_go_on() {
        let all = Order::new(7, 3).take(0, 21);
        for epoch in all.chunks(7) {
            let mut indices: Vec<usize> = epoch.iter().map(|item| item.index).collect();
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(all[..7], all[7..14]);
        assert_eq!(Order::new(7, 3).take(5, 16), all[5..]);
        assert_ne!(Order::new(7, 4).take(0, 21), all);
        assert!(all.iter().enumerate().all(|(i, a)| all[..i].iter().all(|b| a.seed != b.seed)));
    }
}
