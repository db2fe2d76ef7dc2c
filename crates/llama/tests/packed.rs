//! Packed rows, new models, larger vocabularies and saved folders, with the tiny checkpoints of `tests/oracle`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use jielong_core::{Model, Token};
use jielong_kernels::Dtype;
use jielong_llama::train::{Batch, ModelConfig, Row, RowError};
use jielong_llama::{Compute, Config, Llama, LoadError, LoadOptions, SaveError};
use jielong_nn::weights::Weights;

fn oracles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")
}

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(oracles()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("oracle.safetensors").exists()).collect();
    found.retain(|path| path.join("config.json").exists());
    found.sort();
    assert!(found.len() >= 18);
    found
}

fn options() -> LoadOptions {
    let compute = Compute::Burn { device: Device::flex().autodiff(), dtype: FloatDType::F32 };
    LoadOptions { compute, context: None }
}

fn load(folder: &Path) -> Llama {
    Llama::from_folder(folder, &options()).unwrap()
}

fn alone(model: &Llama, tokens: &[u32]) -> Vec<f32> {
    let tokens: Vec<Token> = tokens.iter().map(|&token| Token(token)).collect();
    model.logits(&tokens, &mut model.new_state().unwrap()).unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d.is_nan() { f32::NAN } else { worst.max(d) })
}

/// Some tokens of a vocabulary.
fn tokens(count: usize, from: usize, config: &Config) -> Vec<u32> {
    (from..from + count).map(|i| ((i * 7919 + 13) % config.vocab_size) as u32).collect()
}

/// Two rows: examples of 9, 1 and 14 tokens, then of 17, and a filling of 7.
fn examples(config: &Config) -> [Vec<Vec<u32>>; 2] {
    [vec![tokens(9, 0, config), tokens(1, 50, config), tokens(14, 9, config)], vec![tokens(17, 31, config)]]
}

fn rows(examples: &[Vec<Vec<u32>>; 2]) -> Vec<Row> {
    let row = |examples: &Vec<Vec<u32>>| {
        let mut row = Row::default();
        examples.iter().for_each(|tokens| row.push(tokens, &vec![1.0; tokens.len()]));
        row
    };
    examples.iter().map(row).collect()
}

#[test]
fn each_example_of_a_packed_row_is_computed_as_if_it_were_alone() {
    for folder in folders() {
        let model = load(&folder);
        let config = model.config();
        if model.context() < 24 {
            println!("{}: a context of {} is too short for these rows", folder.display(), model.context());
            continue;
        }
        let examples = examples(config);
        let batch = Batch::new(&rows(&examples), config).unwrap();
        assert_eq!(batch.shape(), [2, 24]);
        let logits: Vec<f32> = model.forward_batch(&batch).into_data().iter().collect();
        let losses: Vec<f32> = model.losses(&batch).into_data().iter().collect();
        let (mut expected, mut targets) = (Vec::new(), Vec::new());
        for (row, examples) in examples.iter().enumerate() {
            let mut place = row * 24;
            for tokens in examples {
                let rows = alone(&model, tokens);
                let packed = &logits[place * config.vocab_size..][..rows.len()];
                let error = worst(packed, &rows);
                assert!(error < 2e-5, "{}, example at {place}: {error}", folder.display());
                for (row, &token) in rows.chunks(config.vocab_size).zip(&tokens[1..]) {
                    let sum = row.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>();
                    expected.push((sum.ln() - f64::from(row[token as usize])) as f32);
                    targets.push(token);
                }
                place += tokens.len();
            }
        }
        assert_eq!(batch.targets(), targets);
        assert!(worst(&losses, &expected) < 2e-4, "{}", folder.display());
    }
}

