//! The codec as a whole: its size, pictures of any size through it, training, files, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Gradients, Int, Tensor};
use jielong_core::{Codec, CodecError, Codes};
use jielong_image::picture::Picture;
use jielong_image::vq::{VqCodec, VqConfig, VqModel};
use jielong_nn::module::parameters;
use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::weights::Weights;
use proptest::prelude::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vq16() -> VqConfig {
    VqConfig::open(&root().join("configs/codec/vq16.toml")).unwrap()
}

fn tiny(name: &str) -> VqCodec {
    let folder = root().join("tests/oracle").join(name);
    VqCodec::open(&folder.join("config.toml"), &folder.join("model.safetensors"), &Device::flex()).unwrap()
}

fn small() -> VqConfig {
    let quantizer = QuantizerConfig::Vq { codebook_size: 32, codebook_embed_dim: 4, codebook_l2_norm: true };
    let (encoder_ch_mult, decoder_ch_mult) = (vec![1, 2, 2], vec![1, 1, 2]);
    VqConfig {
        ch: 4,
        encoder_ch_mult,
        decoder_ch_mult,
        num_res_blocks: 1,
        z_channels: 8,
        norm_groups: 2,
        quantizer,
        ..vq16()
    }
}

/// A picture of waves.
fn picture(width: usize, height: usize) -> Picture {
    let value = |x: usize, y: usize, c: usize| (127.0 + 100.0 * ((x * (c + 1) + 2 * y) as f64 / 9.0).sin()) as u8;
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| value(x, y, c)))).collect();
    Picture { width, height, rgb }
}

#[test]
fn vq16_is_of_its_published_size() {
    let config = vq16();
    let model = VqModel::new(&config, &Device::flex());
    assert_eq!(model.num_params(), 71_883_403);
    assert_eq!((config.patch(), config.quantizer.codes(), config.quantizer.width()), (16, 16384, 8));
    let parameters = parameters(&model);
    assert_eq!(parameters.len(), 343);
    assert_eq!(parameters["quantize.embedding.weight"], [16384, 8]);
    assert_eq!(parameters["encoder.conv_blocks.4.attn.1.proj_out.weight"], [512, 512, 1, 1]);
    assert_eq!(parameters["decoder.conv_blocks.3.res.0.nin_shortcut.weight"], [128, 256, 1, 1]);
}

#[test]
fn a_stem_makes_patches_larger_and_every_pixel_is_seen() {
    let config = VqConfig { stem: 4, ..small() };
    assert_eq!((config.patch(), small().patch()), (16, 4));
    let device = Device::flex();
    device.seed(5);
    let model = VqModel::new(&config, &device);
    assert_eq!(parameters(&model)["encoder.conv_in.weight"], [4, 48, 3, 3]);
    let x = Tensor::<4>::random([1, 3, 32, 48], Distribution::Uniform(-1.0, 1.0), &device);
    let before = model.quantize(x.clone()).0.inputs;
    assert_eq!(model.decode(model.encode(x.clone())).dims(), [1, 3, 32, 48]);
    for (y, column) in [(0, 0), (31, 47), (17, 2), (9, 30)] {
        let changed =
            x.clone().slice_assign([0..1, 1..2, y..y + 1, column..column + 1], Tensor::zeros([1; 4], &device));
        let after = model.quantize(changed).0.inputs;
        assert!((after - before.clone()).abs().max().into_scalar::<f32>() > 0.0, "{y}, {column}");
    }
    let error = VqConfig { stem: 0, ..small() }.check().unwrap_err().to_string();
    assert!(error.contains("`stem` = 0"), "{error}");
}

