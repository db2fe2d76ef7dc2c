//! Training of codecs.

use std::path::Path;

use anyhow::{Result, bail};
use jielong::data::{Pictures, Sounds, Split};
use jielong_audio::codec::FrameConfig;
use jielong_image::vq::VqConfig;
use jielong_nn::device::Device;
use jielong_nn::factors::set_training_factors;
use serde_json::{Value, json};

use super::super::Global;
use super::{Args, Run, Training, essential};

/// A codec for pictures.
pub fn image(args: &Args, global: &Global) -> Result<()> {
    use jielong_image::train::{CodecTask, Files, TrainingConfig};
    let mut config = TrainingConfig::open(&args.recipe)?;
    let codec = VqConfig::open(&config.codec)?;
    let essential = essential(&config)?;
    let all = (&mut config.plan, &*config.out, &*config.device);
    let (devices, run) = Run::new(args, global, all, (&essential, &codec))?;
    let pictures = Pictures::open(&config.data.source, &global.sources)?;
    let of = |split| pictures.of(split).map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let found = Files { train: of(Split::Train), held_out: of(Split::HeldOut) };
    let data = format!("{} pictures to learn from, {} held out", found.train.len(), found.held_out.len());
    set_training_factors(config.factors.into());
    Run { data, ..run }.train(CodecTask::new(config, codec, found, only(&devices)?)?)
}

/// A codec for sound.
pub fn audio(args: &Args, global: &Global) -> Result<()> {
    use jielong_audio::train::{CodecTask, Files, TrainingConfig};
    let mut config = TrainingConfig::open(&args.recipe)?;
    let codec = FrameConfig::open(&config.codec)?;
    let essential = essential(&config)?;
    let all = (&mut config.plan, &*config.out, &*config.device);
    let (devices, run) = Run::new(args, global, all, (&essential, &codec))?;
    let sounds = Sounds::open(&config.data.source, &global.sources)?;
    let of = |split| sounds.of(split).map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let found = Files { train: of(Split::Train), held_out: of(Split::HeldOut) };
    let data = format!("{} recordings to learn from, {} held out", found.train.len(), found.held_out.len());
    Run { data, ..run }.train(CodecTask::new(config, codec, found, only(&devices)?)?)
}

fn only(devices: &[Device]) -> Result<&Device> {
    match devices {
        [device] => Ok(device),
        _ => bail!("`device`: a codec is trained on one device; several share out the batches of a transformer"),
    }
}

impl Training for jielong_image::train::CodecTask {
    const RESULT: &'static str = "codec";
    const CONFIG: &'static str = "config.toml";

    fn parameters(&self) -> usize {
        self.parameters()
    }

    fn write(&self, folder: &Path) -> Result<()> {
        Ok(self.result().save_f16(&folder.join("model.safetensors"))?)
    }

    fn scores(&self) -> Option<Value> {
        self.score().map(|score| {
            json!({ "psnr": score.psnr, "ssim": score.ssim, "usage": score.usage(),
                    "perplexity": score.perplexity(), "pictures": score.pictures })
        })
    }
}

impl Training for jielong_audio::train::CodecTask {
    const RESULT: &'static str = "codec";
    const CONFIG: &'static str = "config.toml";

    fn parameters(&self) -> usize {
        self.parameters()
    }

    fn write(&self, folder: &Path) -> Result<()> {
        Ok(self.result().save_f16(&folder.join("model.safetensors"))?)
    }

    fn scores(&self) -> Option<Value> {
        self.score().map(|score| {
            json!({ "stoi": score.stoi.0, "estoi": score.estoi.0, "mel": score.mel.0, "usage": score.usage(),
                    "perplexity": score.perplexity(), "recordings": score.recordings })
        })
    }
}
