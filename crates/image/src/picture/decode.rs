//! Decoding within limits, transparency over a background, and the turn upright.

use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageResult, RgbImage};

use super::error::{Format, Problem};
use super::header::{self, Header};
use super::{Limits, Picture, Reading, jpeg};

/// Bytes that a PNG's texts and colour profile may take.
const METADATA: u64 = 32 << 20;

/// Reads a picture.
pub(super) fn picture<R: BufRead + Seek>(mut reader: R, reading: &Reading) -> Result<Picture, Problem> {
    let header = header::read(&mut reader)?;
    check(&header, &reading.limits)?;
    reader.rewind()?;
    let rgb = catch_unwind(AssertUnwindSafe(|| rgb(reader, &header, reading)));
    let rgb = rgb.unwrap_or_else(|_| Err(broken(&header, "the decoder gave up".to_owned())))?;
    let image = RgbImage::from_raw(header.width, header.height, rgb);
    let mut image = DynamicImage::ImageRgb8(image.ok_or_else(|| broken(&header, "too few pixels".to_owned()))?);
    if let Some(orientation) = header.exif.as_deref().and_then(Orientation::from_exif_chunk) {
        image.apply_orientation(orientation);
    }
    let image = image.into_rgb8(); // is one: no copy
    Ok(Picture { width: image.width() as usize, height: image.height() as usize, rgb: image.into_raw() })
}

fn check(header: &Header, limits: &Limits) -> Result<(), Problem> {
    let &Header { format, width, height, .. } = header;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.pixels {
        return Err(Problem::TooManyPixels { format, width, height, limit: limits.pixels });
    }
    let copies = if header.exif.is_some() { 6 } else { 3 }; // turning takes a second one
    let bytes = header.memory.saturating_add(copies * pixels);
    if bytes > limits.memory {
        return Err(Problem::TooMuchMemory { format, bytes, limit: limits.memory });
    }
    Ok(())
}

fn rgb<R: BufRead + Seek>(reader: R, header: &Header, reading: &Reading) -> Result<Vec<u8>, Problem> {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(METADATA);
    let decoded = match header.format {
        Format::Png => PngDecoder::with_limits(reader, limits).and_then(|decoder| samples(decoder, header)),
        Format::Jpeg => return jpeg::rgb(reader, header),
        Format::WebP => WebPDecoder::new(reader).and_then(|decoder| samples(decoder, header)),
        Format::Gif => GifDecoder::new(reader).and_then(|decoder| samples(decoder, header)),
    };
    let (samples, colour) = decoded.map_err(|error| problem(header, &error))?;
    flat(samples, colour, reading.background)
        .ok_or_else(|| Problem::Unsupported { format: header.format, why: format!("pixels of type {colour:?}") })
}

/// Samples as the decoder gives them. The header was checked, so the decoder must agree with it.
fn samples<D: ImageDecoder>(decoder: D, header: &Header) -> ImageResult<(Vec<u8>, ColorType)> {
    let colour = decoder.color_type();
    let bytes = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    if decoder.dimensions() != (header.width, header.height) || bytes as u64 > header.memory {
        let (width, height) = decoder.dimensions();
        return Err(ImageError::IoError(std::io::Error::other(format!(
            "it has two sizes, {}×{} and {width}×{height}",
            header.width, header.height
        ))));
    }
    let mut samples = vec![0; bytes];
    decoder.read_image(&mut samples)?;
    Ok((samples, colour))
}

fn problem(header: &Header, error: &ImageError) -> Problem {
    let format = header.format;
    match error {
        ImageError::Unsupported(error) => Problem::Unsupported { format, why: error.to_string() },
        ImageError::Limits(_) => {
            Problem::Broken { format, why: "its texts or its colour profile are too large".into() }
        }
        error => broken(header, error.to_string()),
    }
}

fn broken(header: &Header, why: String) -> Problem {
    Problem::Broken { format: header.format, why }
}

/// 8-bit RGB of samples of any type; what is transparent is laid over the background (in sRGB, as browsers do).
fn flat(samples: Vec<u8>, colour: ColorType, background: [u8; 3]) -> Option<Vec<u8>> {
    let bytes = || samples.iter().map(|&byte| u16::from(byte) * 257);
    let words = || samples.as_chunks::<2>().0.iter().map(|&word| u16::from_ne_bytes(word));
    Some(match colour {
        ColorType::Rgb8 => samples,
        ColorType::L8 => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        ColorType::La8 => over(bytes(), 2, background),
        ColorType::Rgba8 => over(bytes(), 4, background),
        ColorType::L16 => words().flat_map(|grey| [eight(grey); 3]).collect(),
        ColorType::La16 => over(words(), 2, background),
        ColorType::Rgb16 => words().map(eight).collect(),
        ColorType::Rgba16 => over(words(), 4, background),
        _ => return None,
    })
}

/// The nearest 8-bit value.
fn eight(sample: u16) -> u8 {
    ((u32::from(sample) * 255 + 32_767) / 65_535) as u8
}

/// Pixels of grey or RGB, then alpha.
fn over(mut samples: impl Iterator<Item = u16>, channels: usize, background: [u8; 3]) -> Vec<u8> {
    const FULL: u64 = 65_535;
    let mut rgb = Vec::with_capacity(samples.size_hint().0 / channels * 3);
    while let Some(first) = samples.next() {
        let colour = match channels {
            2 => [first; 3],
            _ => [first, samples.next().unwrap_or(0), samples.next().unwrap_or(0)],
        };
        let alpha = u64::from(samples.next().unwrap_or(u16::MAX));
        for (sample, behind) in colour.into_iter().zip(background) {
            let sum = u64::from(sample) * alpha + u64::from(behind) * 257 * (FULL - alpha);
            rgb.push(((sum * 255 + FULL * FULL / 2) / (FULL * FULL)) as u8);
        }
    }
    rgb
}
