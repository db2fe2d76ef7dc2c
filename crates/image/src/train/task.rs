//! The codec as a task of the training loop.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::train::{
    ChangesError, Item, Learner, Losses, Numbers, Random, Step, Task, TaskError, spread, write_file,
};
use rayon::prelude::*;

use super::augment::whole;
use super::config::TrainingConfig;
use super::critic::Judge;
use super::loss::Comparison;
use super::score::{Score, ScoreError, grid, score};
use super::upkeep::Usage;
use crate::picture::{Picture, Reading};
use crate::vq::{Reconstruction, VqCodec, VqConfig, VqModel, pixels};

/// Vectors of a batch that unused codes may begin again as.
const REMEMBERED: usize = 4096;
/// Pictures of a sheet of samples.
const SAMPLES: usize = 16;

/// Why a codec cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum CodecTaskError {
    /// Pictures that are no whole patches, or too small for the losses.
    #[error("`size` = {size}; a multiple of 4 and of the codec's {patch} from 16 on is expected")]
    Size {
        /// What the config says.
        size: usize,
        /// The patch of the codec.
        patch: usize,
    },
    /// A critic that cannot be.
    #[error("`critic`: {0} channels and {1} layers; channels must be a multiple of 4, layers 1 to 6")]
    Critic(usize, usize),
    /// A change that cannot be.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// No pictures.
    #[error("there are {train} pictures to learn from and {held_out} held out; some of each are needed")]
    NoPictures {
        /// To learn from.
        train: usize,
        /// Held out.
        held_out: usize,
    },
}

/// Files of pictures.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// To learn from.
    pub train: Vec<PathBuf>,
    /// To score.
    pub held_out: Vec<PathBuf>,
}

/// A codec in training.
#[derive(Debug)]
pub struct CodecTask {
    config: TrainingConfig,
    shape: VqConfig,
    device: Device,
    files: Files,
    comparison: Comparison,
    model: Learner<VqModel>,
    judge: Option<Judge>,
    usage: Usage,
    /// What was quantised in this step.
    vectors: Option<Tensor<2>>,
    /// The last score.
    score: Option<Score>,
}

impl CodecTask {
    /// A new codec of this shape, to be trained on `device`, which is one without gradients. Its weights depend on the seed,
    /// if no other thread draws random numbers of the device meanwhile.
    ///
    /// # Errors
    /// [`CodecTaskError`].
    pub fn new(config: TrainingConfig, shape: VqConfig, files: Files, device: &Device) -> Result<Self, CodecTaskError> {
        let (size, patch) = (config.data.size, shape.patch());
        if !size.is_multiple_of(patch) || !size.is_multiple_of(4) || size < 16 {
            return Err(CodecTaskError::Size { size, patch });
        }
        if let Some(critic) = &config.critic
            && (critic.channels == 0 || !critic.channels.is_multiple_of(4) || !(1..=6).contains(&critic.layers))
        {
            return Err(CodecTaskError::Critic(critic.channels, critic.layers));
        }
        config.changes.check()?;
        let (train, held_out) = (files.train.len(), files.held_out.len());
        if train == 0 || held_out == 0 {
            return Err(CodecTaskError::NoPictures { train, held_out });
        }
        let device = device.clone().autodiff();
        device.seed(config.plan.seed);
        let model = Learner::new(VqModel::new(&shape, &device), config.optimiser.clone(), config.average);
        let judge = config.critic.as_ref().map(|critic| Judge::new(critic, &config.optimiser, &device));
        Ok(Self {
            comparison: Comparison::new(size, &device),
            usage: Usage::new(shape.quantizer.codes()),
            vectors: None,
            score: None,
            config,
            shape,
            device,
            files,
            model,
            judge,
        })
    }

