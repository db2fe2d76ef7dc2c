//! The codec as a task of the training loop.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use jielong_nn::quantizer::{Quantized, QuantizerConfig};
use jielong_nn::train::{Item, Learner, Losses, Numbers, Random, Step, Task, TaskError, spread, write_file};
use rayon::prelude::*;

use super::config::TrainingConfig;
use super::critic::Judge;
use super::loss::Comparison;
use super::score::{Measures, Score, score};
use crate::codec::{FrameCodec, FrameConfig, FrameModel};
use crate::sound::{Reading, Sound, SoundError};

/// Seconds of a held-out recording that an evaluation hears.
const HEARD: f64 = 10.0;
/// Recordings of an evaluation that are written, to be listened to.
const SAMPLES: usize = 4;

/// Why a codec cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum CodecTaskError {
    /// Pieces that are no whole frames or windows.
    #[error(
        "`samples` = {samples}; a multiple of `hop` = {hop} and of a quarter of each window ({windows:?}) is expected"
    )]
    Samples {
        /// What the config says.
        samples: usize,
        /// The hop of the codec.
        hop: usize,
        /// The windows of the loss.
        windows: Vec<usize>,
    },
    /// Critics that cannot be.
    #[error("`critic`: {0}")]
    Critic(String),
    /// No recordings.
    #[error("there are {train} recordings to learn from and {held_out} held out; some of each are needed")]
    NoRecordings {
        /// To learn from.
        train: usize,
        /// Held out.
        held_out: usize,
    },
    /// A recording that cannot be read.
    #[error(transparent)]
    Sound(#[from] SoundError),
}

/// Files of recordings.
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
    shape: FrameConfig,
    device: Device,
    /// All that is learned from, 16 bits a sample.
    recordings: Vec<Vec<i16>>,
    /// A piece of a recording for each of its lengths.
    pieces: Vec<usize>,
    held_out: Vec<PathBuf>,
    comparison: Comparison,
    model: Learner<FrameModel>,
    judge: Option<Judge>,
    score: Option<Score>,
}

impl CodecTask {
    /// A new codec of this shape, to be trained on `device`, which is one without gradients; reads all recordings. Its weights
    /// depend on the seed, if no other thread draws random numbers of the device meanwhile.
    ///
    /// # Errors
    /// [`CodecTaskError`].
    pub fn new(
        config: TrainingConfig,
        shape: FrameConfig,
        files: Files,
        device: &Device,
    ) -> Result<Self, CodecTaskError> {
        let samples = config.data.samples;
        let windows: Vec<usize> = config.scales.iter().map(|scale| scale.0).collect();
        let fits = |n: usize| n > 0 && samples.is_multiple_of(n);
        let whole = windows.iter().all(|&window| window % 4 == 0 && fits(window / 4) && window <= samples);
        if !fits(shape.hop) || !whole || windows.is_empty() {
            return Err(CodecTaskError::Samples { samples, hop: shape.hop, windows });
        }
        if let Some(critic) = &config.critic {
            let whole = |&window: &usize| window % 4 == 0 && fits(window / 4) && window <= samples;
            let problem = match critic {
                _ if critic.channels == 0 || critic.channels > 1024 => "`channels` is not between 1 and 1024",
                _ if critic.windows.is_empty() && critic.periods.is_empty() => "no `windows` and no `periods`",
                _ if !critic.windows.iter().all(whole) => {
                    "`samples` is no multiple of a quarter of each of its windows"
                }
                _ if critic.periods.iter().any(|&period| period == 0 || period * 128 > samples) => {
                    "a period is 0, or longer than a 128th of the pieces"
                }
                _ => "",
            };
            if !problem.is_empty() {
                return Err(CodecTaskError::Critic(problem.into()));
            }
        }
        let reading = Reading { rate: Some(shape.sample_rate), ..Reading::default() };
        let open = |path: &PathBuf| Ok(Sound::open(path, &reading)?.samples);
        let bits = |samples: Vec<f32>| samples.into_iter().map(|x| (x * 32767.0).round() as i16).collect::<Vec<_>>();
        let recordings: Result<Vec<_>, SoundError> = files.train.par_iter().map(|path| open(path).map(bits)).collect();
        let mut recordings = recordings?;
        recordings.retain(|recording| !recording.is_empty());
        let (train, held_out) = (recordings.len(), files.held_out.len());
        if train == 0 || held_out == 0 {
            return Err(CodecTaskError::NoRecordings { train, held_out });
        }
        let pieces = recordings
            .iter()
            .enumerate()
            .flat_map(|(index, recording)| std::iter::repeat_n(index, recording.len().div_ceil(samples)));
        let device = device.clone().autodiff();
        device.seed(config.plan.seed);
        let model = Learner::new(FrameModel::new(&shape, &device), config.optimiser.clone(), config.average);
        let judge = config.critic.as_ref().map(|critic| Judge::new(critic, &config.optimiser, &device));
        Ok(Self {
            judge,
            comparison: Comparison::new(&config.scales, shape.sample_rate, &device),
            score: None,
            pieces: pieces.collect(),
            recordings,
            held_out: files.held_out,
            config,
            shape,
            device,
            model,
        })
    }

