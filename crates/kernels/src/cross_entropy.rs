//! How well a class is predicted, and the gradient: one pass over a row of logits each.

use crate::cpu::Isa;
use crate::layers::for_each_isa;
use crate::math::exp;
use crate::matmul::columns::LANES;

/// `ln Σ exp(x)` of a row of logits; NaN where it has no largest one that is finite.
pub fn log_sum_exp(isa: Isa, x: &[f32]) -> f32 {
    let mut out = [0.0; 2];
    sum(isa, x, &mut out);
    let [most, sum] = out;
    if most.is_finite() { most + sum.ln() } else { f32::NAN }
}

/// `out = scale · exp(x − log_sum)`: with [`log_sum_exp`] of the row the probabilities, times a scale.
///
/// # Panics
/// If the lengths differ.
pub fn probabilities(isa: Isa, x: &[f32], log_sum: f32, scale: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "a probability for each logit");
    scaled(isa, x, [log_sum, scale], out);
}

for_each_isa! {
    /// The largest, and `Σ exp(x − largest)`.
    fn sum(x: &[f32], out: &mut [f32; 2]) {
        let (runs, rest) = x.as_chunks::<LANES>();
        let mut most = [f32::NEG_INFINITY; LANES];
        for run in runs {
            for lane in 0..LANES {
                most[lane] = if run[lane] > most[lane] { run[lane] } else { most[lane] };
            }
        }
        let most = most.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0f32; LANES];
        for run in runs {
            for lane in 0..LANES {
                sums[lane] += exp(run[lane] - most);
            }
        }
        let rest: f32 = rest.iter().map(|x| exp(x - most)).sum();
        *out = [most, sums.iter().sum::<f32>() + rest];
    }
}

for_each_isa! {
    fn scaled(x: &[f32], by: [f32; 2], out: &mut [f32]) {
        let [log_sum, scale] = by;
        for (out, x) in out.iter_mut().zip(x) {
            *out = scale * exp(x - log_sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_those_of_f64(x in prop::collection::vec(-80.0f32..80.0, 1..70), scale in -3.0f32..3.0) {
            let most = x.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x.into()));
            let expected = most + x.iter().map(|&x| (f64::from(x) - most).exp()).sum::<f64>().ln();
            for isa in Isa::available() {
                let log_sum = log_sum_exp(isa, &x);
                prop_assert!((f64::from(log_sum) - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{log_sum} {expected}");
                let mut out = vec![0.0; x.len()];
                probabilities(isa, &x, log_sum, scale, &mut out);
                for (out, &x) in out.iter().zip(&x) {
                    let expected = f64::from(scale) * (f64::from(x) - expected).exp();
                    prop_assert!((f64::from(*out) - expected).abs() <= 5e-5 * expected.abs() + 1e-30);
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        for isa in Isa::available() {
            assert!(log_sum_exp(isa, &[f32::NAN; 20]).is_nan());
            assert_eq!(log_sum_exp(isa, &[f32::NEG_INFINITY, 1.0]), 1.0);
            assert!(log_sum_exp(isa, &[f32::INFINITY, 1.0]).is_nan());
            assert!(log_sum_exp(isa, &[f32::NEG_INFINITY; 20]).is_nan());
        }
    }
}
