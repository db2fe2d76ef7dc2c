//! What is lost: the codecs that come with the program beside pixels and samples, on files or on what was held out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jielong::codecs::{PictureCodec, SoundCodec};
use jielong::data::is_recording;
use jielong_audio::metrics::stoi::{Intelligibility, RATE, stoi};
use jielong_audio::mulaw::MuLaw;
use jielong_audio::sound::Sound;
use jielong_core::Codec;
use jielong_image::picture::Picture;
use jielong_image::pixel::{Colours, Learning, Palette, PaletteError};
use jielong_image::train::compare;
use jielong_nn::device::DeviceChoice;
use serde::Serialize;

use super::super::image::Part;
use super::super::output::{Output, count};
use super::super::{Global, audio, image};

/// Examples of a data set, and pictures that its palette is learned from.
const EXAMPLES: usize = 16;
const LEARNED: usize = 64;
/// Pixels of the side of a data set's pictures.
const SIDE: usize = 128;

/// What is measured on.
pub struct Subject<'a> {
    /// Files; where there are none, what is held out of the data sets.
    pub files: &'a [PathBuf],
    /// Whether pictures and sounds are asked for, where there are no files.
    pub wanted: [bool; 2],
    /// Codes of a frame of sound.
    pub books: usize,
    pub device: DeviceChoice,
}

/// Scores by medium.
#[derive(Debug, Serialize)]
pub struct Quality {
    pub images: Vec<PictureScore>,
    pub sounds: Vec<SoundScore>,
}

/// A way to write pictures as tokens; means over all of them.
#[derive(Debug, Serialize)]
pub struct PictureScore {
    pub codec: String,
    pub pictures: usize,
    pub tokens: f64,
    pub bits_per_pixel: f64,
    /// At most 100.
    pub psnr: f64,
    pub ssim: f64,
}

/// A way to write sounds as tokens; means over those that a metric is defined for.
#[derive(Debug, Serialize)]
pub struct SoundScore {
    pub codec: String,
    pub recordings: usize,
    pub tokens: f64,
    pub kbit_per_second: f64,
    /// Not of silence, nor of sounds that are too short for it.
    pub stoi: Option<f64>,
    pub estoi: Option<f64>,
}

impl Quality {
    pub fn measure(subject: &Subject, global: &Global) -> Result<Self> {
        let (sounds, pictures): (Vec<PathBuf>, Vec<PathBuf>) =
            subject.files.iter().cloned().partition(|path| is_recording(path));
        let held_out = subject.files.is_empty();
        let [some_pictures, some_sounds] =
            [(!pictures.is_empty(), 0), (!sounds.is_empty(), 1)].map(|(any, at)| any || held_out && subject.wanted[at]);
        let images = if some_pictures { of_pictures(&pictures, subject, global)? } else { Vec::new() };
        let sounds = if some_sounds { of_sounds(&sounds, subject, global)? } else { Vec::new() };
        Ok(Self { images, sounds })
    }

