//! Which tensors a [`Config`] has, and where each is found in a file.
//!
//! [`tensors`] lists every weight under its Hugging Face name. A [`Naming`] says where a file keeps it: under that name,
//! as rows of a fused matrix (Phi 3), or under GGUF's name, with the rows of rotated queries and keys in another order.
//! [`places`] resolves all of them, or reports everything that is wrong at once.

use std::collections::HashSet;
use std::ops::Range;

use jielong_kernels::Rows;
use jielong_nn::weights::{TensorView, Weights};

use crate::config::{Config, NormPlacement, QkNorm};

/// A weight of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Name in a Hugging Face checkpoint of the family.
    pub name: String,
    /// Shape, row-major, outputs first.
    pub shape: Vec<usize>,
}

/// A weight of the model in a file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub view: TensorView,
    /// First row, where the weight is a part of the stored matrix.
    pub first_row: usize,
    pub shape: Vec<usize>,
    /// Rows are stored as interleaved rotary pairs, in this many heads.
    pub interleaved: Option<usize>,
}

impl Place {
    /// Its rows in the stored matrix.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.first_row..self.first_row + self.shape[0]
    }

    /// In which order these are stored.
    pub(crate) fn order(&self) -> Rows {
        match self.interleaved {
            Some(heads) => Rows::Interleaved { head: self.shape[0] / heads },
            None => Rows::AsStored,
        }
    }
}

/// How a file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    HuggingFace,
    Gguf,
}

/// Every weight of a model, in the order of computation.
pub(crate) fn tensors(c: &Config) -> Vec<Spec> {
    let mut list = Vec::new();
    let mut add = |name: String, shape: &[usize]| list.push(Spec { name, shape: shape.to_vec() });
    let (hidden, q, kv) = (c.hidden_size, c.heads * c.head_dim, c.kv_heads * c.head_dim);
    add("model.embed_tokens.weight".into(), &[c.vocab_size, hidden]);
    for (i, layer) in c.layers.iter().enumerate() {
        let at = |part: &str| format!("model.layers.{i}.{part}");
        for norm in norm_names(c.norms) {
            add(at(&format!("{norm}.weight")), &[hidden]);
        }
        for (name, rows, columns, bias) in [
            ("q_proj", q, hidden, c.bias.qkv),
            ("k_proj", kv, hidden, c.bias.qkv),
            ("v_proj", kv, hidden, c.bias.qkv),
            ("o_proj", hidden, q, c.bias.output),
        ] {
            add(at(&format!("self_attn.{name}.weight")), &[rows, columns]);
            if bias {
                add(at(&format!("self_attn.{name}.bias")), &[rows]);
            }
        }
        let norms = match c.qk_norm {
            QkNorm::No => None,
            QkNorm::Head => Some((c.head_dim, c.head_dim)),
            QkNorm::Projection => Some((q, kv)),
        };
        if let Some((q, k)) = norms {
            add(at("self_attn.q_norm.weight"), &[q]);
            add(at("self_attn.k_norm.weight"), &[k]);
        }
        let mut mlp = |prefix: &str, width: usize, bias: bool| {
            for (name, rows, columns) in
                [("gate_proj", width, hidden), ("up_proj", width, hidden), ("down_proj", hidden, width)]
            {
                add(at(&format!("{prefix}.{name}.weight")), &[rows, columns]);
                if bias {
                    add(at(&format!("{prefix}.{name}.bias")), &[rows]);
                }
            }
        };
        match c.experts.filter(|_| layer.sparse) {
            None => mlp("mlp", c.intermediate_size, c.bias.mlp),
            Some(experts) => {
                for e in 0..experts.count {
                    mlp(&format!("mlp.experts.{e}"), experts.intermediate_size, false);
                }
                add(at("mlp.gate.weight"), &[experts.count, hidden]);
            }
        }
    }
    add("model.norm.weight".into(), &[hidden]);
    if !c.tied {
        add("lm_head.weight".into(), &[c.vocab_size, hidden]);
    }
    list
}

/// Norms of a block in Hugging Face's names: before and after attention, before and after the feed-forward layer.
pub(crate) fn block_norms(placement: NormPlacement) -> [Option<&'static str>; 4] {
    match placement {
        NormPlacement::Before => [Some("input_layernorm"), None, Some("post_attention_layernorm"), None],
        NormPlacement::After => [None, Some("post_attention_layernorm"), None, Some("post_feedforward_layernorm")],
        NormPlacement::Both => [
            Some("input_layernorm"),
            Some("post_attention_layernorm"),
            Some("pre_feedforward_layernorm"),
            Some("post_feedforward_layernorm"),
        ],
    }
}

