//! The codec as a task of the training loop.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use jielong_nn::module::{self, ModuleError, made, parameters};
use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::train::{AdamW, Average, Gradients, Item, Numbers, Random, Step, Task, TaskError, scalar};
use jielong_nn::weights::Weights as Stored;
use rayon::prelude::*;

use super::augment::whole;
use super::config::TrainingConfig;
use super::critic::Critic;
use super::loss::Comparison;
use super::score::{Score, ScoreError, grid, score};
use super::upkeep::Usage;
use crate::picture::{Picture, Reading};
use crate::vq::{VqCodec, VqConfig, VqModel, pixels};

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

/// A critic in training.
#[derive(Debug)]
struct Judge {
    critic: Critic,
    optimiser: AdamW,
    gradients: Gradients,
}

/// A codec in training.
#[derive(Debug)]
pub struct CodecTask {
    config: TrainingConfig,
    shape: VqConfig,
    device: Device,
    files: Files,
    comparison: Comparison,
    model: VqModel,
    optimiser: AdamW,
    gradients: Gradients,
    average: Option<Average<VqModel>>,
    usage: Usage,
    /// What was quantised in this step.
    vectors: Option<Tensor<2>>,
    judge: Option<Judge>,
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
        let (train, held_out) = (files.train.len(), files.held_out.len());
        if train == 0 || held_out == 0 {
            return Err(CodecTaskError::NoPictures { train, held_out });
        }
        let device = device.clone().autodiff();
        device.seed(config.plan.seed);
        let model = made(VqModel::new(&shape, &device));
        let average = Average::new(&model, config.average);
        let judge = config.critic.as_ref().map(|critic| Judge {
            critic: made(Critic::new(critic, &device)),
            optimiser: AdamW::new(config.optimiser.clone()),
            gradients: Gradients::default(),
        });
        Ok(Self {
            comparison: Comparison::new(size, &device),
            optimiser: AdamW::new(config.optimiser.clone()),
            gradients: Gradients::default(),
            average: (config.average > 0.0).then_some(average),
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
        parameters(&self.model).values().map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// The result so far: the mean of the weights, if there is one.
    #[must_use]
    pub fn result(&self) -> VqModel {
        self.average.as_ref().map_or_else(|| self.model.valid(), |average| average.module.clone())
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
        let files = &self.files.held_out;
        let count = self.config.data.scored.clamp(1, files.len());
        (0..count).map(move |index| {
            let picture = Picture::open(&files[index * files.len() / count], &Reading::default())?;
            Ok(whole(&picture, self.config.data.size)?)
        })
    }

    /// Codes that nothing uses begin again.
    fn renew(&mut self, step: &Step) -> Result<(), ModuleError> {
        let Some(vectors) = self.vectors.take() else { return Ok(()) };
        let [count, _] = vectors.dims();
        let mut random = Random::at(&[step.seed, step.number, 2]);
        let new = self.usage.end(&self.config.upkeep, step.number, count, &mut random);
        if !new.is_empty() {
            let [codes, places]: [Vec<i64>; 2] =
                [new.iter().map(|new| new.0 as i64).collect(), new.iter().map(|new| new.1 as i64).collect()];
            let ints = |values: Vec<i64>, device: &Device| {
                let count = values.len();
                Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device)
            };
            let vectors = vectors.clone().select(0, ints(places, &vectors.device()));
            self.model = self.model.clone().with_vectors(ints(codes, &self.device), vectors);
        }
        Ok(())
    }
}

impl Task for CodecTask {
    fn items(&self) -> usize {
        self.files.train.len()
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        let pixels = self.batch(batch)?;
        let made = self.model.forward(pixels.clone());
        let parts = self.comparison.parts(made.pixels.clone(), pixels.clone());
        let weights = &self.config.loss;
        let mut numbers = vec![("loss", 0.0)];
        let mut loss = Tensor::<1>::zeros([1], &self.device);
        let mut add = |name: &'static str, weight: f64, part: Tensor<1>| -> Result<(), ModuleError> {
            numbers.push((name, scalar(part.clone())?));
            if weight != 0.0 {
                loss = loss.clone() + part * weight;
            }
            Ok(())
        };
        add("l1", weights.l1, parts.l1)?;
        add("l2", weights.l2, parts.l2)?;
        add("gradient", weights.gradient, parts.gradient)?;
        add("ssim", weights.ssim, parts.ssim)?;
        if let QuantizerConfig::Vq { .. } = self.shape.quantizer {
            add("codebook", weights.codebook, made.quantized.codebook_loss)?;
            add("commitment", weights.commitment, made.quantized.commitment_loss)?;
            let codes = made.quantized.codes.try_into_vec_as::<i64>()?;
            self.usage.count(&codes.into_iter().map(|code| code as u32).collect::<Vec<_>>());
            let vectors = made.quantized.inputs.without_autodiff();
            let [count, _] = vectors.dims();
            self.vectors = Some(vectors.narrow(0, 0, count.min(REMEMBERED)));
        }
        let judging = self.config.critic.as_ref().is_some_and(|critic| step.number >= critic.from);
        let verdict = match (&self.judge, &self.config.critic) {
            (Some(judge), Some(critic)) if judging => {
                let verdict = judge.critic.verdict(made.pixels.clone());
                loss = loss + verdict.clone() * critic.weight;
                Some(scalar(verdict)?)
            }
            _ => None,
        };
        numbers[0].1 = scalar(loss.clone())?;
        let mut backward = loss.backward();
        self.gradients.add(&self.model, &mut backward, step.share);
        if let Some(judge) = &mut self.judge {
            let mut critic_loss = 0.0;
            if judging {
                let loss = judge.critic.loss(pixels, made.pixels.detach());
                critic_loss = scalar(loss.clone())?;
                judge.gradients.add(&judge.critic, &mut loss.backward(), step.share);
            }
            numbers.extend([("verdict", verdict.unwrap_or(0.0)), ("critic", critic_loss)]);
        }
        Ok(numbers)
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        let gradients = std::mem::take(&mut self.gradients);
        self.model = self.optimiser.step(self.model.clone(), gradients, step.rate)?.0;
        self.renew(step)?;
        if let Some(average) = &mut self.average {
            average.update(&self.model, step.number);
        }
        if let (Some(judge), Some(critic)) = (&mut self.judge, &self.config.critic)
            && step.number >= critic.from
        {
            let gradients = std::mem::take(&mut judge.gradients);
            judge.critic = judge.optimiser.step(judge.critic.clone(), gradients, step.rate * critic.rate)?.0;
        }
        Ok(())
    }