    /// Numbers of the codec.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.model.parameters()
    }

    /// The result so far: the mean of the weights, if there is one.
    #[must_use]
    pub fn result(&self) -> FrameModel {
        self.model.result()
    }

    /// The score of the last evaluation.
    #[must_use]
    pub fn score(&self) -> Option<&Score> {
        self.score.as_ref()
    }

    /// How many books a step uses: all, or by chance fewer, so that the first say most (quantiser dropout, Zeghidour et al. 2021,
    /// §III-C).
    fn books(&self, step: &Step) -> usize {
        let mut random = Random::at(&[step.seed, step.number, 3]);
        match random.unit() < self.config.dropout {
            true => 1 + random.below(self.shape.books),
            false => self.shape.books,
        }
    }

    /// Pieces `[batch, samples]`; silence follows a recording that is shorter.
    fn batch(&self, batch: &[Item]) -> Tensor<2> {
        let samples = self.config.data.samples;
        let mut values = Vec::with_capacity(batch.len() * samples);
        for item in batch {
            let recording = &self.recordings[self.pieces[item.index]];
            let mut random = Random::at(&[item.seed]);
            let start = random.below(recording.len().saturating_sub(samples) + 1);
            let gain = 10f64.powf(random.between(-1.0, 1.0) * self.config.data.gain / 20.0) as f32 / 32767.0;
            let piece = &recording[start..recording.len().min(start + samples)];
            values.extend(piece.iter().map(|&x| f32::from(x) * gain));
            values.resize(values.len() + samples - piece.len(), 0.0);
        }
        Tensor::from_data(TensorData::new(values, [batch.len(), samples]), &self.device)
    }

    /// Parts of the loss of a batch without critics.
    fn losses(&self, [samples, made]: &[Tensor<2>; 2], books: Vec<Quantized>) -> Result<Losses, TaskError> {
        let weights = &self.config.loss;
        let parts = self.comparison.parts(made, samples);
        let mut losses = Losses::new(&self.device);
        losses.add("mel", weights.mel, parts.mel)?;
        losses.add("magnitude", weights.magnitude, parts.magnitude)?;
        losses.add("convergence", weights.convergence, parts.convergence)?;
        if let QuantizerConfig::Vq { .. } = self.shape.quantizer {
            let sum = |parts: Vec<Tensor<1>>| parts.into_iter().reduce(|a, b| a + b);
            let parts = books.into_iter().map(|book| (book.codebook_loss, book.commitment_loss));
            let (codebook, commitment): (Vec<_>, Vec<_>) = parts.unzip();
            if let (Some(codebook), Some(commitment)) = (sum(codebook), sum(commitment)) {
                losses.add("codebook", weights.codebook, codebook)?;
                losses.add("commitment", weights.commitment, commitment)?;
            }
        }
        Ok(losses)
    }

    /// Held-out recordings, spread over all, their beginnings.
    fn heard(&self) -> impl Iterator<Item = Result<Sound, TaskError>> {
        let count = self.config.data.scored.max(1);
        let reading = Reading { rate: Some(self.shape.sample_rate), ..Reading::default() };
        spread(&self.held_out, count).map(move |path| {
            let mut sound = Sound::open(path, &reading)?;
            sound.samples.truncate((HEARD * f64::from(sound.rate)) as usize);
            Ok(sound)
        })
    }
}

impl Task for CodecTask {
    fn items(&self) -> usize {
        self.pieces.len()
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        let samples = self.batch(batch);
        let made = self.model.module().forward(samples.clone(), self.books(step));
        let pair = [samples, made.samples];
        let mut losses = self.losses(&pair, made.books)?;
        if let Some(judge) = &self.judge {
            judge.verdict(&mut losses, pair.clone(), step)?;
        }
        let mut numbers = self.model.add_all(losses, step.share)?;
        if let Some(judge) = &mut self.judge {
            numbers.push(("critic".into(), judge.learn(pair, step)?));
        }
        Ok(numbers)
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        self.model.update(step.rate)?;
        self.judge.as_mut().map_or(Ok(()), |judge| Ok(judge.update(step)?))
    }

    fn evaluate(&mut self, step: &Step, out: &Path) -> Result<Numbers, TaskError> {
        let codec = FrameCodec::new(&self.shape, &self.result(), &self.device.clone().inner());
        let every = (self.config.data.scored.min(self.held_out.len()) / SAMPLES).max(1);
        let (mut index, mut samples) = (0, Vec::new());
        let seen = |recording: &Sound, reconstruction: &Sound| {
            if index % every == 0 && samples.len() < SAMPLES {
                samples.push([recording.clone(), reconstruction.clone()]);
            }
            index += 1;
        };
        let heard = self.heard().map(|sound| sound.map_err(Failed));
        let found = score(&codec, heard, Measures::Quick, seen).map_err(|Failed(error)| error)?;
        for (index, pair) in samples.iter().enumerate() {
            for (sound, name) in pair.iter().zip(["original".to_owned(), format!("step-{:09}", step.number)]) {
                write_file(&out.join(format!("samples/{index}-{name}.wav")), &sound.to_wav()?)?;
            }
        }
        let numbers = vec![
            ("stoi".into(), found.stoi.0),
            ("estoi".into(), found.estoi.0),
            ("mel".into(), found.mel.0),
            ("usage".into(), found.usage()),
            ("perplexity".into(), found.perplexity()),
        ];
        self.score = Some(found);
        Ok(numbers)
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        self.model.save(folder, "model")?;
        self.judge.as_ref().map_or(Ok(()), |judge| Ok(judge.critic.save(folder, "critic")?))
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        self.model.load(folder, "model")?;
        self.judge.as_mut().map_or(Ok(()), |judge| Ok(judge.critic.load(folder, "critic")?))
    }
}

/// What failed while recordings were scored.
struct Failed(TaskError);

impl From<jielong_core::CodecError> for Failed {
    fn from(error: jielong_core::CodecError) -> Self {
        Self(error.into())
    }
}
