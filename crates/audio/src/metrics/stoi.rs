//! STOI and ESTOI: how much of degraded speech can be understood.
//!
//! STOI: Taal, Hendriks, Heusdens, Jensen, "An algorithm for intelligibility prediction of time-frequency weighted noisy
//! speech" (2011), section II. ESTOI: Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by
//! modulated noise maskers" (2016), section II. What the papers leave open (resampling, the edges of bands and of frames) is
//! as in pystoi 0.4.1, so that numbers can be compared; ESTOI has none of the tiny noise that pystoi adds.

use realfft::RealFftPlanner;

use super::resample::resample;
use super::{MetricError, comparable};

/// Samples a second of the sounds to compare.
pub const RATE: u32 = 16_000;

/// From [`RATE`] to the 10 kHz of the papers.
const UP_DOWN: (usize, usize) = (5, 8);
const FRAME: usize = 256; // 25.6 ms
const HOP: usize = FRAME / 2;
const FFT: usize = 512;
const BANDS: usize = 15; // a third of an octave each
const LOWEST: f64 = 150.0; // centre of the first band in Hz
const SEGMENT: usize = 30; // frames, 384 ms
const QUIETEST: f64 = 40.0; // dB below the loudest frame: more is silence
const CLIP: f64 = 15.0; // dB: the least ratio of signal to distortion, with its sign turned

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intelligibility {
    /// Correlation of each band over time, of clipped envelopes.
    Stoi,
    /// Correlation of whole segments over bands, which hears noise that comes and goes.
    Estoi,
}

/// Envelopes of bands: `[frames][BANDS]`.
type Envelopes = Vec<[f64; BANDS]>;

/// STOI or ESTOI of sounds at [`RATE`], from about 0 to 1 for equal ones. Neither depends on level.
///
/// # Errors
/// Different lengths, samples that are not finite, a silent reference, or less than 30 frames of it that are not silent
/// (some 400 ms).
pub fn stoi(reference: &[f32], degraded: &[f32], which: Intelligibility) -> Result<f64, MetricError> {
    comparable(reference, degraded)?;
    if !reference.is_empty() && reference.iter().all(|&sample| sample == 0.0) {
        return Err(MetricError::Silent { metric: "STOI" });
    }
    let [x, y] = [reference, degraded].map(|samples| resample(samples, UP_DOWN.0, UP_DOWN.1));
    let (x, y) = without_silence(&x, &y);
    let (x, y) = (envelopes(&x), envelopes(&y));
    if x.len() < SEGMENT {
        let unit = "frames of 12.8 ms that are not silent";
        return Err(MetricError::TooShort { metric: "STOI", needed: SEGMENT, unit, found: x.len() });
    }
    let segments = x.windows(SEGMENT).zip(y.windows(SEGMENT));
    let count = segments.len() as f64;
    Ok(match which {
        Intelligibility::Stoi => segments.map(|(x, y)| band_correlation(x, y)).sum::<f64>() / count,
        Intelligibility::Estoi => segments.map(|(x, y)| segment_correlation(x, y)).sum::<f64>() / count,
    })
}

/// A Hann window without the zeros at its ends.
fn hann() -> [f64; FRAME] {
    let turn = std::f64::consts::TAU / (FRAME + 1) as f64;
    std::array::from_fn(|place| 0.5 - 0.5 * (turn * (place + 1) as f64).cos())
}

/// Frames under the window. The last one begins before `samples - FRAME`, as in pystoi.
fn frames(samples: &[f64]) -> Vec<[f64; FRAME]> {
    let (window, starts) = (hann(), (0..samples.len().saturating_sub(FRAME)).step_by(HOP));
    starts.map(|start| std::array::from_fn(|place| window[place] * samples[start + place])).collect()
}

