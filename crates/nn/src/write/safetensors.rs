//! Tensors → `model.safetensors`, or shards with an index where they are too large for one file.
//!
//! Source: the format's description, <https://huggingface.co/docs/safetensors>; names of shards and the index as
//! `huggingface_hub` writes them.

use std::cmp::Reverse;
use std::path::Path;

use jielong_kernels::{Cpu, Dtype};
use serde_json::{Map, Value, json};

use super::{Rewrite, Sink, WriteError};

/// Bytes of a shard at most, unless one tensor alone is larger: what Transformers takes too.
pub const SHARD: u64 = 5_000_000_000;

/// Writes all tensors into a folder. Types are F32, F16 and BF16: the format has no others of ours.
///
/// # Errors
/// [`WriteError`]; what was written until then stays.
pub fn write(
    folder: &Path,
    tensors: &[Rewrite],
    shard: u64,
    cpu: &Cpu,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<(), WriteError> {
    let shards = shards(tensors, shard);
    let name = |index: usize| match shards.len() {
        0 | 1 => "model.safetensors".into(),
        count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    };
    let mut map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        write_one(&folder.join(name(index)), shard, cpu, progress)?;
        map.extend(shard.iter().map(|tensor| (tensor.name().to_owned(), name(index).into())));
    }
    if shards.len() > 1 {
        let size: u64 = tensors.iter().map(Rewrite::bytes).sum();
        let index = json!({ "metadata": { "total_size": size }, "weight_map": map });
        let path = folder.join("model.safetensors.index.json");
        let mut sink = Sink::create(&path, progress)?;
        sink.write(format!("{index:#}\n").as_bytes())?;
        sink.finish()?;
    }
    Ok(())
}

/// Tensors in their order, as many in each shard as fit.
fn shards(tensors: &[Rewrite], limit: u64) -> Vec<&[Rewrite]> {
    let (mut shards, mut start, mut size) = (Vec::new(), 0, 0);
    for (index, tensor) in tensors.iter().enumerate() {
        if size + tensor.bytes() > limit && index > start {
            shards.push(&tensors[start..index]);
            (start, size) = (index, 0);
        }
        size += tensor.bytes();
    }
    shards.push(&tensors[start..]);
    shards
}

fn write_one(
    path: &Path,
    tensors: &[Rewrite],
    cpu: &Cpu,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<(), WriteError> {
    // The widest values first: then all of them are aligned.
    let mut tensors: Vec<&Rewrite> = tensors.iter().collect();
    tensors.sort_by_key(|tensor| Reverse(tensor.written().block_bytes()));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut at = 0;
    for tensor in &tensors {
        let end = at + tensor.bytes();
        let entry = json!({ "dtype": tensor.written().name(), "shape": tensor.shape(), "data_offsets": [at, end] });
        header.insert(tensor.name().into(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // Data is aligned for the widest type.
    let padding = header.len().next_multiple_of(8) - header.len();
    header.push_str(&" ".repeat(padding));
    let mut sink = Sink::create(path, progress)?;
    sink.write(&(header.len() as u64).to_le_bytes())?;
    sink.write(header.as_bytes())?;
    tensors.iter().try_for_each(|tensor| tensor.write(cpu, &mut sink))?;
    sink.finish()
}

/// Whether the format has this type.
pub fn holds(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}