#[test]
fn codes_can_begin_again_as_other_vectors() {
    let device = Device::flex().autodiff();
    let config = small();
    let model = VqModel::new(&config, &device);
    let x = Tensor::<4>::random([1, 3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
    let inputs = model.quantize(x.clone()).0.inputs;
    assert_eq!(inputs.dims(), [4, 4]);
    let codes = Tensor::<1, Int>::from_data([3, 30, 7, 8], &device);
    let model = model.with_vectors(codes, inputs.without_autodiff());
    let (found, _) = model.quantize(x);
    assert_eq!(found.codes.into_data().iter::<i64>().collect::<Vec<_>>(), [3, 30, 7, 8]);
    assert!(found.commitment_loss.clone().into_scalar::<f32>() < 1e-10);
    found.codebook_loss.backward();
}

#[test]
fn a_picture_that_is_not_whole_patches_is_continued_and_cut() {
    let codec = tiny("codec-vq");
    let odd = picture(41, 19);
    let codes = codec.encode(&odd).unwrap();
    assert_eq!((&codes.size[..], &codes.grid[..], codes.books), (&[19, 41][..], &[2, 3][..], 1));
    // The same as a picture that goes on by itself.
    let mut whole = Picture { width: 48, height: 32, rgb: Vec::new() };
    for y in 0..32 {
        for x in 0..48 {
            let at = 3 * (y.min(18) * 41 + x.min(40));
            whole.rgb.extend(&odd.rgb[at..at + 3]);
        }
    }
    let whole_codes = codec.encode(&whole).unwrap();
    assert_eq!(whole_codes.values, codes.values);
    let (cut, whole) = (codec.decode(&codes).unwrap(), codec.decode(&whole_codes).unwrap());
    assert_eq!((cut.width, cut.height, cut.rgb.len()), (41, 19, 3 * 41 * 19));
    for y in 0..19 {
        assert_eq!(cut.rgb[3 * 41 * y..][..3 * 41], whole.rgb[3 * 48 * y..][..3 * 41]);
    }
    assert_eq!(codec.encode(&picture(1, 1)).unwrap().grid, [1, 1]);
}

#[test]
fn codes_and_pictures_that_do_not_belong_are_refused() {
    let codec = tiny("codec-fsq");
    assert_eq!(codec.books(), [60]);
    let good = Codes { size: vec![20, 30], grid: vec![2, 2], books: 1, values: vec![0, 59, 3, 4] };
    assert!(codec.decode(&good).is_ok());
    let error = codec.decode(&Codes { values: vec![0, 60, 3, 4], ..good.clone() }).unwrap_err();
    assert_eq!(error, CodecError::Code { code: 60, book: 0, place: 1, size: 60 });
    for bad in [
        Codes { values: vec![0; 3], ..good.clone() },
        Codes { books: 2, ..good.clone() },
        Codes { grid: vec![4, 1], ..good.clone() },
        Codes { grid: vec![4], ..good.clone() },
        Codes { size: vec![33, 30], ..good.clone() },
        Codes { size: vec![30], ..good.clone() },
        Codes { size: vec![usize::MAX, usize::MAX], ..good.clone() },
        Codes { size: vec![0, 30], ..good.clone() },
        Codes { size: vec![0, 0], grid: vec![0, 0], books: 1, values: vec![] },
    ] {
        assert!(matches!(codec.decode(&bad), Err(CodecError::Shape(_))), "{bad:?}");
    }
    let short = Picture { rgb: vec![0; 10], ..picture(20, 20) };
    assert!(codec.encode(&short).unwrap_err().to_string().contains("20×20 pixels has 10 bytes"));
    let empty = Picture { width: 0, height: 9, rgb: vec![] };
    assert!(codec.encode(&empty).is_err());
    let huge = Picture { width: 60_000, height: 60_000, rgb: vec![] };
    assert!(codec.encode(&huge).unwrap_err().to_string().contains("60000×60000"));
}

/// One step against the gradient.
struct Step<'a>(&'a Gradients, f64);

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = param.val().grad(self.0) else { return param };
        let device = param.val().device();
        let stepped = param.val().without_autodiff() - gradient * self.1;
        let id = param.id;
        param.transform_for_load(Tensor::from_data(stepped.into_data(), &device), id)
    }
}

