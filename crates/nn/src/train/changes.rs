//! Random changes of what is learned from, so that few examples are many: what those of pictures and of sounds share.

use super::Random;

/// A change that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`changes.{key}` = {value}; a number from 0 to {most} is expected")]
pub struct ChangesError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
    /// The largest that is expected.
    pub most: f64,
}

impl ChangesError {
    /// Refuses the first value, of `(key, value, most)`, that is not from 0 to its most.
    ///
    /// # Errors
    /// That one.
    pub fn check(all: &[(&'static str, f64, f64)]) -> Result<(), Self> {
        match all.iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            Some(&(key, value, most)) => Err(Self { key, value, most }),
            None => Ok(()),
        }
    }
}

impl Random {
    /// A number from -1 to 1 for half of the examples, if `amount` is anything.
    pub fn half(&mut self, amount: f64) -> Option<f64> {
        let (chosen, number) = (self.unit() < 0.5, self.between(-1.0, 1.0));
        (chosen && amount > 0.0).then_some(number)
    }
}
