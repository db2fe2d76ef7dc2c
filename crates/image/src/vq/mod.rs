//! The learned codec: one code for each patch of a picture, 16×16 pixels with LlamaGen's VQ-16.
//!
//! Sources: Esser, Rombach, Ommer, *Taming transformers for high-resolution image synthesis* (2021), for the network; Sun et
//! al., *Autoregressive model beats diffusion: Llama for scalable image generation* (2024), for its sizes, its order and the
//! names of its weights. Sizes are in `configs/codec`; [`VqModel`] is the network, trained or published; [`VqCodec`] makes
//! codes of pictures.

pub(crate) mod blocks;
mod config;
mod decoder;
mod encoder;
mod levels;
mod load;
mod model;
pub(crate) mod pixels;

use burn::tensor::{Device, Int, Tensor, TensorData};
use jielong_core::{Codec, CodecError, Codes};

use crate::picture::Picture;

pub use config::{ConfigError, VqConfig};
pub use load::LoadError;
pub use model::{Reconstruction, VqModel};

/// Most patches of a picture: 2048×2048 pixels with patches of 16. Memory grows with them, 128 numbers for each pixel.
const MOST: usize = 1 << 14;

/// Pictures as codes of a [`VqModel`].
///
/// Where a size is not whole patches, the last row and column go on until it is, and are cut off again.
#[derive(Debug)]
pub struct VqCodec {
    model: VqModel,
    device: Device,
    patch: usize,
    books: Vec<u32>,
}

/// Codes that are looked at together: bounds memory.
const TOGETHER: usize = 64;

impl VqCodec {
    /// What each code looks like, a patch: the middle of a picture of 3×3 patches that are all of it.
    ///
    /// # Errors
    /// [`CodecError::Backend`].
    pub fn looks(&self) -> Result<Vec<Picture>, CodecError> {
        let codes: Vec<i64> = self.books.iter().flat_map(|&book| 0..book.into()).collect();
        let mut looks = Vec::with_capacity(codes.len());
        for codes in codes.chunks(TOGETHER) {
            let values: Vec<i64> = codes.iter().flat_map(|&code| [code; 9]).collect();
            let codes = Tensor::<3, Int>::from_data(TensorData::new(values, [codes.len(), 3, 3]), &self.device);
            let side = 3 * self.patch;
            for picture in pixels::to_pictures(self.model.decode(codes), side, side).map_err(failed)? {
                let patch = picture.crop(self.patch, self.patch, self.patch, self.patch);
                looks.push(patch.map_err(failed)?);
            }
        }
        Ok(looks)
    }

    /// Pixels of a patch in each direction.
    #[must_use]
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Rows and columns of patches for a picture of these sizes.
    fn grid(&self, height: usize, width: usize) -> Result<[usize; 2], CodecError> {
        let [rows, columns] = [height, width].map(|n| n.div_ceil(self.patch));
        match rows.checked_mul(columns) {
            Some(1..=MOST) => Ok([rows, columns]),
            _ => Err(CodecError::Shape(format!(
                "{width}×{height} pixels are {columns}×{rows} patches of {}; 1 to {MOST} are coded: resize the picture",
                self.patch
            ))),
        }
    }
}

impl Codec for VqCodec {
    type Media = Picture;

    fn books(&self) -> &[u32] {
        &self.books
    }

    fn vectors(&self, _: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        self.model.quantizer().book().map_err(failed)
    }

    fn encode(&self, picture: &Picture) -> Result<Codes, CodecError> {
        let Picture { width, height, .. } = *picture;
        let grid = self.grid(height, width)?;
        if !picture.is_sound() {
            let found = picture.rgb.len();
            return Err(CodecError::Shape(format!("a picture of {width}×{height} pixels has {found} bytes")));
        }
        let pixels = pixels::from_pictures(std::slice::from_ref(picture), grid.map(|n| n * self.patch), &self.device);
        let codes = self.model.encode(pixels).try_into_vec_as::<i64>().map_err(failed)?;
        let values = codes.into_iter().map(|code| code as u32).collect(); // of the book
        Ok(Codes { size: vec![height, width], grid: grid.to_vec(), books: 1, values })
    }

    fn decode(&self, codes: &Codes) -> Result<Picture, CodecError> {
        codes.check(&self.books)?;
        let &[height, width] = &codes.size[..] else {
            return Err(CodecError::Shape(format!("a picture has two sizes, found {:?}", codes.size)));
        };
        let [rows, columns] = self.grid(height, width)?;
        if codes.grid != [rows, columns] {
            let found = &codes.grid;
            return Err(CodecError::Shape(format!(
                "{width}×{height} pixels are {rows} rows of {columns} patches, the codes are a grid of {found:?}"
            )));
        }
        let values: Vec<i64> = codes.values.iter().map(|&code| code.into()).collect();
        let values = TensorData::new(values, [1, rows, columns]);
        let pixels = self.model.decode(Tensor::<3, Int>::from_data(values, &self.device));
        let mut pictures = pixels::to_pictures(pixels, width, height).map_err(failed)?;
        pictures.pop().ok_or_else(|| failed("no picture"))
    }
}

fn failed(error: impl std::fmt::Display) -> CodecError {
    CodecError::Backend(error.to_string())
}
