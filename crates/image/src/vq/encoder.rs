//! Pixels → one vector for each patch (Esser et al. 2021, in LlamaGen's order and names).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use jielong_nn::group_norm::Then;

use super::blocks::{Conv, Downsample, GroupNorm, Norm, gather};
use super::config::VqConfig;
use super::levels::{Level, Middle, middle, through};

/// Levels, each but the last followed by a halving; attention at the last.
#[derive(Module, Debug)]
pub(crate) struct Encoder {
    conv_in: Conv,
    conv_blocks: Vec<Level>,
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv,
    #[module(skip)]
    stem: usize,
}

impl Encoder {
    pub(crate) fn new(config: &VqConfig, device: &Device) -> Self {
        let norm = Norm::from(config);
        let factors = &config.encoder_ch_mult;
        let (mut inputs, mut conv_blocks) = (config.ch, Vec::new());
        for (index, factor) in factors.iter().enumerate() {
            let outputs = config.ch * factor;
            let mut level = Level::new([inputs, outputs], config.num_res_blocks, norm, device);
            if index + 1 == factors.len() {
                level = level.attending(outputs, norm, device);
            } else {
                level.downsample = Some(Downsample::new(outputs, device));
            }
            conv_blocks.push(level);
            inputs = outputs;
        }
        Self {
            conv_in: Conv::new(3 * config.stem * config.stem, config.ch, 3, device),
            conv_blocks,
            mid: middle(inputs, norm, device),
            norm_out: GroupNorm::new(inputs, norm, device),
            conv_out: Conv::new(inputs, config.z_channels, 3, device),
            stem: config.stem,
        }
    }

    /// `[b, 3, h, w]` → `[b, z, h / patch, w / patch]`
    pub(crate) fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let x = self.conv_in.forward(gather(pixels, self.stem));
        let x = self.conv_blocks.iter().fold(x, |x, level| level.forward(x));
        let x = through(&self.mid, x);
        self.conv_out.forward(self.norm_out.forward(x, Then::Silu))
    }
}
