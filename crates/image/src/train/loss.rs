//! How far a reconstruction is from its picture, in ways that have a gradient.
//!
//! Besides the mean of absolute and of square differences there is a perceptual part. Esser et al. 2021 take one from a
//! network that was trained on photographs (LPIPS); here it is computed, so that nothing has to be fetched, and drawings are
//! served as well as photographs: the differences of neighbouring pixels at three sizes, which hold edges at their place
//! (Mathieu et al. 2016, *Deep multi-scale video prediction beyond mean square error*, at several sizes), and 1 − SSIM with
//! the window of its paper (Wang et al. 2004; as a loss: Zhao et al. 2017, *Loss functions for image restoration*).
//!
//! Windows and smaller sizes are products with banded matrices, rows first, then columns: fast on every device.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Weights of the parts of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Of the mean absolute difference; pixels are -1..1.
    pub l1: f64,
    /// Of the mean square difference.
    pub l2: f64,
    /// Of the mean absolute difference of neighbours' differences, the mean of three sizes.
    pub gradient: f64,
    /// Of 1 − SSIM.
    pub ssim: f64,
    /// Of what moves the book to the vectors; for a learned book.
    pub codebook: f64,
    /// Of what moves the vectors to the book.
    pub commitment: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { l1: 0.5, l2: 1.0, gradient: 0.5, ssim: 0.2, codebook: 1.0, commitment: 0.25 }
    }
}

/// Places between windows of SSIM: neighbours say much the same.
const STEP: usize = 2;

/// The parts, each a mean.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Mean absolute difference.
    pub l1: Tensor<1>,
    /// Mean square difference.
    pub l2: Tensor<1>,
    /// Mean absolute difference of gradients.
    pub gradient: Tensor<1>,
    /// 1 − SSIM.
    pub ssim: Tensor<1>,
}

/// What compares pictures of one size.
#[derive(Debug)]
pub struct Comparison {
    size: usize,
    /// Window of SSIM.
    window: Tensor<2>,
    /// Means of pairs: from each size to the next.
    halves: [Tensor<2>; 2],
}