    /// Numbers of the codec.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.model.parameters()
    }

    /// The result so far: the mean of the weights, if there is one.
    #[must_use]
    pub fn result(&self) -> VqModel {
        self.model.result()
    }

    /// The score of the last evaluation.
    #[must_use]
    pub fn score(&self) -> Option<&Score> {
        self.score.as_ref()
    }

    fn batch(&self, batch: &[Item]) -> Result<Tensor<4>, TaskError> {
        let size = self.config.data.size;
        let open = |item: &Item| -> Result<Picture, TaskError> {
            let picture = Picture::open(&self.files.train[item.index], &Reading::default())?;
            Ok(self.config.changes.apply(&picture, size, &mut Random::at(&[item.seed]))?)
        };
        let pictures: Vec<Picture> = batch.par_iter().map(open).collect::<Result<_, _>>()?;
        Ok(pixels::from_pictures(&pictures, [size; 2], &self.device))
    }

    /// Held-out pictures, spread over all.
    fn held_out(&self) -> impl Iterator<Item = Result<Picture, TaskError>> {
        spread(&self.files.held_out, self.config.data.scored.max(1)).map(move |path| {
            let picture = Picture::open(path, &Reading::default())?;
            Ok(whole(&picture, self.config.data.size)?)
        })
    }

    /// Parts of the loss of a batch without a critic.
    fn losses(&mut self, made: Reconstruction, pixels: Tensor<4>) -> Result<Losses, TaskError> {
        let weights = self.config.loss.clone();
        let parts = self.comparison.parts(made.pixels, pixels);
        let mut losses = Losses::new(&self.device);
        losses.add("l1", weights.l1, parts.l1)?;
        losses.add("l2", weights.l2, parts.l2)?;
        losses.add("gradient", weights.gradient, parts.gradient)?;
        losses.add("ssim", weights.ssim, parts.ssim)?;
        if let QuantizerConfig::Vq { .. } = self.shape.quantizer {
            losses.add("codebook", weights.codebook, made.quantized.codebook_loss)?;
            losses.add("commitment", weights.commitment, made.quantized.commitment_loss)?;
            self.remember(made.quantized.codes, made.quantized.inputs)?;
        }
        Ok(losses)
    }

    /// Takes note of codes and of what they stand for.
    fn remember(&mut self, codes: Tensor<1, Int>, vectors: Tensor<2>) -> Result<(), TaskError> {
        let codes = codes.try_into_vec_as::<i64>()?;
        self.usage.count(&codes.into_iter().map(|code| code as u32).collect::<Vec<_>>());
        let [count, _] = vectors.dims();
        self.vectors = Some(vectors.without_autodiff().narrow(0, 0, count.min(REMEMBERED)));
        Ok(())
    }

    /// Codes that nothing uses, and the vectors as which they begin again.
    fn unused(&mut self, step: &Step) -> Option<(Tensor<1, Int>, Tensor<2>)> {
        let vectors = self.vectors.take()?;
        let [count, _] = vectors.dims();
        let mut random = Random::at(&[step.seed, step.number, 2]);
        let new = self.usage.end(&self.config.upkeep, step.number, count, &mut random);
        if new.is_empty() {
            return None;
        }
        let (codes, places): (Vec<i64>, Vec<i64>) =
            new.iter().map(|&(code, place)| (code as i64, place as i64)).unzip();
        let ints = |values: Vec<i64>, device: &Device| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device)
        };
        let places = ints(places, &vectors.device());
        Some((ints(codes, &self.device), vectors.select(0, places)))
    }
}

impl Task for CodecTask {
    fn items(&self) -> usize {
        self.files.train.len()
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        let pixels = self.batch(batch)?;
        let made = self.model.module().forward(pixels.clone());
        let reconstructions = made.pixels.clone();
        let mut losses = self.losses(made, pixels.clone())?;
        if let Some(judge) = &self.judge {
            judge.verdict(&mut losses, reconstructions.clone(), step)?;
        }
        let mut numbers = self.model.add_all(losses, step.share)?;
        if let Some(judge) = &mut self.judge {
            numbers.push(("critic".into(), judge.learn([pixels, reconstructions], step)?));
        }
        Ok(numbers)
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        let unused = self.unused(step);
        self.model.update_then(step.rate, |model| match unused {
            Some((codes, vectors)) => model.with_vectors(codes, vectors),
            None => model,
        })?;
        self.judge.as_mut().map_or(Ok(()), |judge| Ok(judge.update(step)?))
    }

    fn evaluate(&mut self, step: &Step, out: &Path) -> Result<Numbers, TaskError> {
        let codec = VqCodec::new(&self.shape, &self.result(), &self.device.clone().inner());
        let every = (self.config.data.scored.min(self.files.held_out.len()) / SAMPLES).max(1);
        let (mut index, mut samples) = (0, Vec::new());
        let seen = |picture: &Picture, reconstruction: &Picture| {
            if index % every == 0 && samples.len() < SAMPLES {
                samples.push(vec![picture.clone(), reconstruction.clone()]);
            }
            index += 1;
        };
        let found = score(&codec, self.held_out().map(|picture| picture.map_err(Failed)), seen);
        let found = found.map_err(|Failed(error)| error)?;
        if let Some(sheet) = grid(&samples, 8) {
            write_file(&out.join(format!("samples/step-{:09}.png", step.number)), &sheet.to_png()?)?;
        }
        let numbers = vec![
            ("psnr".into(), found.psnr),
            ("ssim".into(), found.ssim),
            ("usage".into(), found.usage()),
            ("perplexity".into(), found.perplexity()),
        ];
        self.score = Some(found);
        Ok(numbers)
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        self.model.save(folder, "model")?;
        if let Some(judge) = &self.judge {
            judge.critic.save(folder, "critic")?;
        }
        self.usage.save(&folder.join("usage.f32"))
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        self.model.load(folder, "model")?;
        if let Some(judge) = &mut self.judge {
            judge.critic.load(folder, "critic")?;
        }
        self.usage.load(&folder.join("usage.f32"))
    }
}

/// What failed while pictures were scored.
struct Failed(TaskError);

impl From<ScoreError> for Failed {
    fn from(error: ScoreError) -> Self {
        Self(error.into())
    }
}
