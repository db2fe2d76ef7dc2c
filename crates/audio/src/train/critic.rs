//! A second network that learns to tell recordings from reconstructions, and that a codec learns to please.
//!
//! Several small ones, each with its own view: spectra through windows of several lengths (Jang et al. 2021, *UnivNet*, §2.3), and
//! samples that are a period apart, for several periods (Kong et al. 2020, *HiFi-GAN*, §2.3). The losses are hinges (Lim & Ye
//! 2017); besides, what the layers see of a reconstruction is to be what they see of its recording (feature matching, Larsen
//! et al. 2016).

use burn::module::{Module, Param};
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};
use jielong_nn::conv::{Sliding, conv2d};
use jielong_nn::module::{ModuleError, uniform};
use jielong_nn::train::{AdamWConfig, Learner, Losses, Step};
use serde::{Deserialize, Serialize};

use crate::codec::frames::{forward, magnitudes, windows};

/// Critics, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriticConfig {
    /// The step from which they play a part: before, there is nothing worth telling apart.
    pub from: u64,
    /// Weight of their verdict in the loss of the codec.
    pub weight: f64,
    /// Weight of the difference of what their layers see.
    pub matching: f64,
    /// Channels of the layers that look at spectra; those that look at periods have up to four times as many.
    pub channels: usize,
    /// Windows of the spectra, in samples.
    pub windows: Vec<usize>,
    /// Periods, in samples.
    pub periods: Vec<usize>,
    /// Their learning rate, as a share of the codec's.
    pub rate: f64,
}

const SLOPE: f64 = 0.1;

/// What one critic saw, layer after layer: the last are its logits, positive for recordings.
type Seen = Vec<Tensor<4>>;

/// All critics.
#[derive(Module, Debug)]
pub struct Critic {
    spectra: Vec<OfSpectra>,
    periods: Vec<OfPeriod>,
}

impl Critic {
    /// New critics.
    #[must_use]
    pub fn new(config: &CriticConfig, device: &Device) -> Self {
        Self {
            spectra: config.windows.iter().map(|&window| OfSpectra::new(window, config.channels, device)).collect(),
            periods: config.periods.iter().map(|&period| OfPeriod::new(period, config.channels, device)).collect(),
        }
    }

    fn look(&self, samples: &Tensor<2>) -> Vec<Seen> {
        let spectra = self.spectra.iter().map(|critic| critic.forward(samples.clone()));
        spectra.chain(self.periods.iter().map(|critic| critic.forward(samples.clone()))).collect()
    }

    /// What the codec is to make small: its reconstructions `[b, n]` are not taken for the recordings, and they look different
    /// from the recordings to the layers.
    #[must_use]
    pub fn verdict(&self, recordings: Tensor<2>, reconstructions: Tensor<2>) -> [Tensor<1>; 2] {
        let (real, made) = (self.look(&recordings), self.look(&reconstructions));
        let count = made.len().max(1) as f64;
        let zero = || Tensor::<1>::zeros([1], &reconstructions.device());
        let (mut verdict, mut difference) = (zero(), zero());
        for (real, mut made) in real.into_iter().zip(made) {
            if let Some(logits) = made.pop() {
                verdict = verdict - logits.mean();
            }
            let layers = made.len().max(1) as f64;
            for (real, made) in real.into_iter().zip(made) {
                let real = real.detach();
                let size = real.clone().abs().mean() + 1e-6;
                difference = difference + (made - real).abs().mean() / size / layers;
            }
        }
        [verdict / count, difference / count]
    }

    /// What the critics are to make small.
    #[must_use]
    pub fn loss(&self, recordings: &Tensor<2>, reconstructions: &Tensor<2>) -> Tensor<1> {
        let pairs = self.look(recordings).into_iter().zip(self.look(reconstructions));
        let mut loss = Tensor::<1>::zeros([1], &recordings.device());
        let count = pairs.len().max(1) as f64;
        for (mut real, mut made) in pairs {
            if let (Some(real), Some(made)) = (real.pop(), made.pop()) {
                loss = loss + relu(1.0 - real).mean() + relu(made + 1.0).mean();
            }
        }
        loss / (2.0 * count)
    }
}

/// Critics in training: of no weight before their first step.
#[derive(Debug)]
pub(super) struct Judge {
    config: CriticConfig,
    pub(super) critic: Learner<Critic>,
}

impl Judge {
    pub(super) fn new(config: &CriticConfig, optimiser: &AdamWConfig, device: &Device) -> Self {
        let critic = Learner::new(Critic::new(config, device), optimiser.clone(), 0.0);
        Self { config: config.clone(), critic }
    }

    fn plays(&self, step: &Step) -> bool {
        step.number >= self.config.from
    }

