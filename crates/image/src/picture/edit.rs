//! Pictures of another size, and PNG files.

use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Rgb};

use super::Picture;

/// What cannot be done with a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Pixels and sizes do not fit.
    #[error("a picture of {width}×{height} with {bytes} bytes, expected {}", 3u128 * *width as u128 * *height as u128)]
    Unsound {
        /// Width.
        width: usize,
        /// Height.
        height: usize,
        /// Bytes.
        bytes: usize,
    },
    /// A size that no picture has.
    #[error(
        "a picture of {width}×{height} pixels cannot be made; sides are 1 to {MOST_SIDE}, pixels at most {MOST_PIXELS}"
    )]
    Size {
        /// Width asked for.
        width: usize,
        /// Height asked for.
        height: usize,
    },
    /// A part that is not inside.
    #[error("{width}×{height} pixels at {x}, {y} are not inside a picture of {}×{}", of.0, of.1)]
    Outside {
        /// Left edge.
        x: usize,
        /// Upper edge.
        y: usize,
        /// Width of the part.
        width: usize,
        /// Height of the part.
        height: usize,
        /// Width and height of the whole.
        of: (usize, usize),
    },
    /// The encoder failed.
    #[error("cannot write PNG: {0}")]
    Png(String),
}

/// How pixels of another size are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// A windowed sinc, widened where the picture shrinks: sharp; may overshoot at hard edges.
    #[default]
    Lanczos3,
    /// The mean of what falls into a pixel, parts of pixels included; never overshoots. For shrinking.
    Area,
    /// The nearest pixel: for pictures whose pixels are meant to be seen.
    Nearest,
}

const MOST_SIDE: usize = 1 << 20;
const MOST_PIXELS: usize = 64 << 20;

impl Picture {
    /// The picture with this size; sides that change by another factor are distorted.
    ///
    /// # Errors
    /// A size without pixels or with too many.
    pub fn resize(&self, width: usize, height: usize, filter: Filter) -> Result<Self, EditError> {
        let image = self.image()?;
        let (w, h) = sides(width, height)?;
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        let kind = match filter {
            Filter::Area => return Ok(Self { width, height, rgb: area(self, width, height) }),
            Filter::Lanczos3 => FilterType::Lanczos3,
            Filter::Nearest => FilterType::Nearest,
        };
        Ok(Self { width, height, rgb: imageops::resize(&image, w, h, kind).into_raw() })
    }

    /// The largest picture of the same shape that fits into `width`×`height`.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub fn fit(&self, width: usize, height: usize, filter: Filter) -> Result<Self, EditError> {
        sides(width, height)?;
        let scaled = |side: usize, by: usize, of: usize| ((side * by + of / 2) / of.max(1)).max(1);
        let (w, h) = if self.width as u128 * height as u128 >= width as u128 * self.height as u128 {
            (width, scaled(self.height, width, self.width).min(height))
        } else {
            (scaled(self.width, height, self.height).min(width), height)
        };
        self.resize(w, h, filter)
    }

    /// The picture in the middle of a larger one; what is left over by an odd number is at the right and below.
    ///
    /// # Errors
    /// A size smaller than the picture, or too large.
    pub fn pad(&self, width: usize, height: usize, colour: [u8; 3]) -> Result<Self, EditError> {
        self.sound()?;
        sides(width, height)?;
        let too_small = EditError::Outside { x: 0, y: 0, width: self.width, height: self.height, of: (width, height) };
        let (Some(x), Some(y)) = (width.checked_sub(self.width), height.checked_sub(self.height)) else {
            return Err(too_small);
        };
        let mut rgb = colour.repeat(width * height);
        for (row, source) in self.rgb.chunks_exact(3 * self.width).enumerate() {
            let start = 3 * ((y / 2 + row) * width + x / 2);
            rgb[start..start + source.len()].copy_from_slice(source);
        }
        Ok(Self { width, height, rgb })
    }

    /// A part of the picture.
    ///
    /// # Errors
    /// A part without pixels, or that is not inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Self, EditError> {
        self.sound()?;
        sides(width, height)?;
        let inside = |start: usize, side: usize, all: usize| start.checked_add(side).is_some_and(|end| end <= all);
        if !inside(x, width, self.width) || !inside(y, height, self.height) {
            return Err(EditError::Outside { x, y, width, height, of: (self.width, self.height) });
        }
        let rows = self.rgb.chunks_exact(3 * self.width).skip(y).take(height);
        Ok(Self { width, height, rgb: rows.flat_map(|row| &row[3 * x..3 * (x + width)]).copied().collect() })
    }

    /// A PNG file of the picture.
    ///
    /// # Errors
    /// A picture that is not sound, or too large for the format.
    pub fn to_png(&self) -> Result<Vec<u8>, EditError> {
        self.sound()?;
        let (Ok(width), Ok(height)) = (self.width.try_into(), self.height.try_into()) else {
            return Err(EditError::Size { width: self.width, height: self.height });
        };
        let mut png = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Default, PngFilter::Adaptive);
        let written = encoder.write_image(&self.rgb, width, height, ExtendedColorType::Rgb8);
        written.map_err(|error| EditError::Png(error.to_string()))?;
        Ok(png)
    }

    fn sound(&self) -> Result<(), EditError> {
        let (width, height, bytes) = (self.width, self.height, self.rgb.len());
        if self.is_sound() { Ok(()) } else { Err(EditError::Unsound { width, height, bytes }) }
    }

    fn image(&self) -> Result<ImageBuffer<Rgb<u8>, &[u8]>, EditError> {
        self.sound()?;
        let (w, h) = (self.width.try_into().unwrap_or(u32::MAX), self.height.try_into().unwrap_or(u32::MAX));
        let size = EditError::Size { width: self.width, height: self.height };
        ImageBuffer::from_raw(w, h, self.rgb.as_slice()).ok_or(size)
    }
}

fn sides(width: usize, height: usize) -> Result<(u32, u32), EditError> {
    let fine = |side: usize| (1..=MOST_SIDE).contains(&side);
    if fine(width) && fine(height) && width * height <= MOST_PIXELS {
        return Ok((width as u32, height as u32));
    }
    Err(EditError::Size { width, height })
}

/// Means over the area that each new pixel covers.
fn area(picture: &Picture, width: usize, height: usize) -> Vec<u8> {
    let columns = overlaps(picture.width, width);
    let mut rgb = Vec::with_capacity(3 * width * height);
    for (first, weights) in overlaps(picture.height, height) {
        let mut row = vec![0f32; 3 * picture.width];
        for (weight, source) in weights.iter().zip(picture.rgb.chunks_exact(3 * picture.width).skip(first)) {
            row.iter_mut().zip(source).for_each(|(sum, &value)| *sum += weight * f32::from(value));
        }
        for (first, weights) in &columns {
            let pixels = || row[3 * first..].as_chunks::<3>().0.iter().zip(weights);
            rgb.extend(
                [0, 1, 2].map(|channel: usize| pixels().map(|(p, w)| p[channel] * w).sum::<f32>().round() as u8),
            );
        }
    }
    rgb
}

/// For each new place along an axis, the first old one that it covers, and the shares of its length that they have.
fn overlaps(old: usize, new: usize) -> Vec<(usize, Vec<f32>)> {
    let of = |place: usize| {
        let (start, end) = (place * old, (place + 1) * old); // in units of 1 / new
        let (first, last) = (start / new, end.div_ceil(new));
        let share = |pixel: usize| (end.min((pixel + 1) * new) - start.max(pixel * new)) as f32 / old as f32;
        (first, (first..last).map(share).collect())
    };
    (0..new).map(of).collect()
}