#[test]
fn what_is_not_a_row_is_refused() {
    let model = load(&oracles().join("tiny-llama3-tied"));
    let config = model.config();
    let row = || rows(&examples(config)).remove(0);
    let error = |change: &dyn Fn(&mut Row)| {
        let mut row = row();
        change(&mut row);
        Batch::new(&[row], config).unwrap_err()
    };
    let (vocab_size, context) = (config.vocab_size, config.context);
    assert_eq!(
        error(&|row| row.tokens[3] = vocab_size as u32),
        RowError::Token { token: vocab_size as u32, place: 3, vocab_size }
    );
    assert_eq!(error(&|row| _ = row.weights.pop()), RowError::Lengths { tokens: 24, examples: 24, weights: 23 });
    assert!(matches!(error(&|row| row.weights[9] = 1.0), RowError::Weight { place: 9, .. }));
    assert!(matches!(error(&|row| row.weights[4] = f32::NAN), RowError::Weight { place: 4, .. }));
    assert!(matches!(error(&|row| row.weights[4] = -1.0), RowError::Weight { place: 4, .. }));
    assert_eq!(error(&|row| row.weights.fill(0.0)), RowError::NoWeight);
    let long = |row: &mut Row| (0..context / 24).for_each(|_| row.push(&[1; 24], &[1.0; 24]));
    assert_eq!(error(&long), RowError::Long { length: 24 + context / 24 * 24, context });
}

#[test]
fn new_weights_follow_from_the_seed() {
    let text = "hidden = 48\nlayers = 8\nheads = 4\nkv_heads = 2\nintermediate = 64\ncontext = 32\ntied = false";
    let Ok(ModelConfig::New(shape)) = toml::from_str(text) else { panic!("{text}") };
    let config = shape.config(300, Some(1), &[2]).unwrap();
    let new = |seed| Llama::new(&config, seed, &[], &options()).unwrap();
    let model = new(7);
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path(), Dtype::F32).unwrap();
    let weights = Weights::open_safetensors(folder.path()).unwrap();
    let deviation = |name: &str| {
        let values = weights.get(name).unwrap().to_f32().unwrap();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (values.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / values.len() as f32).sqrt()
    };
    for (name, expected) in [
        ("model.embed_tokens.weight", 0.02),
        ("lm_head.weight", 0.02),
        ("model.layers.3.self_attn.q_proj.weight", 0.02),
        ("model.layers.3.mlp.up_proj.weight", 0.02),
        ("model.layers.3.self_attn.o_proj.weight", 0.005),
        ("model.layers.7.mlp.down_proj.weight", 0.005),
    ] {
        let found = deviation(name);
        assert!((found / expected - 1.0).abs() < 0.06, "{name}: {found}, expected {expected}");
    }
    for name in ["model.norm.weight", "model.layers.0.input_layernorm.weight"] {
        assert_eq!(weights.get(name).unwrap().to_f32().unwrap(), vec![1.0; 48]);
    }
    let ids = tokens(12, 0, &config);
    assert_eq!(alone(&model, &ids), alone(&new(7), &ids));
    assert!(worst(&alone(&model, &ids), &alone(&new(8), &ids)) > 1e-3);
    let kernels = Llama::new(&config, 7, &[], &LoadOptions { compute: Compute::kernels(), context: None }).unwrap();
    assert!(worst(&alone(&model, &ids), &alone(&kernels, &ids)) < 1e-5);
}

#[test]
fn a_saved_model_is_the_same_model() {
    let mut refused = Vec::new();
    for from in folders() {
        let name = from.file_name().unwrap().to_string_lossy().into_owned();
        let model = load(&from);
        let ids = tokens(11, 3, model.config());
        let logits = alone(&model, &ids);
        for (dtype, tolerance) in [(Dtype::F32, 2e-6), (Dtype::F16, 5e-2), (Dtype::BF16, 4e-1)] {
            let folder = tempfile::tempdir().unwrap();
            match model.save(&folder.path().join("new"), dtype) {
                Err(SaveError::Config(_)) => {
                    refused.push(name.clone());
                    continue;
                }
                saved => saved.unwrap_or_else(|error| panic!("{name}: {error}")),
            }
            let read = load(&folder.path().join("new"));
            assert_eq!((read.config().bos, &read.config().eos), (model.config().bos, &model.config().eos), "{name}");
            let error = worst(&alone(&read, &ids), &logits);
            assert!(error <= tolerance, "{name} in {dtype}: {error}");
            assert!(dtype == Dtype::F32 || error > 0.0, "{name} in {dtype} is not rounded");
        }
    }
    refused.dedup();
    println!("not said by a config.json of ours: {refused:?}");
    for said in ["tiny-chat", "tiny-llama-bias-v5", "tiny-llama-linear", "tiny-qwen2", "tiny-phi3"] {
        assert!(!refused.iter().any(|name| name == said), "{refused:?}");
    }
    let packed = LoadOptions { compute: Compute::kernels(), context: None };
    let packed = Llama::from_folder(&oracles().join("tiny-qwen2"), &packed).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(packed.save(folder.path(), Dtype::F32), Err(SaveError::Packed)));
    assert!(matches!(packed.save(folder.path(), Dtype::Q8_0), Err(SaveError::Dtype(Dtype::Q8_0))));
}

