//! Decoding as codes come in: the same samples as all at once, but for rounding.
//!
//! A frame's samples depend on no frame further away than the layers reach ([`FrameConfig::reach`]). So a stretch of frames can be
//! decoded from itself and its neighbourhood alone; what the layers see beyond that neighbourhood does not matter. Samples of
//! a frame are final once so many frames behind it are known: that is the delay.

use burn::tensor::{Int, Tensor, TensorData};
use jielong_core::{Codec, CodecError};

use super::{FrameCodec, FrameConfig, LayerConfig, failed};

/// Decodes codes frame by frame.
#[derive(Debug)]
pub struct Stream<'a> {
    codec: &'a FrameCodec,
    /// Codes that still matter: those of the neighbourhood before what comes next, and all later ones.
    codes: Vec<u32>,
    /// Which frame the first of them is.
    first: usize,
    /// Frames whose samples were given.
    done: usize,
    together: usize,
}

impl FrameConfig {
    /// How many frames before and after a frame its samples depend on, at most.
    #[must_use]
    pub fn reach(&self) -> usize {
        // From the samples back to the frames: how many samples a place is, and how many the layers so far reach.
        let (mut place, mut reach) = (1, 0);
        for layer in self.decoder.iter().rev() {
            match *layer {
                LayerConfig::Conv { kernel, .. } => reach += kernel / 2 * place,
                LayerConfig::Up { rate, .. } => {
                    // Three units of kernel 7, dilated by 1, 3 and 9; then each place comes of two.
                    reach += 3 * (1 + 3 + 9) * place;
                    place *= rate;
                    reach += place;
                }
                LayerConfig::Down { rate, .. } => reach += (3 * (1 + 3 + 9) + rate) * place,
                LayerConfig::Convnext { kernel, blocks, .. } => reach += kernel / 2 * (1 + blocks) * place,
                LayerConfig::Spectrum { window } | LayerConfig::Mel { window, .. } => {
                    place *= self.hop;
                    reach += window;
                }
                LayerConfig::Snake | LayerConfig::Tanh => {}
            }
        }
        reach.div_ceil(self.hop)
    }
}

impl FrameCodec {
    /// Decodes codes as they come in, `together` or more frames at a time: fewer are sooner there, more are less work.
    #[must_use]
    pub fn stream(&self, together: usize) -> Stream<'_> {
        Stream { codec: self, codes: Vec::new(), first: 0, done: 0, together: together.max(1) }
    }
}

impl Stream<'_> {
    /// Takes the codes of whole frames, books innermost, and gives the samples that are final now.
    ///
    /// # Errors
    /// [`CodecError`]; then nothing was taken.
    pub fn push(&mut self, codes: &[u32]) -> Result<Vec<f32>, CodecError> {
        let books = self.codec.books();
        if !codes.len().is_multiple_of(books.len()) {
            let (found, expected) = (codes.len(), books.len());
            return Err(CodecError::Shape(format!("{found} codes are no frames of {expected}")));
        }
        for (index, &code) in codes.iter().enumerate() {
            let (book, place) = (index % books.len(), self.known() + index / books.len());
            if code >= books[book] {
                return Err(CodecError::Code { code, book, place, size: books[book] });
            }
        }
        self.codes.extend(codes);
        let ready = self.known().saturating_sub(self.codec.config.reach());
        if ready < self.done + self.together {
            return Ok(Vec::new());
        }
        let hop = self.codec.config.hop;
        let samples = self.decode()?;
        let from = (self.done - self.first) * hop;
        let samples = samples[from..from + (ready - self.done) * hop].to_vec();
        self.done = ready;
        let keep = self.done.saturating_sub(self.codec.config.reach());
        self.codes.drain(..(keep - self.first) * books.len());
        self.first = keep;
        Ok(samples)
    }

    /// The samples of the last frames, when no more codes come.
    ///
    /// # Errors
    /// [`CodecError::Backend`].
    pub fn finish(self) -> Result<Vec<f32>, CodecError> {
        if self.known() == self.done {
            return Ok(Vec::new());
        }
        let mut samples = self.decode()?;
        samples.resize((self.known() - self.first) * self.codec.config.hop, 0.0); // a layer of an odd rate loses some
        Ok(samples.split_off((self.done - self.first) * self.codec.config.hop))
    }

    /// Frames whose codes are known.
    fn known(&self) -> usize {
        self.first + self.codes.len() / self.codec.books().len()
    }

    fn decode(&self) -> Result<Vec<f32>, CodecError> {
        let books = self.codec.books().len();
        let values: Vec<i64> = self.codes.iter().map(|&code| code.into()).collect();
        let values = TensorData::new(values, [1, self.codes.len() / books, books]);
        let codes = Tensor::<3, Int>::from_data(values, &self.codec.device);
        self.codec.model.decode(codes).try_into_vec_as::<f32>().map_err(failed)
    }
}
