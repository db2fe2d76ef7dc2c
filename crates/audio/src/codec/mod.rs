//! The learned codec: one code, or a short stack of codes, for each frame of a recording, 20 ms with ours.
//!
//! A codec is data ([`FrameConfig`]): lists of layers for encoder and decoder, and a quantiser between. [`FrameModel`] is the
//! network, trained or published.

mod config;
mod dac;
pub(crate) mod frames;
mod layers;
mod load;
mod model;
mod stream;
mod transforms;

use burn::tensor::{Device, Int, Tensor, TensorData};
use jielong_core::{Codec, CodecError, Codes};

use crate::sound::Sound;

pub use config::{ConfigError, FrameConfig, LayerConfig};
pub use load::LoadError;
pub use model::{FrameModel, Reconstruction};
pub use stream::Stream;

/// Most frames of a recording: half an hour of 20 ms frames. Memory grows with them.
const MOST: usize = 90_000;

/// Sound as codes of a [`FrameModel`].
///
/// Where a recording is not whole frames, silence follows it, which is cut off again.
#[derive(Debug)]
pub struct FrameCodec {
    model: FrameModel,
    device: Device,
    config: FrameConfig,
    books: Vec<u32>,
}

impl FrameCodec {
    /// What it is made of.
    #[must_use]
    pub fn config(&self) -> &FrameConfig {
        &self.config
    }

    fn frames(&self, samples: usize) -> Result<usize, CodecError> {
        match samples.div_ceil(self.config.hop) {
            frames @ 1..=MOST => Ok(frames),
            frames => Err(CodecError::Shape(format!(
                "{samples} samples are {frames} frames of {}; 1 to {MOST} are coded: cut the recording",
                self.config.hop
            ))),
        }
    }
}

impl Codec for FrameCodec {
    type Media = Sound;

    fn books(&self) -> &[u32] {
        &self.books
    }

    fn vectors(&self, book: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        self.model.quantizer(book).book().map_err(failed)
    }

    fn encode(&self, sound: &Sound) -> Result<Codes, CodecError> {
        let (rate, count) = (self.config.sample_rate, sound.samples.len());
        if sound.rate != rate {
            let found = sound.rate;
            return Err(CodecError::Shape(format!(
                "{found} samples a second; this codec takes {rate}: resample first"
            )));
        }
        let frames = self.frames(count)?;
        let mut samples = sound.samples.clone();
        samples.resize(frames * self.config.hop, 0.0);
        let samples = TensorData::new(samples, [1, frames * self.config.hop]);
        let codes = self.model.encode(Tensor::from_data(samples, &self.device), self.config.books);
        let codes = codes.try_into_vec_as::<i64>().map_err(failed)?;
        let values = codes.into_iter().map(|code| code as u32).collect(); // of the book
        Ok(Codes { size: vec![count], grid: vec![frames], books: self.config.books, values })
    }

    fn decode(&self, codes: &Codes) -> Result<Sound, CodecError> {
        codes.check(&self.books)?;
        let &[count] = &codes.size[..] else {
            return Err(CodecError::Shape(format!("a recording has one size, found {:?}", codes.size)));
        };
        let frames = self.frames(count)?;
        if codes.grid != [frames] {
            let found = &codes.grid;
            return Err(CodecError::Shape(format!("{count} samples are {frames} frames, the codes are {found:?}")));
        }
        let values: Vec<i64> = codes.values.iter().map(|&code| code.into()).collect();
        let values = Tensor::<3, Int>::from_data(TensorData::new(values, [1, frames, codes.books]), &self.device);
        let mut samples = self.model.decode(values).try_into_vec_as::<f32>().map_err(failed)?;
        samples.resize(count, 0.0); // a layer of an odd rate loses some
        Ok(Sound { rate: self.config.sample_rate, samples })
    }
}

fn failed(error: impl std::fmt::Display) -> CodecError {
    CodecError::Backend(error.to_string())
}
