//! Tiny checkpoints of every family against Transformers' own float32 results.
//!
//! `tests/oracle/tiny-*` (made by `scripts/make_model_oracles.py`), and `../shared/oracle/tiny-*` where it is there.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, FloatDType};
use jielong_core::{Allowed, Event, Model, Request, Sampler, SamplerConfig, State, Token, generate};
use jielong_kernels::{CacheType, Cpu, Dtype, Layout};
use jielong_llama::{Compute, Config, Llama, LoadOptions};
use jielong_nn::load::Packing;
use safetensors::SafeTensors;

const TOLERANCE: f32 = 2e-4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Folders that hold a checkpoint and its oracle.
fn folders() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in ["tests/oracle", "../shared/oracle"] {
        let Ok(entries) = std::fs::read_dir(root().join(place)) else {
            println!("skipped: no {place} beside this clone");
            continue;
        };
        found.extend(
            entries
                .map(|e| e.unwrap().path())
                .filter(|p| p.join("config.json").exists() && p.join("oracle.safetensors").exists()),
        );
    }
    found.sort();
    assert!(found.iter().filter(|p| p.starts_with(root().join("tests/oracle"))).count() >= 18);
    found
}

fn load(folder: &Path, compute: Compute, context: Option<usize>) -> Llama {
    let options = LoadOptions { compute, context };
    Llama::from_folder(folder, &options).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
}

/// All ways to compute: the kernels, Burn's own operations, and with the feature `wgpu` the kernels for cards.
fn computes() -> Vec<Compute> {
    let burn = |device| Compute::Burn { device, dtype: FloatDType::F32 };
    [Compute::kernels(), burn(Device::flex())].into_iter().chain(card().map(burn)).collect()
}

#[cfg(feature = "wgpu")]
fn card() -> Option<Device> {
    let found = Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec().into_iter().next();
    if found.is_none() {
        println!("skipped: Vulkan has no device here");
    }
    found
}

#[cfg(not(feature = "wgpu"))]
fn card() -> Option<Device> {
    None
}

struct Oracle {
    ids: Vec<Token>,
    logits: Vec<f32>,
    prompt: Vec<Token>,
    greedy: Vec<Token>,
}

fn oracle(folder: &Path) -> Oracle {
    let bytes = std::fs::read(folder.join("oracle.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let raw = |names: [&str; 2]| {
        names.iter().find_map(|n| file.tensor(n).ok()).expect("tensor in the oracle").data().to_vec()
    };
    let ids = |names| raw(names).chunks(8).map(|b| Token(i64::from_le_bytes(b.try_into().unwrap()) as u32)).collect();
    Oracle {
        ids: ids(["ids", "input_ids"]),
        logits: raw(["logits"; 2]).chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        prompt: ids(["prompt", "prompt_ids"]),
        greedy: ids(["greedy", "greedy_ids"]),
    }
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d.is_nan() { f32::NAN } else { worst.max(d) })
}

