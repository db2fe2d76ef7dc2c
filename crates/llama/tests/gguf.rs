//! GGUF files made here: the same model as from safetensors, and every kind of damage refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use jielong_core::{Model, Token};
use jielong_llama::{Compute, Gguf, Llama, LoadOptions};
use jielong_nn::weights::Weights;
use proptest::prelude::*;

/// A GGUF file under construction.
#[derive(Clone, Default)]
struct File {
    pairs: Vec<u8>,
    pair_count: u64,
    infos: Vec<u8>,
    info_count: u64,
    data: Vec<u8>,
    alignment: usize,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl File {
    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.pairs.extend([&string(key)[..], &kind.to_le_bytes(), value].concat());
        self.pair_count += 1;
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.pair(key, 8, &string(value))
    }

    fn int(self, key: &str, value: u32) -> Self {
        self.pair(key, 4, &value.to_le_bytes())
    }

    fn float(self, key: &str, value: f32) -> Self {
        self.pair(key, 6, &value.to_le_bytes())
    }

    /// A tensor of f32, its shape rows first.
    fn tensor(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let offset = self.data.len().next_multiple_of(32);
        self.data.resize(offset, 0);
        self.data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self.info(name, shape, 0, offset as u64)
    }

    fn info(mut self, name: &str, shape: &[usize], kind: u32, offset: u64) -> Self {
        self.infos.extend(string(name));
        self.infos.extend((shape.len() as u32).to_le_bytes());
        self.infos.extend(shape.iter().rev().flat_map(|&n| (n as u64).to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self.info_count += 1;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.info_count.to_le_bytes());
        bytes.extend(self.pair_count.to_le_bytes());
        bytes.extend(&self.pairs);
        bytes.extend(&self.infos);
        bytes.resize(bytes.len().next_multiple_of(self.alignment.max(32)), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = written(bytes);
    let message = Gguf::open(&path).expect_err("must be refused").to_string();
    assert!(message.contains("model.gguf"), "no file in: {message}");
    message
}

fn small() -> File {
    File::default().text("general.architecture", "llama").tensor("a", &[2, 3], &[1.0; 6])
}

#[test]
fn a_legal_file_is_read() {
    let (_folder, path) = written(&small().int("n", 7).float("x", 0.5).bytes());
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.string("general.architecture").unwrap(), Some("llama"));
    assert_eq!((gguf.u64("n").unwrap(), gguf.f64("x").unwrap(), gguf.u64("none").unwrap()), (Some(7), Some(0.5), None));
    assert_eq!(gguf.weights().get("a").unwrap().shape(), [2, 3]);
    let message = gguf.u64("general.architecture").unwrap_err().to_string();
    assert!(message.contains("`general.architecture` is a string, expected a whole number"), "{message}");
}

#[test]
fn counts_lengths_and_offsets_are_checked_before_anything_is_allocated() {
    let good = small().bytes();
    let with = |at: usize, value: u64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        refusal(&bytes)
    };
    for huge in [1 << 63, u64::MAX] {
        assert!(with(8, huge).contains("tensors"));
        assert!(with(16, huge).contains("key-value pairs"));
        assert!(with(24, huge).contains("key 0"));
        assert!(with(24 + 8 + 20 + 4, huge).contains("`general.architecture`"));
    }
    let array = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    assert!(refusal(&small().pair("list", 9, &array(8, 1 << 63)).bytes()).contains("`list` claims"));
    assert!(refusal(&small().pair("list", 9, &array(9, 1)).bytes()).contains("array of arrays"));
    assert!(refusal(&small().pair("odd", 99, &[]).bytes()).contains("`odd` has the unknown value type 99"));
    assert!(refusal(&small().int("n", 1).int("n", 2).bytes()).contains("`n` is there twice"));
    for alignment in [0, 3, 1, 1 << 30] {
        assert!(refusal(&small().int("general.alignment", alignment).bytes()).contains("general.alignment"));
    }
    assert!(refusal(&small().info("b", &[8], 0, 1 << 40).bytes()).contains("`b`"));
    assert!(refusal(&small().info("b", &[8], 0, u64::MAX - 31).bytes()).contains("`b`"));
    assert!(refusal(&small().info("b", &[1], 0, 0).bytes()).contains("offset 0"));
    assert!(refusal(&small().info("b", &[1 << 40, 1 << 40], 0, 32).bytes()).contains("too large"));
    assert!(refusal(&small().info("b", &[2, 33], 8, 32).bytes()).contains("33 values are not whole blocks of Q8_0"));
    let types = refusal(&small().info("b", &[32], 10, 32).info("c", &[32], 77, 64).bytes());
    assert!(types.contains("`b` has type 10 (Q2_K)") && types.contains("`c` has type 77"), "{types}");
    assert!(refusal(&small().info("a", &[1], 0, 32).bytes()).contains("`a`"));
    assert!(refusal(b"GGUF").contains("version"));
    assert!(refusal(b"").contains("GGUF"));
    assert!(refusal(&[b"GGUF", &4u32.to_be_bytes()[..], &[0; 16]].concat()).contains("version"));
    assert!(refusal(&[b"GGUF", &3u32.to_be_bytes()[..], &[0; 16]].concat()).contains("big endian"));
    assert!(refusal(&good[..good.len() - 8]).contains("`a`"));
}

/// A tiny safetensors checkpoint as a GGUF file of architecture `llama`.
fn converted(folder: &Path) -> File {
    let weights = Weights::open_safetensors(folder).unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let n = |key: &str| config[key].as_u64().unwrap() as u32;
    let head_dim = (n("hidden_size") / n("num_attention_heads")) as usize;
    let mut file = File::default()
        .text("general.architecture", "llama")
        .int("llama.block_count", n("num_hidden_layers"))
        .int("llama.context_length", n("max_position_embeddings"))
        .int("llama.embedding_length", n("hidden_size"))
        .int("llama.feed_forward_length", n("intermediate_size"))
        .int("llama.attention.head_count", n("num_attention_heads"))
        .int("llama.attention.head_count_kv", n("num_key_value_heads"))
        .float("llama.attention.layer_norm_rms_epsilon", config["rms_norm_eps"].as_f64().unwrap() as f32)
        .float("llama.rope.freq_base", config["rope_theta"].as_f64().unwrap() as f32)
        .text("llama.rope.scaling.type", "linear")
        .float("llama.rope.scaling.factor", config["rope_scaling"]["factor"].as_f64().unwrap() as f32);
    for view in weights.iter() {
        let mut name = view.name().replace("model.layers.", "blk.");
        for (from, to) in [
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ] {
            name = name.replace(from, to);
        }
        let mut values = view.to_f32().unwrap();
        if name.contains("attn_q.") || name.contains("attn_k.") {
            values = interleaved(&values, head_dim, view.shape()[1]);
        }
        file = file.tensor(&name, view.shape(), &values);
    }
    file
}

/// Rows of each head from halves to pairs, as the conversion to GGUF does for `llama`.
fn interleaved(values: &[f32], head_dim: usize, width: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = values.chunks(width).collect();
    let order = (0..rows.len()).map(|row| {
        let (head, within) = (row / head_dim, row % head_dim);
        head * head_dim + within / 2 + within % 2 * head_dim / 2
    });
    order.flat_map(|row| rows[row].to_vec()).collect()
}

fn options() -> LoadOptions {
    LoadOptions { compute: Compute::kernels(), context: None }
}

#[test]
fn a_model_is_the_same_from_gguf_and_from_safetensors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny-llama-linear");
    let (_keep, path) = written(&converted(&folder).bytes());
    let ids: Vec<Token> = (1..30).map(Token).collect();
    let run = |model: Llama| model.logits(&ids, &mut model.new_state().unwrap()).unwrap();
    let ours = run(Llama::from_gguf(&Gguf::open(&path).unwrap(), &options()).unwrap());
    let reference = run(Llama::from_folder(&folder, &options()).unwrap());
    assert!(ours.iter().zip(&reference).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn metadata_that_asks_for_something_else_is_refused_by_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny-llama-linear");
    let good = converted(&folder);
    let message = |file: File| {
        let (_keep, path) = written(&file.bytes());
        Llama::from_gguf(&Gguf::open(&path).unwrap(), &options()).unwrap_err().to_string()
    };
    let replaced = |key: &str, kind: u32, value: &[u8]| {
        let mut file = good.clone();
        let old = string(key);
        let at = file.pairs.windows(old.len()).position(|w| w == old).unwrap() + old.len();
        file.pairs[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        file.pairs[at + 4..at + 4 + value.len()].copy_from_slice(value);
        message(file)
    };
    assert!(replaced("llama.block_count", 4, &1_000_000_000u32.to_le_bytes()).contains("llama.block_count"));
    assert!(replaced("llama.attention.head_count", 4, &0u32.to_le_bytes()).contains("llama.attention.head_count"));
    assert!(replaced("llama.block_count", 6, &1f32.to_le_bytes()).contains("`llama.block_count` is a float"));
    assert!(replaced("llama.block_count", 4, &3u32.to_le_bytes()).contains("`blk.2.attn_q.weight`"));
    assert!(message(good.clone().int("tokenizer.ggml.eos_token_id", 5000)).contains("5000"));
    assert!(message(good.clone().int("llama.expert_count", 8)).contains("llama.expert_count"));
    assert!(message(File::default().text("general.architecture", "mamba")).contains("mamba"));
    assert!(message(File::default()).contains("general.architecture"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let mut bytes = small().int("general.alignment", 32).text("tokenizer.chat_template", "x").bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        let (_folder, path) = written(&bytes);
        if let Ok(gguf) = Gguf::open(&path) {
            for view in gguf.weights().iter() {
                let _ = view.to_f32();
            }
        }
    }
}