/// Both sounds without the frames in which the first is silent; what is left is joined with its overlaps.
fn without_silence(x: &[f64], y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (x, y) = (frames(x), frames(y));
    let decibels = |frame: &[f64; FRAME]| 20.0 * (norm(frame.iter().copied()) + f64::EPSILON).log10();
    let levels: Vec<f64> = x.iter().map(decibels).collect();
    let loudest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let joined = |frames: Vec<[f64; FRAME]>| {
        let loud: Vec<_> = frames.iter().zip(&levels).filter(|(_, level)| loudest - QUIETEST - **level < 0.0).collect();
        let mut samples = vec![0.0; if loud.is_empty() { 0 } else { (loud.len() + 1) * HOP }];
        for ((frame, _), start) in loud.into_iter().zip((0..).step_by(HOP)) {
            samples[start..].iter_mut().zip(frame).for_each(|(sample, value)| *sample += value);
        }
        samples
    };
    (joined(x), joined(y))
}

/// The square root of the power of each band in each frame (equation 1 of STOI).
fn envelopes(samples: &[f64]) -> Envelopes {
    let fft = RealFftPlanner::new().plan_fft_forward(FFT);
    let (mut padded, mut spectrum, edges) = (fft.make_input_vec(), fft.make_output_vec(), edges());
    let envelope = |frame: [f64; FRAME]| {
        padded[..FRAME].copy_from_slice(&frame);
        padded[FRAME..].fill(0.0);
        // The only error is of lengths, and these buffers are the plan's own.
        fft.process(&mut padded, &mut spectrum).ok()?;
        Some(edges.map(|(from, to)| spectrum[from..to].iter().map(|bin| bin.norm_sqr()).sum::<f64>().sqrt()))
    };
    frames(samples).into_iter().filter_map(envelope).collect()
}

/// First bin of each band, and the one after its last: the bins nearest to its edges.
fn edges() -> [(usize, usize); BANDS] {
    let nearest = |sixths: i32| {
        let bins = LOWEST * 2f64.powf(f64::from(sixths) / 6.0) * FFT as f64 / 10_000.0;
        (bins - 0.5).ceil() as usize // half-way, the lower one
    };
    std::array::from_fn(|band| (nearest(2 * band as i32 - 1), nearest(2 * band as i32 + 1)))
}

/// STOI of one segment, equations 3 to 6: for each band the correlation of the envelopes, the second one brought to the level
/// of the first and clipped.
fn band_correlation(x: &[[f64; BANDS]], y: &[[f64; BANDS]]) -> f64 {
    let most = 1.0 + 10f64.powf(CLIP / 20.0);
    let correlation = |band: usize| {
        let (x, y) = (x.iter().map(move |frame| frame[band]), y.iter().map(move |frame| frame[band]));
        let level = norm(x.clone()) / (norm(y.clone()) + f64::EPSILON);
        let clipped = y.zip(x.clone()).map(|(y, x)| (y * level).min(x * most));
        let (x, y) = (normalised(x.collect()), normalised(clipped.collect()));
        x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>()
    };
    (0..BANDS).map(correlation).sum::<f64>() / BANDS as f64
}

/// ESTOI of one segment: bands normalised over time, then frames over bands, and the mean correlation of
/// frames.
fn segment_correlation(x: &[[f64; BANDS]], y: &[[f64; BANDS]]) -> f64 {
    let normalised_twice = |segment: &[[f64; BANDS]]| -> Vec<Vec<f64>> {
        let band = |band: usize| normalised(segment.iter().map(|frame| frame[band]).collect());
        let bands: Vec<Vec<f64>> = (0..BANDS).map(band).collect(); // [BANDS][SEGMENT]
        (0..segment.len()).map(|frame| normalised(bands.iter().map(|band| band[frame]).collect())).collect()
    };
    let (x, y) = (normalised_twice(x), normalised_twice(y)); // [SEGMENT][BANDS]
    x.iter().flatten().zip(y.iter().flatten()).map(|(x, y)| x * y).sum::<f64>() / x.len() as f64
}

/// Of mean 0 and norm 1; what does not change at all becomes 0.
fn normalised(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    let norm = norm(values.iter().copied()) + f64::EPSILON;
    values.iter_mut().for_each(|value| *value /= norm);
    values
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}
