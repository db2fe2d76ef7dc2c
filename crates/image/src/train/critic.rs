//! A second network that learns to tell pictures from reconstructions, patch by patch.
//!
//! PatchGAN (Isola et al. 2017, *Image-to-image translation with conditional adversarial networks*) with group norm, so that
//! pictures of a batch do not depend on each other; the losses are hinges (Lim & Ye 2017, *Geometric GAN*).

use burn::module::Module;
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::{Device, Tensor};
use jielong_nn::group_norm::Then;
use jielong_nn::module::ModuleError;
use jielong_nn::train::{AdamWConfig, Learner, Losses, Step};
use serde::{Deserialize, Serialize};

use crate::vq::blocks::{Conv, GroupNorm, Norm};

/// A critic, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriticConfig {
    /// The step from which it plays a part: before, there is nothing worth telling apart.
    pub from: u64,
    /// Weight of its verdict in the loss of the codec.
    pub weight: f64,
    /// Channels of the first layer; each later one has twice as many.
    pub channels: usize,
    /// Layers that halve the picture.
    pub layers: usize,
    /// Its learning rate, as a share of the codec's.
    pub rate: f64,
}

/// The network: logits of patches, positive for pictures.
#[derive(Module, Debug)]
pub struct Critic {
    first: Conv,
    convs: Vec<Conv>,
    norms: Vec<GroupNorm>,
    last: Conv,
}

const SLOPE: f64 = 0.2;
const GROUPS: usize = 4;

/// A critic in training: of no weight before its first step.
#[derive(Debug)]
pub(super) struct Judge {
    config: CriticConfig,
    pub(super) critic: Learner<Critic>,
}

impl Critic {
    /// A new critic; its channels are a multiple of four, its layers at least one.
    #[must_use]
    pub fn new(config: &CriticConfig, device: &Device) -> Self {
        let channels: Vec<usize> = (0..config.layers).map(|layer| config.channels << layer.min(3)).collect();
        let convs = channels.windows(2).map(|pair| Conv::halving(pair[0], pair[1], device)).collect();
        let norm = Norm { groups: GROUPS, eps: 1e-6 };
        let norms = channels.iter().skip(1).map(|&channels| GroupNorm::new(channels, norm, device)).collect();
        let deepest = channels.last().copied().unwrap_or(config.channels);
        let first = Conv::halving(3, config.channels, device);
        Self { first, convs, norms, last: Conv::new(deepest, 1, 3, device) }
    }

    /// `[b, 3, h, w]` → `[b, 1, h', w']`
    #[must_use]
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let mut x = leaky_relu(self.first.forward(pixels), SLOPE);
        for (conv, norm) in self.convs.iter().zip(&self.norms) {
            x = leaky_relu(norm.forward(conv.forward(x), Then::Plain), SLOPE);
        }
        self.last.forward(x)
    }

    /// What the codec is to make small: reconstructions that are not taken for pictures.
    #[must_use]
    pub fn verdict(&self, reconstruction: Tensor<4>) -> Tensor<1> {
        -self.forward(reconstruction).mean()
    }

    /// What the critic is to make small.
    #[must_use]
    pub fn loss(&self, pictures: Tensor<4>, reconstructions: Tensor<4>) -> Tensor<1> {
        let real = relu(1.0 - self.forward(pictures)).mean();
        let made = relu(self.forward(reconstructions) + 1.0).mean();
        (real + made) / 2.0
    }
}

impl Judge {
    pub(super) fn new(config: &CriticConfig, optimiser: &AdamWConfig, device: &Device) -> Self {
        let critic = Learner::new(Critic::new(config, device), optimiser.clone(), 0.0);
        Self { config: config.clone(), critic }
    }

    fn plays(&self, step: &Step) -> bool {
        step.number >= self.config.from
    }

    /// Adds the verdict on reconstructions to the loss of the codec.
    pub(super) fn verdict(
        &self,
        losses: &mut Losses,
        reconstructions: Tensor<4>,
        step: &Step,
    ) -> Result<(), ModuleError> {
        let verdict = match self.plays(step) {
            true => self.critic.module().verdict(reconstructions),
            false => Tensor::zeros([1], &reconstructions.device()),
        };
        losses.add("verdict", self.config.weight, verdict)
    }

    /// Adds the gradients of a batch; gives its loss.
    pub(super) fn learn(
        &mut self,
        [pictures, reconstructions]: [Tensor<4>; 2],
        step: &Step,
    ) -> Result<f64, ModuleError> {
        if !self.plays(step) {
            return Ok(0.0);
        }
        let loss = self.critic.module().loss(pictures, reconstructions.detach());
        self.critic.add(loss, step.share)
    }

    pub(super) fn update(&mut self, step: &Step) -> Result<(), ModuleError> {
        if self.plays(step) {
            self.critic.update(step.rate * self.config.rate)?;
        }
        Ok(())
    }
}
