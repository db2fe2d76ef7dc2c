//! Codes that come in frame by frame give the samples that they give all at once.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use jielong_audio::codec::{FrameCodec, FrameConfig, FrameModel, LayerConfig};
use jielong_core::{Codec, CodecError, Codes};
use jielong_nn::quantizer::QuantizerConfig;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn check(codec: &FrameCodec, frames: usize) {
    let (books, hop) = (codec.books().to_vec(), codec.config().hop);
    let values: Vec<u32> =
        (0..frames * books.len()).map(|n| (n as u32).wrapping_mul(2_654_435_761) % books[n % books.len()]).collect();
    let codes = Codes { size: vec![frames * hop], grid: vec![frames], books: books.len(), values };
    let whole = codec.decode(&codes).unwrap().samples;
    for (at_once, together) in [(1, 1), (1, 7), (3, 5), (frames, 1)] {
        let mut stream = codec.stream(together);
        let mut samples = Vec::new();
        for part in codes.values.chunks(at_once * books.len()) {
            samples.extend(stream.push(part).unwrap());
        }
        // All but what later frames could still have changed was there before the end.
        assert!(samples.len() + (codec.config().reach() + together) * hop > frames * hop);
        samples.extend(stream.finish().unwrap());
        assert_eq!(samples.len(), whole.len());
        let worst = samples.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{at_once} at once, {together} together: {worst:.1e}");
        assert!(worst < 1e-4, "{at_once} at once, {together} together: {worst}");
    }
    let mut stream = codec.stream(1);
    assert!(matches!(stream.push(&vec![u32::MAX; books.len()]), Err(CodecError::Code { place: 0, .. })));
    assert!(stream.finish().unwrap().is_empty());
}

#[test]
fn frames_one_by_one_are_frames_at_once() {
    let device = Device::flex();
    device.seed(7);
    let down = |outputs, rate| LayerConfig::Down { outputs, rate };
    let up = |outputs, rate| LayerConfig::Up { outputs, rate };
    let conv = |outputs, kernel| LayerConfig::Conv { outputs, kernel };
    // As Descript's: an odd rate among them.
    let config = FrameConfig {
        sample_rate: 16_000,
        hop: 40,
        encoder: vec![conv(4, 7), down(8, 5), down(8, 8), LayerConfig::Snake, conv(12, 3)],
        decoder: vec![conv(12, 7), up(8, 8), up(4, 5), LayerConfig::Snake, conv(1, 7), LayerConfig::Tanh],
        books: 3,
        quantizer: QuantizerConfig::CosineVq { codebook_size: 16, codebook_embed_dim: 4 },
    };
    config.check().unwrap();
    check(&FrameCodec::new(&config, &FrameModel::new(&config, &device), &device), 60);
    for name in ["speech", "speech-4"] {
        let folder = root().join("models").join(name);
        let codec = FrameCodec::open(&folder.join("config.toml"), &folder.join("model.safetensors"), &device).unwrap();
        check(&codec, 70);
    }
}
