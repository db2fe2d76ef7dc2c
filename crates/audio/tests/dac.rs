//! Descript's codec against its own results.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use jielong_audio::codec::{FrameConfig, FrameModel};
use jielong_nn::weights::Weights;

const TOLERANCE: f32 = 1e-3;

fn shared(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle/codecs").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no {} beside this clone", folder.display());
    None
}

fn floats(oracle: &Weights, name: &str) -> Vec<f32> {
    oracle.get(name).unwrap().to_f32().unwrap()
}

/// Codes `[1, books, frames]`, as `[frames, books]`.
fn codes(oracle: &Weights, name: &str) -> (Vec<i64>, [usize; 2]) {
    let view = oracle.get(name).unwrap();
    let &[_, books, frames] = view.shape() else { panic!("{:?}", view.shape()) };
    let stored: Vec<i64> = view.bytes().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
    let values = (0..frames).flat_map(|frame| (0..books).map(move |book| (frame, book)));
    (values.map(|(frame, book)| stored[book * frames + frame]).collect(), [frames, books])
}

/// The model's codes and samples, and the samples of the stored codes.
fn compare(model: &FrameModel, oracle: &Weights, [input, coded, decoded]: [&str; 3]) {
    let device = Device::flex();
    let samples = floats(oracle, input);
    let samples = Tensor::<2>::from_data(TensorData::new(samples.clone(), [1, samples.len()]), &device);
    let (expected, [frames, books]) = codes(oracle, coded);
    let found: Vec<i64> = model.encode(samples, books).into_data().iter::<i64>().collect();
    assert_eq!(found, expected, "{coded}");
    let stored = Tensor::<3, Int>::from_data(TensorData::new(expected, [1, frames, books]), &device);
    let found: Vec<f32> = model.decode(stored).into_data().iter().collect();
    let expected = floats(oracle, decoded);
    assert_eq!(found.len(), expected.len(), "{decoded}");
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{decoded}: {worst:.1e}");
    assert!(worst < TOLERANCE, "{decoded}: {worst}");
}

fn model(config: &Path, weights: &Path) -> FrameModel {
    let config = FrameConfig::open(config).unwrap();
    FrameModel::from_weights(&config, &Weights::open(weights).unwrap(), &Device::flex()).unwrap()
}

#[test]
fn descripts_codec_gives_its_codes_and_samples() {
    let Some(folder) = shared("dac16k_12cb") else { return };
    let oracle = Weights::open(&folder.join("oracle.safetensors")).unwrap();
    for (config, weights) in [
        ("config.json", "model.safetensors"),
        ("config.json", "weights.pth"),
        ("hf/config.json", "hf/model.safetensors"),
    ] {
        let model = model(&folder.join(config), &folder.join(weights));
        compare(&model, &oracle, ["input_padded", "codes", "decoded_from_codes"]);
        compare(&model, &oracle, ["input_padded", "codes_3q", "decoded_3q"]);
    }
}

#[test]
fn the_form_of_transformers_gives_its_codes_and_samples() {
    let Some(folder) = shared("hf_dac_16k") else { return };
    let oracle = Weights::open(&folder.join("oracle.safetensors")).unwrap();
    let model = model(&folder.join("config.json"), &folder.join("model.safetensors"));
    compare(&model, &oracle, ["input_padded", "codes", "decoded_from_codes"]);
}