fn norm_names(placement: NormPlacement) -> impl Iterator<Item = &'static str> {
    block_norms(placement).into_iter().flatten()
}

/// Finds every weight, in the order of [`tensors`].
///
/// # Errors
/// All that is missing, of another shape or type, or not part of the model, one line each.
pub(crate) fn places(c: &Config, weights: &Weights, naming: Naming) -> Result<Vec<Place>, Vec<String>> {
    let prefix = match naming {
        // The multimodal Gemma 3 keeps its text model under a prefix, the newer form under another.
        Naming::HuggingFace => ["", "language_model.", "model.language_model."]
            .into_iter()
            .find(|p| weights.get(&stored_name(p, "model.embed_tokens.weight")).is_some())
            .unwrap_or(""),
        Naming::Gguf => "",
    };
    let (mut found, mut problems, mut used) = (Vec::new(), Vec::new(), HashSet::new());
    for spec in tensors(c) {
        let (name, first_row, rows) = match naming {
            Naming::Gguf => (gguf_name(c, &spec.name), 0, spec.shape[0]),
            Naming::HuggingFace => {
                let (name, first, rows) = fused(c, &spec);
                (stored_name(prefix, &name), first, rows)
            }
        };
        let mut stored = spec.shape.clone();
        stored[0] = rows;
        match weights.get(&name) {
            None => problems.push(format!("`{name}` {stored:?} is missing")),
            Some(view) if view.shape() != stored => {
                problems.push(format!("`{name}` is {:?}, expected {stored:?}", view.shape()));
            }
            Some(view) => {
                let interleaved = (naming == Naming::Gguf && c.family == "llama").then(|| rotary_heads(c, &spec.name));
                let place =
                    Place { view: view.clone(), first_row, shape: spec.shape, interleaved: interleaved.flatten() };
                found.push(place);
            }
        }
        used.insert(name);
    }
    for name in weights.names().filter(|n| !used.contains(*n) && !ignorable(c, n, prefix)) {
        problems.push(format!("`{name}` is not part of a {} model with this config", c.family));
    }
    problems.dedup();
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn stored_name(prefix: &str, name: &str) -> String {
    match (prefix, name.strip_prefix("model.")) {
        ("model.language_model.", Some(inner)) => format!("{prefix}{inner}"),
        ("model.language_model.", None) => name.into(),
        _ => format!("{prefix}{name}"),
    }
}

/// Tensors that some checkpoints carry and that no computation needs: a copy of a tied head, tables of angles, and the
/// other towers of a multimodal model.
fn ignorable(c: &Config, name: &str, prefix: &str) -> bool {
    (c.tied && (name.ends_with("lm_head.weight") || name == "output.weight"))
        || name.ends_with("rotary_emb.inv_freq")
        || name == "rope_freqs.weight"
        || (!prefix.is_empty() && ["vision_tower.", "multi_modal_projector."].iter().any(|part| name.contains(part)))
}

/// Phi 3 stores queries, keys and values as one matrix, gate and up as another: the stored name, the first row of the
/// part, and the rows of the whole.
fn fused(c: &Config, spec: &Spec) -> (String, usize, usize) {
    let rows = spec.shape[0];
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let parts = [
        ("q_proj", "qkv_proj", 0, q + 2 * kv),
        ("k_proj", "qkv_proj", q, q + 2 * kv),
        ("v_proj", "qkv_proj", q + kv, q + 2 * kv),
        ("gate_proj", "gate_up_proj", 0, 2 * c.intermediate_size),
        ("up_proj", "gate_up_proj", c.intermediate_size, 2 * c.intermediate_size),
    ];
    match parts.iter().find(|(part, ..)| c.family == "phi3" && spec.name.contains(part)) {
        Some((part, whole, first, total)) => (spec.name.replace(part, whole), *first, *total),
        None => (spec.name.clone(), 0, rows),
    }
}

/// Heads of a weight whose rows GGUF's `llama` architecture stores as interleaved pairs.
pub(crate) fn rotary_heads(c: &Config, name: &str) -> Option<usize> {
    match name {
        _ if name.contains("q_proj") => Some(c.heads),
        _ if name.contains("k_proj") => Some(c.kv_heads),
        _ => None,
    }
}

/// The name that GGUF files give a weight.
pub(crate) fn gguf_name(c: &Config, name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let Some((index, part)) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) else {
        return name.into();
    };
    let (stem, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
    let stem = match stem {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "post_attention_layernorm" if c.norms == NormPlacement::Before => "ffn_norm",
        "post_attention_layernorm" => "post_attention_norm",
        "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        other => other,
    };
    format!("blk.{index}.{stem}.{kind}")
}
