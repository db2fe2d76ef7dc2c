//! Pixels as tokens, the baseline: one code a pixel from a palette (as Image GPT does), or three raw bytes a pixel.
//!
//! Image GPT: Chen, Radford, Child, Wu, Jun, Luan, Sutskever, "Generative pretraining from pixels" (2020), section 3.3: 512
//! colours, found by k-means over the pixels of the training pictures.

mod kmeans;
mod nearest;
mod palette;

use jielong_core::{Codec, CodecError, Codes};

use crate::picture::Picture;

pub use kmeans::{Colours, Learning};
pub use palette::{Palette, PaletteError};

/// Red, green and blue as they are: three books of 256 codes. Nothing is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

impl Codec for Raw {
    type Media = Picture;

    fn books(&self) -> &[u32] {
        &[256; 3]
    }

    fn vectors(&self, _: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        Ok((0..=u8::MAX).map(|byte| vec![byte.into()]).collect())
    }

    fn encode(&self, picture: &Picture) -> Result<Codes, CodecError> {
        let size = sound(picture)?;
        Ok(Codes { grid: size.clone(), size, books: 3, values: picture.rgb.iter().map(|&byte| byte.into()).collect() })
    }

    fn decode(&self, codes: &Codes) -> Result<Picture, CodecError> {
        let (width, height) = check(codes, self.books())?;
        let rgb = codes.values.iter().map(|&code| code as u8).collect(); // below 256, as was checked
        Ok(Picture { width, height, rgb })
    }
}

impl Codec for Palette {
    type Media = Picture;

    fn books(&self) -> &[u32] {
        self.books()
    }

    fn vectors(&self, _: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        Ok(self.colours().iter().map(|colour| colour.map(f32::from).to_vec()).collect())
    }

    fn encode(&self, picture: &Picture) -> Result<Codes, CodecError> {
        let size = sound(picture)?;
        let values = picture.pixels().map(|pixel| self.code(pixel)).collect();
        Ok(Codes { grid: size.clone(), size, books: 1, values })
    }

    fn decode(&self, codes: &Codes) -> Result<Picture, CodecError> {
        let (width, height) = check(codes, self.books())?;
        let rgb = codes.values.iter().flat_map(|&code| self.colours()[code as usize]).collect();
        Ok(Picture { width, height, rgb })
    }
}

/// `[height, width]` of a picture that has all its pixels.
fn sound(picture: &Picture) -> Result<Vec<usize>, CodecError> {
    if picture.is_sound() {
        return Ok(vec![picture.height, picture.width]);
    }
    let (width, height, bytes) = (picture.width, picture.height, picture.rgb.len());
    Err(CodecError::Shape(format!("a picture of {width}×{height} with {bytes} bytes: expected 3 a pixel, and a pixel")))
}

/// Width and height of codes with a place for each pixel.
fn check(codes: &Codes, books: &[u32]) -> Result<(usize, usize), CodecError> {
    codes.check(books)?;
    match (codes.size.as_slice(), codes.grid.as_slice()) {
        (&[height, width], &[rows, columns]) if height > 0 && width > 0 && (height, width) == (rows, columns) => {
            Ok((width, height))
        }
        (size, grid) => Err(CodecError::Shape(format!(
            "codes of size {size:?} on a grid of {grid:?}: expected [height, width], the same twice, without a zero"
        ))),
    }
}