    /// The scores as tables.
    pub fn print(&self, out: &mut Output) -> Result<()> {
        let images = self.images.iter().map(|s| {
            let tokens = count(s.tokens.round() as u128);
            vec![
                s.codec.clone(),
                tokens,
                format!("{:.3}", s.bits_per_pixel),
                format!("{:.2} dB", s.psnr),
                format!("{:.4}", s.ssim),
            ]
        });
        if let Some(first) = self.images.first() {
            out.line(&format!("what is lost, on {} pictures:", first.pictures))?;
            out.table(&["", "tokens", "bits/pixel", "PSNR", "SSIM"], &images.collect::<Vec<_>>())?;
        }
        let score = |score: Option<f64>| score.map_or("–".into(), |score| format!("{score:.3}"));
        let sounds = self.sounds.iter().map(|s| {
            let tokens = count(s.tokens.round() as u128);
            vec![s.codec.clone(), tokens, format!("{:.2}", s.kbit_per_second), score(s.stoi), score(s.estoi)]
        });
        if let Some(first) = self.sounds.first() {
            out.line(&format!("what is lost, on {} recordings:", first.recordings))?;
            out.table(&["", "tokens", "kbit/s", "STOI", "ESTOI"], &sounds.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Where held-out examples are asked for and the data set is not here.
fn name_files(what: &str) -> String {
    format!("--quality, on {what} that were held out; it also takes files: --quality FILE…")
}

fn of_pictures(files: &[PathBuf], subject: &Subject, global: &Global) -> Result<Vec<PictureScore>> {
    let open = |paths: &[PathBuf], size: Option<usize>| -> Result<Vec<Picture>> {
        paths.iter().map(|path| image::open(path, size)).collect()
    };
    let (pictures, colours, whose) = if files.is_empty() {
        let part = |part, most| image::chosen("emoji", part, Some(most), global).context(name_files("pictures"));
        let pictures = open(&part(Part::HeldOut, EXAMPLES)?, Some(SIDE))?;
        (pictures, open(&part(Part::Train, LEARNED)?, Some(SIDE))?, "of the training pictures")
    } else {
        let pictures = open(files, None)?;
        (pictures.clone(), pictures, "of its own pictures")
    };
    let palette = palette(&colours)?;
    let codec = PictureCodec::open(Path::new("emoji"), None, &subject.device.open()?.0)?;
    let name = format!("pixels, {} colours {whose}", count(palette.colours().len() as u128));
    Ok(vec![
        picture_score(name, &palette, &pictures)?,
        picture_score(format!("codes, emoji ({0}×{0} pixels)", codec.patch()), &codec, &pictures)?,
    ])
}

/// As many colours as Image GPT has, or all that there are.
fn palette(pictures: &[Picture]) -> Result<Palette> {
    let mut colours = Colours::default();
    pictures.iter().for_each(|picture| colours.add(picture));
    let learning = Learning::default();
    match Palette::learn(&colours, &learning) {
        Err(PaletteError::TooFew { found, .. }) => {
            Ok(Palette::learn(&colours, &Learning { colours: found, ..learning })?)
        }
        palette => Ok(palette?),
    }
}

fn picture_score(name: String, codec: &dyn Codec<Media = Picture>, pictures: &[Picture]) -> Result<PictureScore> {
    let (mut tokens, mut per_pixel, mut psnr, mut ssim) = (0.0, 0.0, 0.0, 0.0);
    for picture in pictures {
        let codes = codec.encode(picture)?;
        let [a, b] = compare(picture, &codec.decode(&codes)?)?;
        let places = codes.values.len() as f64 / codes.books as f64;
        let pixels = (picture.width * picture.height) as f64;
        tokens += codes.values.len() as f64;
        per_pixel += codec.bits() * places / pixels;
        (psnr, ssim) = (psnr + a, ssim + b);
    }
    let count = pictures.len() as f64;
    Ok(PictureScore {
        codec: name,
        pictures: pictures.len(),
        tokens: tokens / count,
        bits_per_pixel: per_pixel / count,
        psnr: psnr / count,
        ssim: ssim / count,
    })
}

fn of_sounds(files: &[PathBuf], subject: &Subject, global: &Global) -> Result<Vec<SoundScore>> {
    let name = if subject.books == 1 { "speech" } else { "speech-4" };
    let held_out;
    let files = if files.is_empty() {
        held_out = audio::chosen("prompts", Part::HeldOut, Some(EXAMPLES), global).context(name_files("recordings"))?;
        &held_out
    } else {
        files
    };
    let codec = SoundCodec::open(Path::new(name), None, &subject.device.open()?.0)?;
    let rate = codec.rate();
    ensure!(rate == RATE, "the codec `{name}` has {rate} samples a second; STOI is measured at {RATE}");
    let sounds = files.iter().map(|path| audio::open(path, &codec)).collect::<Result<Vec<Sound>>>()?;
    let ms = 1000.0 * codec.hop() as f64 / f64::from(rate);
    let books = codec.books().len();
    Ok(vec![
        sound_score(format!("samples, µ-law at {rate} Hz"), &MuLaw { rate }, &sounds)?,
        sound_score(format!("codes, {name} ({books} each {ms} ms)"), &codec, &sounds)?,
    ])
}

fn sound_score(name: String, codec: &dyn Codec<Media = Sound>, sounds: &[Sound]) -> Result<SoundScore> {
    let (mut tokens, mut kbits, mut scores) = (0.0, 0.0, [Vec::new(), Vec::new()]);
    for sound in sounds {
        let codes = codec.encode(sound)?;
        let back = codec.decode(&codes)?;
        tokens += codes.values.len() as f64;
        kbits += codec.bits() * codes.values.len() as f64 / codes.books as f64 / sound.seconds() / 1000.0;
        for (which, scores) in [Intelligibility::Stoi, Intelligibility::Estoi].into_iter().zip(&mut scores) {
            scores.extend(stoi(&sound.samples, &back.samples, which));
        }
    }
    let count = sounds.len() as f64;
    let [stoi, estoi] =
        scores.map(|scores| (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64));
    Ok(SoundScore {
        codec: name,
        recordings: sounds.len(),
        tokens: tokens / count,
        kbit_per_second: kbits / count,
        stoi,
        estoi,
    })
}