#[test]
fn a_new_codec_learns_a_picture_and_comes_back_from_its_file() {
    let device = Device::flex().autodiff();
    for quantizer in [small().quantizer, QuantizerConfig::Fsq { levels: vec![5, 4, 3] }] {
        device.seed(3);
        let config = VqConfig { quantizer, ..small() };
        let mut model = VqModel::new(&config, &device);
        let pixels = Tensor::<4>::random([2, 3, 8, 12], Distribution::Uniform(-1.0, 1.0), &device);
        let loss = |model: &VqModel| {
            let out = model.forward(pixels.clone());
            let difference = out.pixels - pixels.clone();
            let distance = (difference.clone() * difference).mean();
            distance + out.quantized.codebook_loss + out.quantized.commitment_loss * 0.25
        };
        let first = loss(&model).into_scalar::<f32>();
        for _ in 0..20 {
            let gradients = loss(&model).backward();
            model = model.map(&mut Step(&gradients, 0.05));
        }
        let last = loss(&model).into_scalar::<f32>();
        println!("{:?}: {first} → {last}", config.quantizer);
        assert!(last < 0.8 * first, "{first} → {last}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let again = VqModel::from_weights(&config, &Weights::open(&path).unwrap(), &device).unwrap();
        assert_eq!(loss(&again).into_scalar::<f32>(), last);
        // What was loaded can be trained on, and its file does not change.
        let bytes = std::fs::read(&path).unwrap();
        let gradients = loss(&again).backward();
        let next = again.map(&mut Step(&gradients, 0.01));
        assert!(loss(&next).into_scalar::<f32>() < last);
        assert!(std::fs::read(&path).unwrap() == bytes);
        let picture = picture(13, 9);
        let [a, b] = [&model, &next].map(|model| VqCodec::new(&config, model, &Device::flex()));
        assert_eq!(a.encode(&picture).unwrap().grid, [3, 4]);
        assert_ne!(a.decode(&a.encode(&picture).unwrap()).unwrap(), b.decode(&b.encode(&picture).unwrap()).unwrap());
        assert!(
            model.save(&folder.path().join("absent/model.safetensors")).unwrap_err().to_string().contains("absent")
        );
    }
}

#[test]
fn all_weights_that_are_wrong_are_named_at_once() {
    let folder = root().join("tests/oracle/codec-vq");
    let config = VqConfig::open(&folder.join("config.toml")).unwrap();
    let wrong = VqConfig {
        z_channels: 13,
        num_res_blocks: 1,
        quantizer: QuantizerConfig::Fsq { levels: vec![3; 4] },
        ..config
    };
    let weights = Weights::open(&folder.join("model.safetensors")).unwrap();
    let error = VqModel::from_weights(&wrong, &weights, &Device::flex()).unwrap_err().to_string();
    for part in [
        "`encoder.conv_out.weight` is [12, 16, 3, 3], expected [13, 16, 3, 3]",
        "`encoder.conv_blocks.0.res.1.conv1.weight` is not part of a model with this config",
        "`quantize.embedding.weight` is not part",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let deeper = VqConfig { num_res_blocks: 3, ..VqConfig::open(&folder.join("config.toml")).unwrap() };
    let error = VqModel::from_weights(&deeper, &weights, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("`decoder.conv_blocks.0.attn.3.k.bias` [16] is missing"), "{error}");
    let ids = Weights::open(&folder.join("oracle.safetensors")).unwrap();
    assert!(VqModel::from_weights(&deeper, &ids, &Device::flex()).is_err());
}

#[test]
fn configs_that_cannot_be_are_refused_by_key() {
    let good = std::fs::read_to_string(root().join("configs/codec/vq16.toml")).unwrap();
    let fsq = good.replace("kind = \"vq\"", "kind = \"fsq\"");
    for (from, to, says) in [
        ("ch = 128", "ch = 0", "`ch` = 0"),
        ("ch = 128", "ch = 128\nstem = 17", "`stem` = 17"),
        ("ch = 128", "ch = 1000000000", "`ch` = 1000000000"),
        ("ch = 128", "ch = -1", "ch = -1"),
        ("ch = 128", "chs = 128", "chs"),
        ("ch = 128", "ch = 128\nch = 128", "duplicate"),
        ("encoder_ch_mult = [1, 1, 2, 2, 4]", "encoder_ch_mult = []", "`encoder_ch_mult` = []"),
        ("encoder_ch_mult = [1, 1, 2, 2, 4]", "encoder_ch_mult = [1, 2]", "`decoder_ch_mult` = [1, 1, 2, 2, 4]"),
        ("encoder_ch_mult = [1, 1, 2, 2, 4]", "encoder_ch_mult = [1, 0, 2, 2, 4]", "`encoder_ch_mult` = 0"),
        ("num_res_blocks = 2", "num_res_blocks = 1000000000", "`num_res_blocks` = 1000000000"),
        ("norm_groups = 32", "norm_groups = 3", "128 channels do not divide into 3 groups"),
        ("norm_groups = 32", "norm_groups = 0", "`norm_groups` = 0"),
        ("norm_eps = 1e-6", "norm_eps = nan", "`norm_eps` = NaN"),
        ("norm_eps = 1e-6", "norm_eps = 0", "norm_eps"),
        ("kind = \"vq\"", "kind = \"lfq\"", "lfq"),
        ("codebook_size = 16384", "codebook_size = 0", "`codebook_size` = 0"),
        ("codebook_size = 16384", "codebook_size = 16384\nlevels = [3]", "levels"),
    ] {
        let error = VqConfig::from_toml(&good.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    let at = fsq.find("codebook_size").unwrap();
    for (levels, says) in
        [("[]", "[]"), ("[8, 1]", "[8, 1]"), ("[16777216, 2]", "16777216"), ("[4294967296, 4294967296]", "levels")]
    {
        let error = VqConfig::from_toml(&format!("{}levels = {levels}\n", &fsq[..at])).expect_err(levels).to_string();
        assert!(error.contains(says), "{levels}: {error}");
    }
    assert!(VqConfig::from_toml(&format!("{}levels = [8, 5, 5, 5]\n", &fsq[..at])).is_ok());
    let error = VqConfig::open(Path::new("absent.toml")).unwrap_err().to_string();
    assert!(error.contains("absent.toml"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_picture_goes_through(width in 1usize..70, height in 1usize..70) {
        let codec = tiny("codec-vq");
        let codes = codec.encode(&picture(width, height)).unwrap();
        prop_assert_eq!(codes.values.len(), width.div_ceil(16) * height.div_ceil(16));
        let back = codec.decode(&codes).unwrap();
        prop_assert_eq!((back.width, back.height, back.rgb.len()), (width, height, 3 * width * height));
    }
}
