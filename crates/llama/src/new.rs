//! Models to be trained: with new weights, or with those of a checkpoint and new rows for more tokens.

use std::f64::consts::{SQRT_2, TAU};
use std::path::Path;

use jielong_nn::train::Random;
use jielong_nn::weights::{Weights, WeightsError};

use crate::checkpoint::{Naming, Place, places, tensors};
use crate::config::{Config, NormGain};
use crate::load::{LoadError, LoadOptions, read_config};
use crate::model::Llama;
use crate::source::{EMBEDDING, HEAD, Make, Origin, Source};

/// Deviation of new weights (Radford et al. 2019, *Language models are unsupervised multitask learners*, code of GPT-2).
const DEVIATION: f64 = 0.02;
/// Variance of new rows, as a share of that of the old ones (Hewitt 2021, *Initializing new word embeddings for pretrained
/// language models*).
const VARIANCE: f64 = 1e-5;
/// Share of the variance of new rows that tokens with near vectors have in common.
const COMMON: f64 = 0.9;

/// Vectors of tokens that follow each other: those of codes in the book of a codec.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenVectors {
    /// The first token.
    pub first: u32,
    /// A vector for each token from it on. Where one is shorter than the first, the rest of it is 0.
    pub vectors: Vec<Vec<f32>>,
}

impl Llama {
    /// A model of this shape with new weights, to be trained. Matrices are normal with a deviation of 0.02, those that lead
    /// back to the residual stream with 0.02 / √(2 · layers) (Radford et al. 2019, §2.3); gains are 1, biases 0. Nothing
    /// but the seed and `tokens` decides them. Tokens with near vectors begin with rows that are alike, so that what is learned of one is learned of all
    /// that are near: nine tenths of their variance are random Fourier features of the vectors (Rahimi & Recht 2007, *Random features
    /// for large-scale kernel machines*), with half the distance of two vectors as their length.
    ///
    /// # Errors
    /// [`LoadError::Context`], as [`Llama::from_folder`].
    pub fn new(config: &Config, seed: u64, tokens: &[TokenVectors], options: &LoadOptions) -> Result<Self, LoadError> {
        let context = options.context_of(config)?;
        let gain = if config.norm_gain == NormGain::OnePlusWeight { 0.0 } else { 1.0 };
        let last = DEVIATION / (2.0 * config.depth() as f64).sqrt();
        let origins = (0..).zip(tensors(config)).map(|(index, spec)| {
            let count = spec.shape.iter().product::<usize>();
            let deviation =
                if ["o_proj", "down_proj"].iter().any(|n| spec.name.contains(n)) { last } else { DEVIATION };
            let value = if spec.name.ends_with("norm.weight") { gain } else { 0.0 };
            let matrix = spec.shape.len() > 1;
            let near = if [EMBEDDING, HEAD].contains(&&*spec.name) { tokens.to_vec() } else { Vec::new() };
            let width = config.hidden_size;
            let make: Make = Box::new(move || {
                let mut random = Random::at(&[seed, index]);
                let next = || if matrix { random.normal(0.0, deviation) as f32 } else { value };
                let mut values: Vec<f32> = std::iter::repeat_with(next).take(count).collect();
                near.iter().for_each(|tokens| tokens.mix_into(&mut values, width, deviation, &mut random));
                Ok(values)
            });
            (spec.name, Origin::Made(spec.shape, make))
        });
        Ok(Source::new(origins.collect(), config, options).model(context)?)
    }

    /// Loads a Hugging Face folder, as [`Llama::from_folder`], with a vocabulary of `vocab_size` tokens. Rows of the embedding and
    /// the head that the checkpoint does not have are drawn closely around the mean of those that it has (Hewitt 2021), so that
    /// what was learned stays.
    ///
    /// # Errors
    /// [`LoadError`]; [`LoadError::Smaller`] if the checkpoint has more tokens.
    pub fn enlarged(folder: &Path, vocab_size: usize, seed: u64, options: &LoadOptions) -> Result<Self, LoadError> {
        let stored = read_config(folder)?;
        if vocab_size < stored.vocab_size {
            let path = folder.to_path_buf();
            return Err(LoadError::Smaller { path, asked: vocab_size, found: stored.vocab_size });
        }
        let weights = Weights::open_safetensors(folder)?;
        let places = places(&stored, &weights, Naming::HuggingFace)
            .map_err(|problems| LoadError::Mismatch { path: folder.to_path_buf(), problems })?;
        let config = Config { vocab_size, ..stored };
        let context = options.context_of(&config)?;
        let origins = (0..).zip(tensors(&config)).zip(places).map(|((index, spec), place)| {
            let new = spec.shape[0].saturating_sub(place.shape[0]);
            if new == 0 || ![EMBEDDING, HEAD].contains(&&*spec.name) {
                return (spec.name, Origin::Stored(place));
            }
            let make: Make = Box::new(move || more_rows(&place, new, &mut Random::at(&[seed, index])));
            (spec.name, Origin::Made(spec.shape, make))
        });
        let origins = origins.collect();
        Ok(Source::new(origins, &config, options).model(context)?)
    }
}

