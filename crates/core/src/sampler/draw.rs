//! The draw itself, and where chance comes from.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use rand_pcg::Pcg64;
use rand_pcg::rand_core::RngCore;

use crate::Token;
use crate::logits::{Candidate, max};

/// PCG's own default stream. It is fixed, as the generator is, so that a seed means the same in every version.
const STREAM: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96;

/// The generator that belongs to a seed.
pub(super) fn generator(seed: u64) -> Pcg64 {
    Pcg64::new(u128::from(seed), STREAM)
}

/// A seed that no one has chosen: the standard library's hash keys come from the operating system, and the time is
/// mixed in. 53 bits, so that it survives as a number in JSON.
pub(super) fn fresh_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    if let Ok(time) = SystemTime::now().duration_since(UNIX_EPOCH) {
        hasher.write_u128(time.as_nanos());
    }
    hasher.finish() >> 11
}

/// Draws one of the candidates, each with the probability that the softmax of their logits gives it. Takes exactly one
/// number from the generator. `None` only where there are no candidates.
pub(super) fn draw(left: &[Candidate], generator: &mut Pcg64) -> Option<Token> {
    // The upper 53 bits make a number in [0, 1) that f64 holds exactly.
    let uniform = (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let max = max(left.iter().map(|candidate| candidate.logit));
    let mut sum = 0.0;
    let sums: Vec<f64> = left
        .iter()
        .map(|candidate| {
            sum += (f64::from(candidate.logit) - f64::from(max)).exp();
            sum
        })
        .collect();
    // The first sum above the target: a candidate that adds nothing is never it. The target is below the last sum but
    // for rounding, and then the likeliest is as good as any.
    let target = uniform * sum;
    let place = sums.partition_point(|sum| *sum <= target);
    let drawn = left.get(place).or_else(|| left.iter().find(|candidate| candidate.logit == max));
    drawn.map(|candidate| candidate.token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_seeds_begin_far_apart() {
        let mut tenths = [0u32; 10];
        for seed in 0..10_000 {
            let uniform = (generator(seed).next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            tenths[(uniform * 10.0) as usize] += 1;
        }
        // 1000 expected in each, standard deviation 30.
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let left: Vec<Candidate> = [(3, 0.5f32), (5, 0.0), (8, 0.3), (9, 0.2)]
            .map(|(id, probability)| Candidate { token: Token(id), logit: probability.ln() + 40.0 })
            .to_vec();
        let mut generator = generator(1);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[draw(&left, &mut generator).unwrap().index()] += 1;
        }
        assert_eq!(counts[5], 0);
        for (id, expected) in [(3, 50_000), (8, 30_000), (9, 20_000)] {
            assert!(counts[id].abs_diff(expected) < 800, "{counts:?}");
        }
    }

    #[test]
    fn fresh_seeds_differ_and_fit_a_json_number() {
        let seeds = [fresh_seed(), fresh_seed()];
        assert_ne!(seeds[0], seeds[1]);
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
    }
}
