//! Windows of samples as rows and back, and their spectra, in tensors: sums and products with matrices, which run everywhere; on
//! the CPU the Fourier transforms are fast ones, with their gradients.

use burn::tensor::{Device, Tensor, TensorData};
use jielong_nn::cpu::{apply, flat};

use super::transforms::{Magnitudes, Overlap, QUIET, Synthesis, alone, hann};

/// Cuts samples `[b, n]`, `n` a multiple of the hop, into windows `[b, n / hop, window]`, `window` a multiple of the hop. The
/// middle of a window is the middle of its hop; before and after the samples are zeros.
pub(crate) fn windows(samples: Tensor<2>, window: usize, hop: usize) -> Tensor<3> {
    let [b, n] = samples.dims();
    let (count, parts) = (n / hop, window / hop);
    let before = (window - hop) / 2;
    let device = samples.device();
    let zeros = |n: usize| Tensor::<2>::zeros([b, n], &device);
    let padded = Tensor::cat(vec![zeros(before), samples, zeros(window - hop - before)], 1);
    let rows = padded.reshape([b, count + parts - 1, hop]);
    Tensor::cat((0..parts).map(|part| rows.clone().narrow(1, part, count)).collect(), 2)
}

/// The sum of overlapping windows, `[b, count, window]` → `[b, count · hop]`: the transpose of [`windows`].
pub(crate) fn overlap(rows: Tensor<3>, hop: usize) -> Tensor<2> {
    let [b, count, window] = rows.dims();
    let whole = [b, (count - 1) * hop + window];
    let flat = apply(Overlap { count, window, hop }, &[flat(&rows)], whole);
    flat.unwrap_or_else(|| overlap_with_burn(rows, hop)).narrow(1, (window - hop) / 2, count * hop)
}

fn overlap_with_burn(rows: Tensor<3>, hop: usize) -> Tensor<2> {
    let [b, count, window] = rows.dims();
    let parts = window / hop;
    let device = rows.device();
    let zeros = |n: usize| Tensor::<3>::zeros([b, n, hop], &device);
    let shifted = (0..parts).map(|part| {
        let rows = rows.clone().narrow(2, part * hop, hop);
        Tensor::cat(vec![zeros(part), rows, zeros(parts - 1 - part)], 1)
    });
    let sum = shifted.reduce(|a, b| a + b);
    match sum {
        Some(sum) => sum.reshape([b, (count + parts - 1) * hop]),
        None => unreachable!("a window has at least one hop"),
    }
}

/// The Fourier transform of real windows as a matrix `[window, 2 · bins]`: real parts, then imaginary ones; with Hann's
/// window.
pub(crate) fn forward(window: usize, device: &Device) -> Tensor<2> {
    let (bins, hann) = (window / 2 + 1, hann(window));
    let mut values = vec![0.0f32; window * 2 * bins];
    for (n, row) in values.chunks_exact_mut(2 * bins).enumerate() {
        for k in 0..bins {
            let (sin, cos) = angle(n, k, window).sin_cos();
            row[k] = (f64::from(hann[n]) * cos) as f32;
            row[bins + k] = (f64::from(hann[n]) * -sin) as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [window, 2 * bins]), device)
}

/// The inverse transform as a matrix `[2 · bins, window]`, with Hann's window.
pub(crate) fn inverse(window: usize, device: &Device) -> Tensor<2> {
    let (bins, hann) = (window / 2 + 1, hann(window));
    let mut values = vec![0.0f32; window * 2 * bins];
    for k in 0..bins {
        // All bins but the first and the last stand for their mirror too.
        let weight = if alone(k, window) { 1.0 } else { 2.0 } / window as f64;
        for n in 0..window {
            let (sin, cos) = angle(n, k, window).sin_cos();
            values[k * window + n] = (f64::from(hann[n]) * weight * cos) as f32;
            values[(bins + k) * window + n] = (f64::from(hann[n]) * weight * -sin) as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [2 * bins, window]), device)
}

fn angle(n: usize, k: usize, window: usize) -> f64 {
    std::f64::consts::TAU * ((n * k) % window) as f64 / window as f64
}

/// How much of the samples both windows of analysis and synthesis let through, `[1, count · hop]`.
pub(crate) fn envelope(window: usize, hop: usize, count: usize, device: &Device) -> Tensor<2> {
    let squares: Vec<f32> = hann(window).iter().map(|w| w * w).collect();
    let row = Tensor::<3>::from_data(TensorData::new(squares, [1, 1, window]), device);
    overlap(row.expand([1, count, window]), hop)
}

/// Magnitudes `[b, count, bins]` of the spectra of windows `[b, count, window]`; `transform` is that of [`forward`].
pub(crate) fn magnitudes(rows: Tensor<3>, transform: &Tensor<2>) -> Tensor<3> {
    let [b, count, window] = rows.dims();
    let fast = apply(Magnitudes { window }, &[flat(&rows)], [b, count, window / 2 + 1]);
    fast.unwrap_or_else(|| magnitudes_with_burn(rows, transform))
}

fn magnitudes_with_burn(rows: Tensor<3>, transform: &Tensor<2>) -> Tensor<3> {
    let parts = rows.matmul(transform.clone().unsqueeze::<3>());
    let [_, _, two] = parts.dims();
    let (re, im) = (parts.clone().narrow(2, 0, two / 2), parts.narrow(2, two / 2, two / 2));
    (re.clone() * re + im.clone() * im + f64::from(QUIET)).sqrt()
}

