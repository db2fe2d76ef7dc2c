//! Recordings as pictures: time to the right, frequency up, louder is lighter.

use anyhow::{Context, Result};
use jielong_audio::sound::Sound;
use jielong_audio::spectrum::Stft;
use jielong_image::picture::Picture;

/// Samples of a window and between windows.
const WINDOW: usize = 512;
const HOP: usize = 128;
/// What is so many decibels below the loudest is black.
const DEPTH: f64 = 80.0;
/// The most columns: of longer recordings, several windows share one.
const WIDEST: usize = 4096;
const GAP: usize = 4;

/// Spectrograms one above the other, of recordings of one rate and length.
pub fn draw(sounds: &[&Sound]) -> Result<Picture> {
    let stft = Stft::new(WINDOW, HOP)?;
    let spectra: Vec<_> = sounds.iter().map(|sound| stft.magnitudes(&sound.samples)).collect();
    let loudest = spectra.iter().flat_map(|s| s.values.iter().copied()).fold(1e-9, f64::max);
    let frames = spectra.iter().map(|spectrum| spectrum.frames().len()).max().unwrap_or(1).max(1);
    let (together, height) = (frames.div_ceil(WIDEST), stft.bins());
    let width = frames.div_ceil(together);
    let mut sheet = Picture::filled(width, sounds.len() * (height + GAP), [255; 3]).context("no recording")?;
    for (place, spectrum) in spectra.iter().enumerate() {
        for (frame, values) in spectrum.frames().enumerate().filter(|(frame, _)| frame % together == 0) {
            for (bin, value) in values.iter().enumerate() {
                let level = 1.0 + 20.0 * (value / loudest).max(1e-9).log10() / DEPTH;
                let y = place * (height + GAP) + height - 1 - bin;
                let at = 3 * (y * width + frame / together);
                sheet.rgb[at..at + 3].copy_from_slice(&heat(level.clamp(0.0, 1.0)));
            }
        }
    }
    Ok(sheet)
}

/// Black, violet, orange, pale yellow.
fn heat(level: f64) -> [u8; 3] {
    const COLOURS: [[f64; 3]; 4] = [[0.0, 0.0, 4.0], [114.0, 31.0, 129.0], [241.0, 96.0, 93.0], [252.0, 253.0, 191.0]];
    let place = level * 3.0;
    let first = (place as usize).min(2);
    let part = place - first as f64;
    [0, 1, 2].map(|c| (COLOURS[first][c] * (1.0 - part) + COLOURS[first + 1][c] * part).round() as u8)
}
