//! Windows of samples as rows and back, and their spectra, in tensors: all of it sums and products with matrices, so that it
//! has gradients and runs everywhere. On the CPU, where no gradient is asked for, Fourier transforms are fast ones.

use std::cell::RefCell;

use burn::tensor::{DType, Device, Tensor, TensorData};
use jielong_nn::cpu::{self, Values};
use rayon::prelude::*;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

thread_local! {
    /// Plans of transforms, by their length.
    static PLANNER: RefCell<RealFftPlanner<f32>> = RefCell::new(RealFftPlanner::new());
}

/// Whether a tensor is on the CPU and needs no gradient.
fn plain<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.device() == Device::flex() && !x.device().is_autodiff()
}

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
    let parts = window / hop;
    if plain(&rows) {
        let rows = Values::of(rows);
        let mut flat = vec![0.0; b * (count + parts - 1) * hop];
        for (rows, flat) in
            rows.as_slice().chunks_exact(count * window).zip(flat.chunks_exact_mut((count + parts - 1) * hop))
        {
            for (at, row) in rows.chunks_exact(window).enumerate() {
                flat[at * hop..][..window].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        }
        let flat = cpu::tensor(flat, [b, (count + parts - 1) * hop]);
        return flat.narrow(1, (window - hop) / 2, count * hop);
    }
    let device = rows.device();
    let zeros = |n: usize| Tensor::<3>::zeros([b, n, hop], &device);
    let shifted = (0..parts).map(|part| {
        let rows = rows.clone().narrow(2, part * hop, hop);
        Tensor::cat(vec![zeros(part), rows, zeros(parts - 1 - part)], 1)
    });
    let sum = shifted.reduce(|a, b| a + b);
    let flat = match sum {
        Some(sum) => sum.reshape([b, (count + parts - 1) * hop]),
        None => unreachable!("a window has at least one hop"),
    };
    flat.narrow(1, (window - hop) / 2, count * hop)
}

/// Hann's window, periodic.
pub(crate) fn hann(window: usize) -> Vec<f32> {
    let turn = std::f64::consts::TAU / window as f64;
    (0..window).map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32).collect()
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
        let weight = if k == 0 || 2 * k == window { 1.0 } else { 2.0 } / window as f64;
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
    if plain(&rows) {
        let (bins, hann, rows) = (window / 2 + 1, hann(window), Values::of(rows));
        let mut out = vec![0.0; b * count * bins];
        out.par_chunks_mut(bins).zip(rows.as_slice().par_chunks(window)).for_each(|(out, row)| {
            let transform = PLANNER.with_borrow_mut(|planner| planner.plan_fft_forward(window));
            let mut row: Vec<f32> = row.iter().zip(&hann).map(|(x, weight)| x * weight).collect();
            let mut spectrum = transform.make_output_vec();
            if let Err(error) = transform.process(&mut row, &mut spectrum) {
                unreachable!("slices of the lengths that were asked for: {error}");
            }
            for (out, part) in out.iter_mut().zip(&spectrum) {
                *out = (part.re * part.re + part.im * part.im + 1e-9).sqrt();
            }
        });
        return cpu::tensor(out, [b, count, bins]);
    }
    let parts = rows.matmul(transform.clone().unsqueeze::<3>());
    let [_, _, two] = parts.dims();
    let (re, im) = (parts.clone().narrow(2, 0, two / 2), parts.narrow(2, two / 2, two / 2));
    (re.clone() * re + im.clone() * im + 1e-9).sqrt()
}

/// Windows `[b, count, window]` of logarithms of magnitudes, at most `loudest`, and phases, `[b, count, 2 · bins]`; `transform`
/// is that of [`inverse`].
pub(crate) fn synthesized(x: Tensor<3>, loudest: f32, window: usize, transform: &Tensor<2>) -> Tensor<3> {
    let [b, count, two] = x.dims();
    let bins = two / 2;
    if plain(&x) {
        let (hann, x) = (hann(window), Values::of(x));
        let mut out = vec![0.0; b * count * window];
        out.par_chunks_mut(window).zip(x.as_slice().par_chunks(two)).for_each(|(out, x)| {
            let (magnitudes, phases) = x.split_at(bins);
            let transform = PLANNER.with_borrow_mut(|planner| planner.plan_fft_inverse(window));
            let polar = |(magnitude, phase): (&f32, &f32)| Complex::from_polar(magnitude.min(loudest).exp(), *phase);
            let mut spectrum: Vec<Complex<f32>> = magnitudes.iter().zip(phases).map(polar).collect();
            // A constant, and the fastest change that there is, have no phase but 0 and π.
            spectrum[0].im = 0.0;
            if window.is_multiple_of(2) {
                spectrum[bins - 1].im = 0.0;
            }
            if let Err(error) = transform.process(&mut spectrum, out) {
                unreachable!("slices of the lengths that were asked for: {error}");
            }
            out.iter_mut().zip(&hann).for_each(|(out, weight)| *out *= weight / window as f32);
        });
        return cpu::tensor(out, [b, count, window]);
    }
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

    #[test]
    fn fast_transforms_are_those_of_matrices() {
        let (cpu, training) = (Device::flex(), Device::flex().autodiff());
        for window in [8, 15, 20, 1280] {
            let bins = window / 2 + 1;
            let random = |width| Tensor::<3>::random([2, 5, width], Distribution::Uniform(-2.0, 2.0), &cpu);
            let close = |a: Tensor<3>, b: Tensor<3>| {
                let worst = (a - b.inner()).abs().max().into_scalar::<f32>();
                assert!(worst < 2e-4, "{window}: {worst}");
            };
            let (rows, x) = (random(window), random(2 * bins));
            let matrix = forward(window, &training);
            close(magnitudes(rows.clone(), &forward(window, &cpu)), magnitudes(rows.autodiff(), &matrix));
            let matrix = inverse(window, &training);
            let slow = synthesized(x.clone().autodiff(), 1.5, window, &matrix);
            close(synthesized(x, 1.5, window, &inverse(window, &cpu)), slow);
            let (rows, hop) = (random(20), 5);
            close(overlap(rows.clone(), hop).unsqueeze(), overlap(rows.autodiff(), hop).unsqueeze());
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