    fn evaluate(&mut self, step: &Step, out: &Path) -> Result<Numbers, TaskError> {
        let codec = VqCodec::new(&self.shape, &self.result(), &self.device.clone().inner());
        let every = (self.config.data.scored.min(self.files.held_out.len()) / SAMPLES).max(1);
        let (mut index, mut samples) = (0, Vec::new());
        let seen = |picture: &Picture, reconstruction: &Picture| {
            if index % every == 0 && samples.len() < SAMPLES {
                samples.push((picture.clone(), reconstruction.clone()));
            }
            index += 1;
        };
        let found = score(&codec, self.held_out().map(|picture| picture.map_err(Failed)), seen);
        let found = found.map_err(|Failed(error)| error)?;
        if let Some(sheet) = grid(&samples, 8) {
            let folder = out.join("samples");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(format!("step-{:09}.png", step.number)), sheet.to_png()?)?;
        }
        let numbers = vec![
            ("psnr", found.psnr),
            ("ssim", found.ssim),
            ("usage", found.usage()),
            ("perplexity", found.perplexity()),
        ];
        self.score = Some(found);
        Ok(numbers)
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        self.model.save(&folder.join("model.safetensors"))?;
        self.optimiser.save(&folder.join("optimiser.safetensors"))?;
        if let Some(average) = &self.average {
            average.module.save(&folder.join("average.safetensors"))?;
        }
        if let Some(judge) = &self.judge {
            module::save(&judge.critic, &folder.join("critic.safetensors"))?;
            judge.optimiser.save(&folder.join("critic-optimiser.safetensors"))?;
        }
        self.usage.save(&folder.join("usage.f32"))
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        let open = |name: &str| Stored::open(&folder.join(name));
        let plain = self.device.clone().inner();
        self.model = VqModel::from_weights(&self.shape, &open("model.safetensors")?, &self.device)?;
        self.optimiser.load(&folder.join("optimiser.safetensors"), &plain)?;
        if let Some(average) = &mut self.average {
            average.module = VqModel::from_weights(&self.shape, &open("average.safetensors")?, &plain)?;
        }
        if let (Some(judge), Some(critic)) = (&mut self.judge, &self.config.critic) {
            let new = Critic::new(critic, &self.device);
            judge.critic = module::load(new, &open("critic.safetensors")?, |_| false)?;
            judge.optimiser.load(&folder.join("critic-optimiser.safetensors"), &plain)?;
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
