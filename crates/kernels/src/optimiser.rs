//! What a step of training does with each parameter, value by value: one pass over all that it remembers.

use crate::cpu::Isa;
use crate::layers::for_each_isa;
use crate::matmul::columns::LANES;

/// A step of AdamW (Loshchilov & Hutter 2019, *Decoupled weight decay regularization*).
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Factor on the gradient.
    pub scale: f32,
    /// How much of the mean gradient and of the mean square stays.
    pub betas: [f32; 2],
    /// The rate over what the mean gradient lacks in the first steps.
    pub rate: f32,
    /// One over the root of what the mean square lacks in the first steps.
    pub root: f32,
    /// What keeps the division finite.
    pub eps: f32,
    /// Factor on the weight before the step.
    pub keep: f32,
}

impl AdamWStep {
    /// Steps against a gradient; weight, mean gradient and mean square are changed.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, isa: Isa, gradient: &[f32], [weight, mean, square]: [&mut [f32]; 3]) {
        let count = gradient.len();
        assert!(weight.len() == count && mean.len() == count && square.len() == count, "parts of a parameter");
        step(isa, *self, gradient, weight, mean, square);
    }
}

for_each_isa! {
    fn step(by: AdamWStep, gradient: &[f32], weight: &mut [f32], mean: &mut [f32], square: &mut [f32]) {
        let AdamWStep { scale, betas: [beta1, beta2], rate, root, eps, keep } = by;
        for (((g, w), m), v) in gradient.iter().zip(weight).zip(mean).zip(square) {
            let g = g * scale;
            *m = *m * beta1 + g * (1.0 - beta1);
            *v = *v * beta2 + g * g * (1.0 - beta2);
            *w = *w * keep - rate * *m / (v.sqrt() * root + eps);
        }
    }
}

/// `mean ← mean · keep + x · (1 − keep)`
///
/// # Panics
/// If the lengths differ.
pub fn moving_mean(isa: Isa, mean: &mut [f32], x: &[f32], keep: f32) {
    assert_eq!(mean.len(), x.len(), "a mean of each value");
    mix(isa, mean, x, keep);
}

for_each_isa! {
    fn mix(mean: &mut [f32], x: &[f32], keep: f32) {
        for (mean, x) in mean.iter_mut().zip(x) {
            *mean = *mean * keep + x * (1.0 - keep);
        }
    }
}

/// `Σ x²`
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    let mut sum = 0.0;
    squares(isa, x, &mut sum);
    sum
}

for_each_isa! {
    fn squares(x: &[f32], sum: &mut f64) {
        let mut sums = [0.0f64; LANES];
        let (runs, rest) = x.as_chunks::<LANES>();
        for run in runs {
            for lane in 0..LANES {
                let x = f64::from(run[lane]);
                sums[lane] += x * x;
            }
        }
        *sum = sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_formula() {
        let values =
            |seed: usize| (0..37).map(move |i| ((i * 29 + seed * 31) % 41) as f32 / 20.0 - 1.0).collect::<Vec<_>>();
        let by = AdamWStep { scale: 0.5, betas: [0.9, 0.99], rate: 0.1, root: 1.5, eps: 1e-3, keep: 0.98 };
        let (g, w, m, v) = (values(1), values(2), values(3), values(4).iter().map(|x| x * x).collect::<Vec<_>>());
        for isa in Isa::available() {
            let [mut weight, mut mean, mut square] = [w.clone(), m.clone(), v.clone()];
            by.apply(isa, &g, [&mut weight, &mut mean, &mut square]);
            for i in 0..g.len() {
                let [g, w, m, v] = [g[i], w[i], m[i], v[i]].map(f64::from);
                let (m, v) = (0.9 * m + 0.1 * 0.5 * g, 0.99 * v + 0.01 * (0.5 * g).powi(2));
                let w = 0.98 * w - 0.1 * m / (1.5 * v.sqrt() + 1e-3);
                for (ours, exact) in [(weight[i], w), (mean[i], m), (square[i], v)] {
                    assert!((f64::from(ours) - exact).abs() < 1e-5 * exact.abs().max(1.0), "{isa}: {ours} {exact}");
                }
            }
            let mut mean = m.clone();
            moving_mean(isa, &mut mean, &g, 0.75);
            assert!(
                mean.iter().zip(&m).zip(&g).all(|((new, m), g)| (new - (0.75 * m + 0.25 * g)).abs() < 1e-6),
                "{isa}"
            );
            let exact: f64 = g.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((sum_of_squares(isa, &g) - exact).abs() < 1e-9, "{isa}");
        }
    }
}
