//! The codec against PyTorch: LlamaGen's own VQ-16 where it is beside the clone, and tiny codecs of ours
//! (`scripts/make_codec_oracle.py`). Codes are equal, pixels and gradients close.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Gradients, Int, Tensor, TensorData};
use jielong_image::vq::{VqConfig, VqModel};
use jielong_kernels::Rows;
use jielong_nn::load;
use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::weights::Weights;

const TOLERANCE: f32 = 1e-3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn floats<const D: usize>(oracle: &Weights, name: &str, device: &Device) -> Tensor<D> {
    let view = oracle.get(name).unwrap();
    load::tensor(view, 0..view.shape()[0], Rows::AsStored, device, FloatDType::F32).unwrap()
}

fn codes(oracle: &Weights, name: &str) -> (Vec<i64>, [usize; 3]) {
    let view = oracle.get(name).unwrap();
    let codes = view.bytes().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
    (codes, view.shape().try_into().unwrap())
}

fn worst<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let worst = (a - b).abs().max().into_scalar::<f32>();
    assert!(worst.is_finite());
    worst
}

/// What is quantised, the codes, the pixels of the whole way and those of the stored codes.
fn compare(model: &VqModel, oracle: &Weights, part: &str, names: [&str; 2]) {
    let device = Device::flex();
    let at = |name: &str| format!("{part}.{name}");
    let (expected, shape) = codes(oracle, &at(names[0]));
    let input = floats::<4>(oracle, &at("input"), &device);
    let codes = model.encode(input.clone());
    let shape_found = codes.dims();
    let found: Vec<i64> = codes.into_data().iter::<i64>().collect();
    assert_eq!((found, shape_found), (expected.clone(), shape), "{part}");
    let whole = model.forward(input);
    let stored = Tensor::<3, Int>::from_data(TensorData::new(expected, shape), &device);
    for (pixels, name) in [(whole.pixels, "decoded"), (model.decode(stored), names[1])] {
        let error = worst(pixels, floats::<4>(oracle, &at(name), &device));
        println!("{part} {name}: {error:.1e}");
        assert!(error < TOLERANCE, "{part} {name}: {error}");
    }
}

#[test]
fn llamagens_codec_gives_its_codes_and_pixels() {
    let folder = root().join("../shared/oracle/codecs/llamagen_vq16");
    if !folder.join("oracle.safetensors").exists() {
        println!("skipped: no {} beside this clone", folder.display());
        return;
    }
    // As its config.json says.
    let config = VqConfig {
        ch: 8,
        z_channels: 64,
        norm_groups: 4,
        quantizer: QuantizerConfig::Vq { codebook_size: 512, codebook_embed_dim: 8, codebook_l2_norm: true },
        ..VqConfig::open(&root().join("configs/codec/vq16.toml")).unwrap()
    };
    config.check().unwrap();
    let oracle = Weights::open_safetensors(&folder.join("oracle.safetensors")).unwrap();
    for file in ["model.pt", "model.safetensors"] {
        let weights = Weights::open(&folder.join(file)).unwrap();
        let model = VqModel::from_weights(&config, &weights, &Device::flex()).unwrap();
        for part in ["sq", "ns"] {
            compare(&model, &oracle, part, ["indices", "decoded_from_indices"]);
        }
    }
}

fn tiny(name: &str, device: &Device) -> (VqModel, Weights) {
    let folder = root().join("tests/oracle").join(name);
    let config = VqConfig::open(&folder.join("config.toml")).unwrap();
    let weights = Weights::open(&folder.join("model.safetensors")).unwrap();
    let oracle = Weights::open_safetensors(&folder.join("oracle.safetensors")).unwrap();
    (VqModel::from_weights(&config, &weights, device).unwrap(), oracle)
}

#[test]
fn tiny_codecs_give_pytorchs_codes_and_pixels() {
    for name in ["codec-vq", "codec-fsq"] {
        let (model, oracle) = tiny(name, &Device::flex());
        for part in ["sq", "ns"] {
            compare(&model, &oracle, part, ["codes", "decoded"]);
        }
    }
}

/// Compares the gradients of all parameters that the oracle has some of.
struct Compare<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    oracle: &'a Weights,
    compared: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.push(name.into());
        }
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let found = param.val().grad(self.gradients).expect("every parameter has a gradient");
        let stored = format!("grad.{name}");
        if self.oracle.get(&stored).is_some() {
            let expected = floats::<D>(self.oracle, &stored, &Device::flex());
            let scale = expected.clone().abs().max().into_scalar::<f32>();
            let error = worst(found, expected) / scale;
            println!("{name}: {error:.1e} of {scale:.1e}");
            assert!(error < TOLERANCE, "{name}: {error} of {scale}");
            self.compared += 1;
        }
    }
}

#[test]
fn gradients_pass_the_codes_as_in_pytorch() {
    let device = Device::flex().autodiff();
    for name in ["codec-vq", "codec-fsq"] {
        let (model, oracle) = tiny(name, &device);
        let input = floats::<4>(&oracle, "sq.input", &device);
        let whole = model.forward(input.clone());
        let losses = [whole.quantized.codebook_loss, whole.quantized.commitment_loss];
        let expected = floats::<1>(&oracle, "sq.losses", &Device::flex());
        assert!(worst(Tensor::cat(losses.to_vec(), 0).without_autodiff(), expected) < 1e-6);
        let [codebook, commitment] = losses;
        let loss = (whole.pixels * input).sum() + codebook * 300.0 + commitment * 100.0;
        let gradients = loss.backward();
        let mut compare = Compare { path: vec![], gradients: &gradients, oracle: &oracle, compared: 0 };
        model.visit(&mut compare);
        assert_eq!(compare.compared, if name == "codec-vq" { 8 } else { 7 });
    }
}