    /// Adds the verdict on reconstructions, and how they look, to the loss of the codec.
    pub(super) fn verdict(
        &self,
        losses: &mut Losses,
        [recordings, reconstructions]: [Tensor<2>; 2],
        step: &Step,
    ) -> Result<(), ModuleError> {
        let [verdict, matching] = match self.plays(step) {
            true => self.critic.module().verdict(recordings, reconstructions),
            false => [(); 2].map(|()| Tensor::zeros([1], &reconstructions.device())),
        };
        losses.add("verdict", self.config.weight, verdict)?;
        losses.add("matching", self.config.matching, matching)
    }

    /// Adds the gradients of a batch; gives its loss.
    pub(super) fn learn(
        &mut self,
        [recordings, reconstructions]: [Tensor<2>; 2],
        step: &Step,
    ) -> Result<f64, ModuleError> {
        if !self.plays(step) {
            return Ok(0.0);
        }
        let loss = self.critic.module().loss(&recordings, &reconstructions.detach());
        self.critic.add(loss, step.share)
    }

    pub(super) fn update(&mut self, step: &Step) -> Result<(), ModuleError> {
        if self.plays(step) {
            self.critic.update(step.rate * self.config.rate)?;
        }
        Ok(())
    }
}

/// A convolution over time and frequency.
#[derive(Module, Debug)]
struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    sliding: Sliding,
}

impl Conv {
    fn new([inputs, outputs]: [usize; 2], [kernel, stride]: [usize; 2], device: &Device) -> Self {
        let bound = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        Self {
            weight: uniform([outputs, inputs, kernel, kernel], bound, device),
            bias: uniform([outputs], bound, device),
            sliding: Sliding { stride, padding: (kernel.div_ceil(2) - 1, kernel / 2) },
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), self.bias.val(), self.sliding)
    }
}

/// Looks at magnitudes.
#[derive(Module, Debug)]
struct OfSpectra {
    convs: Vec<Conv>,
    last: Conv,
    #[module(skip)]
    transform: Tensor<2>,
    #[module(skip)]
    window: usize,
}

impl OfSpectra {
    fn new(window: usize, channels: usize, device: &Device) -> Self {
        let conv = |inputs, shape| Conv::new([inputs, channels], shape, device);
        let convs = vec![conv(1, [3, 1]), conv(channels, [3, 2]), conv(channels, [3, 2]), conv(channels, [3, 1])];
        Self { convs, last: Conv::new([channels, 1], [3, 1], device), transform: forward(window, device), window }
    }

    fn forward(&self, samples: Tensor<2>) -> Seen {
        let rows = windows(samples, self.window, self.window / 4);
        let [b, t, window] = rows.dims();
        let spectra = magnitudes(rows.reshape([1, b * t, window]), &self.transform);
        // Loudness as it is heard, and the same for all windows.
        let x = (spectra / (window as f64).sqrt() + 1e-4).log().reshape([b, 1, t, window / 2 + 1]);
        let mut seen = Vec::with_capacity(self.convs.len() + 1);
        let mut x = x / 4.0;
        for conv in &self.convs {
            x = leaky_relu(conv.forward(x), SLOPE);
            seen.push(x.clone());
        }
        seen.push(self.last.forward(x));
        seen
    }
}

/// Looks at samples that are a period apart.
#[derive(Module, Debug)]
struct OfPeriod {
    convs: Vec<Strided>,
    #[module(skip)]
    period: usize,
}

/// A convolution over time.
#[derive(Module, Debug)]
struct Strided {
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
}

impl OfPeriod {
    fn new(period: usize, channels: usize, device: &Device) -> Self {
        let shapes = [(1, channels, 5, 3), (channels, 2 * channels, 5, 3), (2 * channels, 4 * channels, 5, 3)];
        let shapes = shapes.into_iter().chain([(4 * channels, 4 * channels, 5, 1), (4 * channels, 1, 3, 1)]);
        let conv = |(inputs, outputs, kernel, stride): (usize, usize, usize, usize)| {
            let bound = 1.0 / ((inputs * kernel) as f64).sqrt();
            let weight = uniform([outputs, inputs, kernel], bound, device);
            Strided { weight, bias: uniform([outputs], bound, device), stride }
        };
        Self { convs: shapes.map(conv).collect(), period }
    }

    fn forward(&self, samples: Tensor<2>) -> Seen {
        let [b, n] = samples.dims();
        let (period, rows) = (self.period, n / self.period);
        // A convolution along the columns of [rows, period]: each column is a sound of its own.
        let x = samples.narrow(1, 0, rows * period).reshape([b, rows, period]).swap_dims(1, 2);
        let mut x = x.reshape([b * period, 1, rows]);
        let mut seen = Vec::with_capacity(self.convs.len());
        for (index, conv) in self.convs.iter().enumerate() {
            let weight = conv.weight.val();
            let [_, _, kernel] = weight.dims();
            let options = ConvOptions::new([conv.stride], [kernel / 2], [1], 1);
            x = burn::tensor::module::conv1d(x, weight, Some(conv.bias.val()), options);
            if index + 1 < self.convs.len() {
                x = leaky_relu(x, SLOPE);
            }
            seen.push(x.clone().unsqueeze_dim(1));
        }
        seen
    }
}
