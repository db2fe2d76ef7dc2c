//! Blocks in a row: a level of the encoder or decoder, and what is between levels and codes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::blocks::{AttnBlock, Downsample, Norm, ResBlock, Upsample};

/// Residual blocks, attention after each of them or after none, then a change of size or none.
#[derive(Module, Debug)]
pub(crate) struct Level {
    res: Vec<ResBlock>,
    attn: Vec<AttnBlock>,
    pub(crate) downsample: Option<Downsample>,
    pub(crate) upsample: Option<Upsample>,
}

impl Level {
    /// Residual blocks alone, from one number of channels to another.
    pub(crate) fn new([inputs, outputs]: [usize; 2], blocks: usize, norm: Norm, device: &Device) -> Self {
        let block = |index| ResBlock::new(if index == 0 { inputs } else { outputs }, outputs, norm, device);
        Self { res: (0..blocks).map(block).collect(), attn: Vec::new(), downsample: None, upsample: None }
    }

    /// The same with attention over `channels` after each block.
    pub(crate) fn attending(mut self, channels: usize, norm: Norm, device: &Device) -> Self {
        self.attn = self.res.iter().map(|_| AttnBlock::new(channels, norm, device)).collect();
        self
    }

    pub(crate) fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for (index, block) in self.res.iter().enumerate() {
            x = block.forward(x);
            if let Some(attn) = self.attn.get(index) {
                x = attn.forward(x);
            }
        }
        match (&self.downsample, &self.upsample) {
            (Some(downsample), _) => downsample.forward(x),
            (_, Some(upsample)) => upsample.forward(x),
            (None, None) => x,
        }
    }
}

/// The blocks next to the codes.
pub(crate) type Middle = (ResBlock, AttnBlock, ResBlock);

pub(crate) fn middle(channels: usize, norm: Norm, device: &Device) -> Middle {
    let block = || ResBlock::new(channels, channels, norm, device);
    (block(), AttnBlock::new(channels, norm, device), block())
}

pub(crate) fn through((first, attn, last): &Middle, x: Tensor<4>) -> Tensor<4> {
    last.forward(attn.forward(first.forward(x)))
}