impl TokenVectors {
    /// Mixes random Fourier features of the vectors into the rows of their tokens, `[vocabulary, width]`; what has no row is left out.
    fn mix_into(&self, rows: &mut [f32], width: usize, deviation: f64, random: &mut Random) {
        let length = self.distance() / 2.0;
        if length == 0.0 {
            return; // all are the same: nothing is nearer than the rest
        }
        for column in 0..width {
            let wave: Vec<f64> = (0..self.inputs()).map(|_| random.normal(0.0, 1.0) / length).collect();
            let phase = random.between(0.0, TAU);
            let column = rows.iter_mut().skip(self.first as usize * width + column).step_by(width);
            for (value, vector) in column.zip(&self.vectors) {
                let angle = vector.iter().zip(&wave).map(|(&input, wave)| f64::from(input) * wave).sum::<f64>() + phase;
                let common = SQRT_2 * deviation * angle.cos();
                *value = (COMMON.sqrt() * common + (1.0 - COMMON).sqrt() * f64::from(*value)) as f32;
            }
        }
    }

    /// Numbers of a vector.
    fn inputs(&self) -> usize {
        self.vectors.first().map_or(0, Vec::len)
    }

    /// The root of the mean square distance of two vectors: by the variance of each of their numbers.
    fn distance(&self) -> f64 {
        let count = self.vectors.len() as f64;
        let variance = |at: usize| {
            let values = || self.vectors.iter().map(|vector| vector.get(at).copied().map_or(0.0, f64::from));
            let mean = values().sum::<f64>() / count;
            values().map(|value| (value - mean).powi(2)).sum::<f64>() / count
        };
        (2.0 * (0..self.inputs()).map(variance).sum::<f64>()).sqrt()
    }
}

/// The rows of a stored matrix and `new` more.
fn more_rows(place: &Place, new: usize, random: &mut Random) -> Result<Vec<f32>, WeightsError> {
    let mut values = place.view.to_f32()?;
    let (rows, width) = (place.shape[0], place.shape[1]);
    let column = |at: usize| values.iter().skip(at).step_by(width).map(|&value| f64::from(value));
    let columns: Vec<(f64, f64)> = (0..width)
        .map(|at| {
            let mean = column(at).sum::<f64>() / rows as f64;
            let variance = column(at).map(|value| (value - mean).powi(2)).sum::<f64>() / rows as f64;
            (mean, (variance * VARIANCE).sqrt())
        })
        .collect();
    for _ in 0..new {
        values.extend(columns.iter().map(|&(mean, deviation)| random.normal(mean, deviation) as f32));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_with_near_vectors_begin_alike() {
        const WIDTH: usize = 256;
        let mut random = Random::at(&[1]);
        let before: Vec<f32> = (0..25 * WIDTH).map(|_| random.normal(0.0, 0.02) as f32).collect();
        let mut rows = before.clone();
        let vectors = (0..30).map(|at| vec![at as f32, 5.0]).collect(); // the last have no row
        TokenVectors { first: 3, vectors }.mix_into(&mut rows, WIDTH, 0.02, &mut random);
        assert_eq!(rows[..3 * WIDTH], before[..3 * WIDTH]);
        let row = |token: usize| &rows[token * WIDTH..][..WIDTH];
        let product = |a: usize, b: usize| row(a).iter().zip(row(b)).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let alike = |a: usize, b: usize| product(a, b) / (product(a, a) * product(b, b)).sqrt();
        assert!(alike(10, 11) > 0.8 && alike(10, 12) > 0.7 && alike(4, 24).abs() < 0.2, "{}", alike(10, 11));
        let deviation = (product(12, 12) / WIDTH as f64).sqrt();
        assert!((deviation - 0.02).abs() < 0.003, "{deviation}");
        let mixed = rows.clone();
        for vectors in [vec![vec![1.0]; 5], vec![vec![]; 5], vec![]] {
            TokenVectors { first: 3, vectors }.mix_into(&mut rows, WIDTH, 0.02, &mut random);
        }
        assert_eq!(rows, mixed);
    }
}