#[test]
fn more_tokens_change_nothing_for_the_old_ones() {
    for name in ["tiny-llama3-tied", "tiny-qwen2", "tiny-gemma3"] {
        let folder = oracles().join(name);
        let old = load(&folder);
        let size = old.config().vocab_size;
        let model = Llama::enlarged(&folder, size + 40, 5, &options()).unwrap();
        assert_eq!((model.config().vocab_size, model.vocab_size()), (size + 40, size + 40));
        let ids = tokens(10, 0, old.config());
        let (before, after) = (alone(&old, &ids), alone(&model, &ids));
        for (before, after) in before.chunks(size).zip(after.chunks(size + 40)) {
            assert!(worst(before, &after[..size]) < 1e-6, "{name}");
            // A new token is as likely as the mean of the old ones makes it: below the most likely.
            let most = |logits: &[f32]| logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(most(&after[size..]) < most(before), "{name}");
            let (low, high) = after[size..].iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            assert!(low < high, "{name}: new rows differ");
        }
        // The new tokens can be read too.
        assert!(alone(&model, &[size as u32, size as u32 + 39]).iter().all(|logit| logit.is_finite()));
        let smaller = Llama::enlarged(&folder, size - 1, 5, &options());
        assert!(matches!(smaller, Err(LoadError::Smaller { asked, found, .. }) if (asked, found) == (size - 1, size)));
    }
}

#[test]
fn the_config_of_a_model_names_a_shape_or_a_base() {
    let text = "hidden = 384\nlayers = 8\nheads = 6\nintermediate = 1024\ncontext = 512";
    let config: ModelConfig = toml::from_str(text).unwrap();
    let ModelConfig::New(shape) = &config else { panic!("{config:?}") };
    assert_eq!((shape.kv_heads, shape.tied, shape.rope_theta, shape.norm_eps), (6, true, 10_000.0, 1e-5));
    assert_eq!(toml::from_str::<ModelConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let base: ModelConfig = toml::from_str("base = \"model\"").unwrap();
    assert_eq!(base, ModelConfig::Base("model".into()));
    assert_eq!(toml::from_str::<ModelConfig>(&toml::to_string(&base).unwrap()).unwrap(), base);
    for (bad, says) in [
        ("base = \"model\"\nhidden = 3", "has its shape already"),
        ("hidden = 384\nlayers = 8", "`heads` is missing"),
        ("base = \"model\"\nwidth = 3", "unknown field `width`"),
    ] {
        let error = toml::from_str::<ModelConfig>(bad).unwrap_err().to_string();
        assert!(error.contains(says), "{bad}: {error}");
    }
    let config = |changed: &str| match toml::from_str(&text.replace("heads = 6", changed)) {
        Ok(ModelConfig::New(shape)) => shape.config(100, None, &[]).map(|_| ()).map_err(|error| error.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(config("heads = 6"), Ok(()));
    for bad in ["heads = 7", "heads = 0", "heads = 6\nkv_heads = 4", "heads = 6\nkv_heads = 0"] {
        assert!(config(bad).is_err(), "{bad}");
    }
}