/// Windows `[b, count, window]` of logarithms of magnitudes, at most `loudest`, and phases, `[b, count, 2 · bins]`; `transform`
/// is that of [`inverse`].
pub(crate) fn synthesized(x: Tensor<3>, loudest: f32, window: usize, transform: &Tensor<2>) -> Tensor<3> {
    let [b, count, _] = x.dims();
    let fast = apply(Synthesis { window, loudest }, &[flat(&x)], [b, count, window]);
    fast.unwrap_or_else(|| synthesized_with_burn(x, loudest, transform))
}

fn synthesized_with_burn(x: Tensor<3>, loudest: f32, transform: &Tensor<2>) -> Tensor<3> {
    let [b, count, two] = x.dims();
    let (bins, [_, window]) = (two / 2, transform.dims());
    let magnitude = x.clone().narrow(2, 0, bins).clamp_max(loudest).exp();
    let phase = x.narrow(2, bins, bins);
    let parts = Tensor::cat(vec![magnitude.clone() * phase.clone().cos(), magnitude * phase.sin()], 2);
    parts.reshape([b * count, two]).matmul(transform.clone()).reshape([b, count, window])
}

/// Mel bands as a matrix `[bins, bands]`: triangles that are even on the mel scale of O'Shaughnessy (1987), each of sum one,
/// but where a band is narrower than a bin.
pub(crate) fn mel(window: usize, bands: usize, rate: u32, device: &Device) -> Tensor<2> {
    let bins = window / 2 + 1;
    let to_mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let to_hz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let top = to_mel(f64::from(rate) / 2.0);
    let edge = |n: usize| to_hz(top * n as f64 / (bands + 1) as f64) * window as f64 / f64::from(rate);
    let mut values = vec![0.0f32; bins * bands];
    for band in 0..bands {
        let (low, middle, high) = (edge(band), edge(band + 1), edge(band + 2));
        let height = |bin: usize| {
            let x = bin as f64;
            ((x - low) / (middle - low)).min((high - x) / (high - middle)).max(0.0)
        };
        let sum: f64 = (0..bins).map(height).sum();
        if sum < 0.5 {
            // Between two bins: the nearest.
            values[(middle.round() as usize).min(bins - 1) * bands + band] = 1.0;
            continue;
        }
        for bin in 0..bins {
            values[bin * bands + band] = (height(bin) / sum) as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [bins, bands]), device)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn spectra_lead_back_to_the_samples() {
        let device = Device::flex();
        device.seed(3);
        for (window, hop) in [(32, 8), (12, 4), (8, 8), (20, 4)] {
            let x = Tensor::<2>::random([2, 10 * hop], Distribution::Uniform(-1.0, 1.0), &device);
            let product = |x: Tensor<3>, m: Tensor<2>| x.matmul(m.unsqueeze::<3>());
            let spectra = product(windows(x.clone(), window, hop), forward(window, &device));
            let y = overlap(product(spectra, inverse(window, &device)), hop) / envelope(window, hop, 10, &device);
            let inside = |t: Tensor<2>| t.narrow(1, hop, 8 * hop);
            if window > hop {
                let worst = (inside(y) - inside(x)).abs().max().into_scalar::<f32>();
                assert!(worst < 1e-4, "{window} {hop}: {worst}");
            }
        }
    }

    /// Values of an operation and its gradient.
    fn both<const D: usize>(x: &Tensor<3>, slopes: &Tensor<D>, of: impl Fn(Tensor<3>) -> Tensor<D>) -> Vec<f32> {
        let x = x.clone().require_grad();
        let y = of(x.clone());
        let gradients = (y.clone() * slopes.clone()).sum().backward();
        let dx = x.grad(&gradients).map(Tensor::into_data);
        y.into_data().iter().chain(dx.iter().flat_map(|dx| dx.iter())).collect()
    }

    #[test]
    fn fast_transforms_are_those_of_matrices() {
        let device = Device::flex().autodiff();
        device.seed(4);
        for window in [8, 15, 20, 1280] {
            let bins = window / 2 + 1;
            let random = |width| Tensor::<3>::random([2, 5, width], Distribution::Uniform(-2.0, 2.0), &device);
            let close = |a: Vec<f32>, b: Vec<f32>| {
                assert_eq!(a.len(), b.len());
                for (a, b) in a.iter().zip(&b) {
                    assert!((a - b).abs() < 2e-4 * b.abs().max(1.0), "{window}: {a} {b}");
                }
            };
            let (rows, spectra, slopes) = (random(window), random(2 * bins), random(bins));
            let matrix = forward(window, &device);
            close(
                both(&rows, &slopes, |rows| magnitudes(rows, &matrix)),
                both(&rows, &slopes, |rows| magnitudes_with_burn(rows, &matrix)),
            );
            let matrix = inverse(window, &device);
            close(
                both(&spectra, &rows, |x| synthesized(x, 1.5, window, &matrix)),
                both(&spectra, &rows, |x| synthesized_with_burn(x, 1.5, &matrix)),
            );
            if window.is_multiple_of(4) {
                let (hop, whole) = (window / 4, [2, 2 * window]);
                let slopes = random(window).reshape([2, -1]).narrow(1, 0, 2 * window);
                let overlap = Overlap { count: 5, window, hop };
                close(
                    both(&rows, &slopes, |rows| apply(overlap.clone(), &[flat(&rows)], whole).unwrap()),
                    both(&rows, &slopes, |rows| overlap_with_burn(rows, hop)),
                );
            }
        }
    }

    #[test]
    fn mel_bands_cover_the_spectrum() {
        for (window, bands) in [(1280, 80), (256, 80), (2048, 80)] {
            let matrix = mel(window, bands, 16000, &Device::flex());
            let sums: Vec<f32> = matrix.sum_dim(0).into_data().iter().collect();
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-3), "{window}: {sums:?}");
        }
    }
}
