//! How far a picture is from another: PSNR and SSIM.
//!
//! SSIM is that of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
//! similarity" (2004): `K1 = 0.01`, `K2 = 0.03`, range 255, the mean over all places where the window fits. The two windows
//! and their covariances are those of scikit-image 0.26, so that numbers can be compared.

use crate::picture::Picture;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Red, green and blue: PSNR over all of them, SSIM the mean of the three.
    Rgb,
    /// Luma, `0.299 R + 0.587 G + 0.114 B`, not rounded.
    Luma,
}

/// The window of SSIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 7×7 of equal weight, sample covariance: scikit-image's default.
    Uniform7,
    /// 11×11, a Gaussian of σ 1.5, population covariance: the paper's.
    Gaussian,
}

/// Why two pictures cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Different sizes, or bytes that do not fit the sizes.
    #[error("a picture of {}×{} cannot be compared with one of {}×{}: both must have the same size and all their pixels", a.0, a.1, b.0, b.1)]
    Sizes {
        /// Width and height of the first.
        a: (usize, usize),
        /// Width and height of the second.
        b: (usize, usize),
    },
    /// Smaller than the window.
    #[error("SSIM needs {side}×{side} pixels or more, found {width}×{height}")]
    TooSmall {
        /// Side of the window.
        side: usize,
        /// Width of the pictures.
        width: usize,
        /// Height of the pictures.
        height: usize,
    },
}

/// Peak signal to noise ratio in dB, `10 log10(255² / mse)`; infinite for equal pictures.
///
/// # Errors
/// Different sizes.
pub fn psnr(a: &Picture, b: &Picture, channels: Channels) -> Result<f64, MetricError> {
    comparable(a, b)?;
    let planes = planes(a, channels).into_iter().zip(planes(b, channels));
    let squares: f64 = planes.flat_map(|(a, b)| a.into_iter().zip(b)).map(|(a, b)| (a - b) * (a - b)).sum();
    let samples = a.width * a.height * if channels == Channels::Rgb { 3 } else { 1 };
    Ok(10.0 * (255.0 * 255.0 * samples as f64 / squares).log10())
}

/// Structural similarity, 1 for equal pictures.
///
/// # Errors
/// Different sizes, or smaller than the window.
pub fn ssim(a: &Picture, b: &Picture, channels: Channels, window: Window) -> Result<f64, MetricError> {
    comparable(a, b)?;
    let weights = window.weights();
    let (side, width, height) = (weights.len(), a.width, a.height);
    if width < side || height < side {
        return Err(MetricError::TooSmall { side, width, height });
    }
    let planes: Vec<_> = planes(a, channels).into_iter().zip(planes(b, channels)).collect();
    let sum: f64 = planes.iter().map(|(a, b)| ssim_of(a, b, width, &weights, window.correction())).sum();
    Ok(sum / planes.len() as f64)
}

fn comparable(a: &Picture, b: &Picture) -> Result<(), MetricError> {
    let (sound, sizes) = (a.is_sound() && b.is_sound(), ((a.width, a.height), (b.width, b.height)));
    if sound && sizes.0 == sizes.1 { Ok(()) } else { Err(MetricError::Sizes { a: sizes.0, b: sizes.1 }) }
}

fn planes(picture: &Picture, channels: Channels) -> Vec<Vec<f64>> {
    let pixels = || picture.pixels().map(|pixel| pixel.map(f64::from));
    match channels {
        Channels::Rgb => (0..3).map(|channel| pixels().map(|pixel| pixel[channel]).collect()).collect(),
        Channels::Luma => vec![pixels().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).collect()],
    }
}

impl Window {
    /// Weights along one axis; they add up to 1.
    fn weights(self) -> Vec<f64> {
        match self {
            Self::Uniform7 => vec![1.0 / 7.0; 7],
            Self::Gaussian => {
                let weights: Vec<f64> = (-5i32..=5).map(|x| (-0.5 * f64::from(x * x) / (1.5 * 1.5)).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| weight / sum).collect()
            }
        }
    }

    /// What covariances are multiplied by: N / (N - 1) makes sample covariances.
    fn correction(self) -> f64 {
        match self {
            Self::Uniform7 => 49.0 / 48.0,
            Self::Gaussian => 1.0,
        }
    }
}

/// SSIM of one plane.
fn ssim_of(a: &[f64], b: &[f64], width: usize, weights: &[f64], correction: f64) -> f64 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let mean = |f: &dyn Fn(f64, f64) -> f64| {
        let plane: Vec<f64> = a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
        blurred(&plane, width, weights)
    };
    let (means_a, means_b) = (mean(&|a, _| a), mean(&|_, b| b));
    let (squares_a, squares_b, products) = (mean(&|a, _| a * a), mean(&|_, b| b * b), mean(&|a, b| a * b));
    let at = |place: usize| {
        let (a, b) = (means_a[place], means_b[place]);
        let variances = correction * (squares_a[place] - a * a + squares_b[place] - b * b);
        let covariance = correction * (products[place] - a * b);
        (2.0 * a * b + C1) * (2.0 * covariance + C2) / ((a * a + b * b + C1) * (variances + C2))
    };
    (0..means_a.len()).map(at).sum::<f64>() / means_a.len() as f64
}

/// Weighted means where the window fits, first along rows, then along columns.
fn blurred(plane: &[f64], width: usize, weights: &[f64]) -> Vec<f64> {
    let narrow = width + 1 - weights.len();
    let mut rows = Vec::with_capacity(plane.len() / width * narrow);
    for row in plane.chunks_exact(width) {
        rows.extend(row.windows(weights.len()).map(|part| part.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()));
    }
    let low = plane.len() / width + 1 - weights.len();
    let mut means = vec![0.0; low * narrow];
    for (y, row) in means.chunks_exact_mut(narrow).enumerate() {
        for (weight, source) in weights.iter().zip(rows.chunks_exact(narrow).skip(y)) {
            row.iter_mut().zip(source).for_each(|(mean, x)| *mean += weight * x);
        }
    }
    means
}