impl Comparison {
    /// For pictures of `size`×`size`, a multiple of four that the window of SSIM, 11 pixels, fits into.
    #[must_use]
    pub fn new(size: usize, device: &Device) -> Self {
        let weights: Vec<f64> = (-5i32..=5).map(|x| (-0.5 * f64::from(x * x) / (1.5 * 1.5)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f32> = weights.iter().map(|weight| (weight / sum) as f32).collect();
        let half = |size| band(size, &[0.5, 0.5], 2, device);
        Self { size, window: band(size, &weights, STEP, device), halves: [half(size), half(size / 2)] }
    }

    /// Compares pixels `[b, 3, size, size]`.
    #[must_use]
    pub fn parts(&self, found: Tensor<4>, expected: Tensor<4>) -> Parts {
        let [b, c, _, _] = found.dims();
        let flat = |x: Tensor<4>| x.reshape([b * c, self.size, self.size]);
        let (found, expected) = (flat(found), flat(expected));
        let difference = found.clone() - expected.clone();
        let l1 = difference.clone().abs().mean();
        let l2 = (difference.clone() * difference.clone()).mean();
        // Differences and means are linear: those of the difference of the pictures are enough.
        let half = both(difference.clone(), &self.halves[0]);
        let quarter = both(half.clone(), &self.halves[1]);
        let gradient = (steps(difference) + steps(half) + steps(quarter)) / 3.0;
        Parts { l1, l2, gradient, ssim: 1.0 - self.ssim(found + 1.0, expected + 1.0) }
    }

    /// Mean SSIM of `[n, size, size]`; numbers are 0..2, for it matters how far they are from black.
    fn ssim(&self, a: Tensor<3>, b: Tensor<3>) -> Tensor<1> {
        const C1: f64 = (0.01 * 2.0) * (0.01 * 2.0);
        const C2: f64 = (0.03 * 2.0) * (0.03 * 2.0);
        let mean = |x: Tensor<3>| both(x, &self.window);
        let (mean_a, mean_b) = (mean(a.clone()), mean(b.clone()));
        let products = mean_a.clone() * mean_b.clone();
        let squares = mean_a.clone() * mean_a + mean_b.clone() * mean_b;
        // Variances are only needed as their sum.
        let variances = mean(a.clone() * a.clone() + b.clone() * b.clone()) - squares.clone();
        let covariance = mean(a * b) - products.clone();
        let like = (products * 2.0 + C1) * (covariance * 2.0 + C2);
        (like / ((squares + C1) * (variances + C2))).mean()
    }
}

/// `[size, places]`: weights of a window at every `step`th place where it fits.
fn band(size: usize, weights: &[f32], step: usize, device: &Device) -> Tensor<2> {
    let places = (size - weights.len()) / step + 1;
    let mut values = vec![0.0; size * places];
    for place in 0..places {
        for (offset, weight) in weights.iter().enumerate() {
            values[(place * step + offset) * places + place] = *weight;
        }
    }
    Tensor::from_data(TensorData::new(values, [size, places]), device)
}

/// Rows, then columns through the matrix; what comes out has them swapped: `[n, h, w]` → `[n, w', h']`
fn both(x: Tensor<3>, matrix: &Tensor<2>) -> Tensor<3> {
    let along = |x: Tensor<3>| {
        let [n, h, w] = x.dims();
        let [_, places] = matrix.dims();
        x.reshape([n * h, w]).matmul(matrix.clone()).reshape([n, h, places])
    };
    along(along(x).swap_dims(1, 2))
}

/// Mean absolute difference of neighbours, down and across.
fn steps(x: Tensor<3>) -> Tensor<1> {
    let [_, h, w] = x.dims();
    let along = |dim: usize, side: usize| {
        (x.clone().narrow(dim, 1, side - 1) - x.clone().narrow(dim, 0, side - 1)).abs().mean()
    };
    (along(1, h) + along(2, w)) / 2.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::{Channels, Window, ssim};
    use crate::picture::Picture;
    use burn::tensor::Distribution;

    fn tensor(picture: &Picture, device: &Device) -> Tensor<4> {
        let values: Vec<f32> = picture.rgb.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        let pixels = TensorData::new(values, [1, picture.height, picture.width, 3]);
        Tensor::from_data(pixels, device).permute([0, 3, 1, 2])
    }

    #[test]
    fn the_loss_says_what_the_metric_says() {
        let device = Device::flex();
        let wave = |phase: f64| {
            let value = |i: usize| (127.0 + 90.0 * ((i / 3 % 32 + i / 96) as f64 / 5.0 + phase).sin()) as u8;
            Picture::new(32, 32, (0..3 * 32 * 32).map(value).collect()).unwrap()
        };
        let (a, b) = (wave(0.0), wave(0.4));
        let comparison = Comparison::new(32, &device);
        let parts = comparison.parts(tensor(&a, &device), tensor(&b, &device));
        let expected = ssim(&a, &b, Channels::Rgb, Window::Gaussian).unwrap();
        let found = 1.0 - parts.ssim.into_scalar::<f64>();
        assert!((found - expected).abs() < 5e-3, "{found}, expected {expected}"); // every other window
        let differences = a.rgb.iter().zip(&b.rgb).map(|(a, b)| f64::from(a.abs_diff(*b)) / 127.5);
        let l1 = differences.clone().sum::<f64>() / 3072.0;
        let l2 = differences.map(|d| d * d).sum::<f64>() / 3072.0;
        assert!((parts.l1.into_scalar::<f64>() - l1).abs() < 1e-5);
        assert!((parts.l2.into_scalar::<f64>() - l2).abs() < 1e-5);
    }

    #[test]
    fn equal_pictures_have_no_loss_and_shifts_have_no_gradient() {
        let device = Device::flex();
        device.seed(1);
        let x = Tensor::<4>::random([2, 3, 16, 16], Distribution::Uniform(-1.0, 1.0), &device);
        let comparison = Comparison::new(16, &device);
        let parts = comparison.parts(x.clone(), x.clone());
        for part in [parts.l1, parts.l2, parts.gradient, parts.ssim] {
            assert!(part.into_scalar::<f64>().abs() < 1e-5);
        }
        let lighter = comparison.parts(x.clone() + 0.25, x);
        assert!((lighter.l1.into_scalar::<f64>() - 0.25).abs() < 1e-6);
        assert!(lighter.gradient.into_scalar::<f64>().abs() < 1e-6);
    }
}
