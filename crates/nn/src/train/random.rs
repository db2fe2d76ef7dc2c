//! Random numbers that depend on where they are used, not on what was drawn before: nothing to store, nothing to restore.
//!
//! SplitMix64 (Steele, Lea, Flood 2014, *Fast splittable pseudorandom number generators*).

/// A generator that begins at a place: seed, epoch, item.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// The odd number nearest to 2⁶⁴ over the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The generator of a place. The order of its numbers matters.
    #[must_use]
    pub fn at(place: &[u64]) -> Self {
        Self(place.iter().fold(0, |state, &part| mix(state.wrapping_add(GAMMA) ^ mix(part.wrapping_add(GAMMA)))))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from `low` to below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A number of the normal distribution (Box & Muller 1958).
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let (length, turn) = ((-2.0 * (1.0 - self.unit()).ln()).sqrt(), std::f64::consts::TAU * self.unit());
        mean + deviation * length * turn.cos()
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// `0..count` in random order (Fisher and Yates).
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_their_mean_and_deviation() {
        let mut random = Random::at(&[3]);
        let values: Vec<f64> = (0..20_000).map(|_| random.normal(2.0, 0.5)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 2.0).abs() < 0.02 && (square.sqrt() - 0.5).abs() < 0.01, "{mean} {square}");
        let within = values.iter().filter(|v| (**v - mean).abs() < 0.5).count() as f64 / values.len() as f64;
        assert!((within - 0.6827).abs() < 0.015, "{within} within one deviation");
    }
}
