//! Fast Fourier transforms of rows, and sums of rows that overlap, with their gradients: the CPU's way of [`frames`](super::frames).

use std::cell::RefCell;

use jielong_nn::cpu::Function;
use rayon::prelude::*;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

thread_local! {
    /// Plans of transforms, by their length.
    static PLANNER: RefCell<RealFftPlanner<f32>> = RefCell::new(RealFftPlanner::new());
}

/// The spectrum of a row, times `weights`.
fn spectrum(row: &[f32], weights: &[f32]) -> Vec<Complex<f32>> {
    let transform = PLANNER.with_borrow_mut(|planner| planner.plan_fft_forward(row.len()));
    let mut row: Vec<f32> = row.iter().zip(weights).map(|(x, weight)| x * weight).collect();
    let mut spectrum = transform.make_output_vec();
    if let Err(error) = transform.process(&mut row, &mut spectrum) {
        unreachable!("slices of the lengths that were asked for: {error}");
    }
    spectrum
}

/// The row of a spectrum, without a factor.
fn row(mut spectrum: Vec<Complex<f32>>, out: &mut [f32]) {
    // A constant, and the fastest change that there is, have no phase but 0 and π.
    spectrum[0].im = 0.0;
    if out.len().is_multiple_of(2) {
        spectrum[out.len() / 2].im = 0.0;
    }
    let transform = PLANNER.with_borrow_mut(|planner| planner.plan_fft_inverse(out.len()));
    if let Err(error) = transform.process(&mut spectrum, out) {
        unreachable!("slices of the lengths that were asked for: {error}");
    }
}

/// Hann's window, periodic.
pub(super) fn hann(window: usize) -> Vec<f32> {
    let turn = std::f64::consts::TAU / window as f64;
    (0..window).map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32).collect()
}

/// The magnitudes of the spectra of rows, with Hann's window.
#[derive(Clone, Debug)]
pub(super) struct Magnitudes {
    pub(super) window: usize,
}

/// Added to the square of a magnitude: the root has a slope everywhere.
pub(super) const QUIET: f32 = 1e-9;

impl Function<1> for Magnitudes {
    fn value(&self, [rows]: [&[f32]; 1]) -> Vec<f32> {
        let (bins, hann) = (self.window / 2 + 1, hann(self.window));
        let mut out = vec![0.0; rows.len() / self.window * bins];
        out.par_chunks_mut(bins).zip(rows.par_chunks(self.window)).for_each(|(out, row)| {
            for (out, part) in out.iter_mut().zip(spectrum(row, &hann)) {
                *out = (part.norm_sqr() + QUIET).sqrt();
            }
        });
        out
    }

    /// `Σ_k (∂re_k · cos θ_kn − ∂im_k · sin θ_kn)` is an inverse transform in which bins do not stand for their mirrors.
    fn gradients(&self, [rows]: [&[f32]; 1], dy: &[f32]) -> [Vec<f32>; 1] {
        let (window, bins, hann) = (self.window, self.window / 2 + 1, hann(self.window));
        let mut out = vec![0.0; rows.len()];
        let parts = out.par_chunks_mut(window).zip(rows.par_chunks(window)).zip(dy.par_chunks(bins));
        parts.for_each(|((out, input), dy)| {
            let mut slopes = spectrum(input, &hann);
            for (k, (slope, dy)) in slopes.iter_mut().zip(dy).enumerate() {
                let mirrored = if alone(k, window) { 1.0 } else { 0.5 };
                *slope *= mirrored * dy / (slope.norm_sqr() + QUIET).sqrt();
            }
            row(slopes, out);
            out.iter_mut().zip(&hann).for_each(|(out, weight)| *out *= weight);
        });
        [out]
    }
}

/// Whether a bin has no mirror.
pub(super) fn alone(k: usize, window: usize) -> bool {
    k == 0 || 2 * k == window
}

/// Rows of spectra, given as logarithms of magnitudes, at most `loudest`, and phases, with Hann's window.
#[derive(Clone, Debug)]
pub(super) struct Synthesis {
    pub(super) window: usize,
    pub(super) loudest: f32,
}

impl Function<1> for Synthesis {
    fn value(&self, [x]: [&[f32]; 1]) -> Vec<f32> {
        let (window, bins, hann) = (self.window, self.window / 2 + 1, hann(self.window));
        let mut out = vec![0.0; x.len() / (2 * bins) * window];
        out.par_chunks_mut(window).zip(x.par_chunks(2 * bins)).for_each(|(out, x)| {
            let (magnitudes, phases) = x.split_at(bins);
            let polar = |(a, phase): (&f32, &f32)| Complex::from_polar(a.min(self.loudest).exp(), *phase);
            row(magnitudes.iter().zip(phases).map(polar).collect(), out);
            out.iter_mut().zip(&hann).for_each(|(out, weight)| *out *= weight / window as f32);
        });
        out
    }

    /// That of real and imaginary parts is a transform of the gradient, twice where a bin stands for its mirror.
    fn gradients(&self, [x]: [&[f32]; 1], dy: &[f32]) -> [Vec<f32>; 1] {
        let (window, bins) = (self.window, self.window / 2 + 1);
        let weights: Vec<f32> = hann(window).iter().map(|weight| weight / window as f32).collect();
        let mut out = vec![0.0; x.len()];
        let parts = out.par_chunks_mut(2 * bins).zip(x.par_chunks(2 * bins)).zip(dy.par_chunks(window));
        parts.for_each(|((out, x), dy)| {
            let ((magnitudes, phases), (by_magnitude, by_phase)) = (x.split_at(bins), out.split_at_mut(bins));
            for (k, slope) in spectrum(dy, &weights).into_iter().enumerate() {
                let mirrored = if alone(k, window) { 1.0 } else { 2.0 };
                let part = Complex::from_polar(magnitudes[k].min(self.loudest).exp(), phases[k]);
                by_magnitude[k] = match magnitudes[k] <= self.loudest {
                    true => mirrored * (slope.re * part.re + slope.im * part.im),
                    false => 0.0,
                };
                by_phase[k] = mirrored * (slope.im * part.re - slope.re * part.im);
            }
        });
        [out]
    }
}

/// The sum of rows that overlap, from the beginning of the first to the end of the last.
#[derive(Clone, Debug)]
pub(super) struct Overlap {
    pub(super) count: usize,
    pub(super) window: usize,
    pub(super) hop: usize,
}

impl Overlap {
    fn length(&self) -> usize {
        (self.count - 1) * self.hop + self.window
    }
}

impl Function<1> for Overlap {
    fn value(&self, [rows]: [&[f32]; 1]) -> Vec<f32> {
        let Self { count, window, hop } = *self;
        let mut flat = vec![0.0; rows.len() / (count * window) * self.length()];
        flat.par_chunks_mut(self.length()).zip(rows.par_chunks(count * window)).for_each(|(flat, rows)| {
            for (at, row) in rows.chunks_exact(window).enumerate() {
                flat[at * hop..][..window].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        });
        flat
    }

    fn gradients(&self, [rows]: [&[f32]; 1], dy: &[f32]) -> [Vec<f32>; 1] {
        let Self { count, window, hop } = *self;
        let mut out = vec![0.0; rows.len()];
        out.par_chunks_mut(count * window).zip(dy.par_chunks(self.length())).for_each(|(rows, flat)| {
            for (at, row) in rows.chunks_exact_mut(window).enumerate() {
                row.copy_from_slice(&flat[at * hop..][..window]);
            }
        });
        [out]
    }
}