#[test]
fn logits_at_every_position_are_those_of_transformers() {
    for folder in folders() {
        let oracle = oracle(&folder);
        let context = Config::from_hf(&std::fs::read(folder.join("config.json")).unwrap()).unwrap().context;
        for compute in computes() {
            let model = load(&folder, compute, Some(context));
            let mut state = model.new_state().unwrap();
            let logits = model.logits(&oracle.ids, &mut state).unwrap();
            let error = worst(&logits, &oracle.logits);
            println!("{:60} {error:.1e}", folder.file_name().unwrap().to_string_lossy());
            assert!(error < TOLERANCE, "{}: {error}", folder.display());
        }
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for folder in folders() {
        let oracle = oracle(&folder);
        let model = load(&folder, Compute::kernels(), None);
        let mut state = model.new_state().unwrap();
        let config = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
        let mut sampler = Sampler::new(config, model.vocab_size()).unwrap();
        let request = Request { max_new_tokens: oracle.greedy.len(), ..Request::new(&oracle.prompt) };
        let ids: Vec<Token> = generate(&model, &mut state, &mut sampler, request)
            .filter_map(|event| match event.unwrap() {
                Event::Token(step) => Some(step.token),
                _ => None,
            })
            .collect();
        assert_eq!(ids, oracle.greedy, "{}", folder.display());
    }
}

#[test]
fn chunks_and_truncation_change_nothing() {
    for folder in folders() {
        let oracle = oracle(&folder);
        for compute in computes() {
            chunks_and_truncation(&folder, &oracle, &load(&folder, compute, Some(64)));
        }
    }
}

fn chunks_and_truncation(folder: &Path, oracle: &Oracle, model: &Llama) {
    let vocab = model.vocab_size();
    let row = |i: usize| &oracle.logits[i * vocab..(i + 1) * vocab];
    for chunk in [1, 3, 7, 16, 39] {
        let mut state = model.new_state().unwrap();
        let mut last = 0;
        for part in oracle.ids.chunks(chunk) {
            let logits = model.next(part, &mut state).unwrap();
            last += part.len();
            assert_eq!(state.len(), last);
            let error = worst(&logits.0, row(last - 1));
            assert!(error < TOLERANCE, "{} in chunks of {chunk}: {error}", folder.display());
        }
        // Forget a part, read something else, forget that, and read the part again.
        for keep in [0, 5, 21] {
            state.truncate(keep);
            model.next(&[Token(7), Token(8), Token(9)], &mut state).unwrap();
            state.truncate(keep);
            let logits = model.next(&oracle.ids[keep..], &mut state).unwrap();
            assert!(worst(&logits.0, row(oracle.ids.len() - 1)) < TOLERANCE, "{}", folder.display());
        }
    }
}

#[test]
fn the_cache_grows_without_forgetting() {
    let folder = root().join("tests/oracle/tiny-llama3-tied");
    let oracle = oracle(&folder);
    let model = load(&folder, Compute::kernels(), None);
    assert_eq!(model.context(), 64);
    let mut state = model.new_state().unwrap();
    let long: Vec<Token> = oracle.ids.iter().chain(&oracle.ids).copied().take(64).collect();
    model.next(&long, &mut state).unwrap();
    let full = model.next(&[Token(5)], &mut state).unwrap_err();
    assert!(full.to_string().contains("64"), "{full}");
    assert_eq!(state.len(), 64);
    state.truncate(oracle.ids.len() - 1);
    let logits = model.next(&oracle.ids[oracle.ids.len() - 1..], &mut state).unwrap();
    assert!(worst(&logits.0, &oracle.logits[oracle.logits.len() - model.vocab_size()..]) < TOLERANCE);
}

#[test]
fn kernels_give_the_same_bits_for_all_at_once_and_one_by_one() {
    for folder in folders() {
        let oracle = oracle(&folder);
        for (threads, cache) in [(1, CacheType::F32), (3, CacheType::F16), (2, CacheType::Q8)] {
            let compute = Compute::Kernels { cpu: Arc::new(Cpu::new(threads)), packing: Packing::default(), cache };
            let model = load(&folder, compute, Some(64));
            let (mut whole, mut single) = (model.new_state().unwrap(), model.new_state().unwrap());
            let together = model.next_each(&oracle.ids, &mut whole).unwrap();
            for (&token, row) in oracle.ids.iter().zip(&together) {
                let alone = model.next(&[token], &mut single).unwrap();
                assert!(alone.0.iter().zip(&row.0).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", folder.display());
            }
        }
    }
}

/// The head for some tokens alone: with kernels the same bits, turned or not; with tensors the same up to rounding.
#[test]
fn logits_of_some_tokens_are_those_of_all() {
    for folder in folders() {
        let oracle = oracle(&folder);
        let mut all = computes().to_vec();
        for (dtype, layout) in
            [(Dtype::Q4_0, Layout::Turned), (Dtype::Q8_0, Layout::Mapped), (Dtype::BF16, Layout::Mapped)]
        {
            let packing = Packing { dtype: Some(dtype), layout };
            all.push(Compute::Kernels { cpu: Arc::new(Cpu::new(0)), packing, cache: CacheType::F32 });
        }
        for compute in all {
            let exact = matches!(compute, Compute::Kernels { .. });
            let model = load(&folder, compute, None);
            model.settle();
            let size = model.vocab_size() as u32;
            let full = model.next(&oracle.prompt, &mut model.new_state().unwrap()).unwrap().0;
            for ranges in
                [vec![0..1, 17..18, 31..60, size - 1..size], vec![5..size], vec![16..32], vec![size - 3..size + 9]]
            {
                let allowed = Allowed::new(ranges);
                let mut state = model.new_state().unwrap();
                let some = model.next_of(&oracle.prompt, &mut state, &allowed).unwrap().0;
                assert_eq!(state.len(), oracle.prompt.len());
                for (id, (&some, &full)) in (0..size).zip(some.iter().zip(&full)) {
                    let expected = if allowed.contains(Token(id)) { full } else { f32::NEG_INFINITY };
                    let same = some == expected || !exact && (some - expected).abs() < 1e-5;
                    assert!(same, "{}, token {id}: {some}, {expected}", folder.display());
                }
            }
        }
    }
}

#[test]
fn quantised_on_load_a_model_stays_within_the_error_of_the_type() {
    // Rows of 32 and 48 values: Q6_K becomes Q8_0 where there are whole blocks of 32, and F16 elsewhere.
    for (dtype, tolerance) in [(Dtype::Q8_0, 0.06), (Dtype::Q6_K, 0.06), (Dtype::Q5_1, 0.4), (Dtype::Q4_0, 0.8)] {
        let folder = root().join("tests/oracle/tiny-llama3-tied");
        let oracle = oracle(&folder);
        let logits = [Layout::Turned, Layout::Mapped].map(|layout| {
            let packing = Packing { dtype: Some(dtype), layout };
            let compute = Compute::Kernels { cpu: Arc::new(Cpu::new(2)), packing, cache: CacheType::default() };
            let model = load(&folder, compute, None);
            model.logits(&oracle.ids, &mut model.new_state().unwrap()).unwrap()
        });
        assert_eq!(logits[0], logits[1], "{dtype}: turned and mapped");
        let [logits, _] = logits;
        let size = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let differences = &mut logits.iter().zip(&oracle.logits).map(|(a, b)| a - b);
        let error = size(differences) / size(&mut oracle.logits.iter().copied());
        println!("{dtype}: {error:.1e} of the size of the logits");
        assert!(error > 0.0 && error < tolerance, "{dtype}: {error}");
    }
}
