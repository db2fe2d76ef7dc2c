//! One vector for each patch → pixels (Esser et al. 2021, in LlamaGen's order and names).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use jielong_nn::group_norm::Then;

use super::blocks::{Conv, GroupNorm, Norm, Upsample, spread};
use super::config::VqConfig;
use super::levels::{Level, Middle, middle, through};

/// Levels, each but the last followed by a doubling; attention at the first.
#[derive(Module, Debug)]
pub(crate) struct Decoder {
    conv_in: Conv,
    mid: Middle,
    conv_blocks: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv,
    #[module(skip)]
    stem: usize,
}

impl Decoder {
    pub(crate) fn new(config: &VqConfig, device: &Device) -> Self {
        let norm = Norm::from(config);
        let channels: Vec<usize> = config.decoder_ch_mult.iter().rev().map(|factor| config.ch * factor).collect();
        let deepest = channels[0];
        let (mut inputs, mut conv_blocks) = (deepest, Vec::new());
        for (index, &outputs) in channels.iter().enumerate() {
            let mut level = Level::new([inputs, outputs], config.num_res_blocks + 1, norm, device);
            if index == 0 {
                level = level.attending(outputs, norm, device);
            }
            if index + 1 < channels.len() {
                level.upsample = Some(Upsample::new(outputs, device));
            }
            conv_blocks.push(level);
            inputs = outputs;
        }
        Self {
            conv_in: Conv::new(config.z_channels, deepest, 3, device),
            mid: middle(deepest, norm, device),
            conv_blocks,
            norm_out: GroupNorm::new(inputs, norm, device),
            conv_out: Conv::new(inputs, 3 * config.stem * config.stem, 3, device),
            stem: config.stem,
        }
    }

    /// `[b, z, rows, columns]` → `[b, 3, rows · patch, columns · patch]`
    pub(crate) fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let x = through(&self.mid, self.conv_in.forward(z));
        let x = self.conv_blocks.iter().fold(x, |x, level| level.forward(x));
        spread(self.conv_out.forward(self.norm_out.forward(x, Then::Silu)), self.stem)
    }
}
