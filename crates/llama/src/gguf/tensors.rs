//! Tensor infos → checked places in the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use jielong_kernels::{Dtype, MappedFile};
use jielong_nn::weights::{Stored, TensorView, Weights};

use super::reader::Reader;
use super::{GgufError, Value};

const DEFAULT_ALIGNMENT: i128 = 32;

/// Reads `count` infos and finds each tensor's bytes.
pub(super) fn read(
    reader: &mut Reader,
    count: u64,
    metadata: &BTreeMap<String, Value>,
    file: &Arc<MappedFile>,
) -> Result<Weights, GgufError> {
    let alignment = alignment(reader, metadata)?;
    if let Some(Value::Int(parts)) = metadata.get("split.count").filter(|v| **v != Value::Int(0) && **v != Value::Int(1)) {
        let problem = format!("`split.count` is {parts}: a part of a split model; join the parts (gguf-split --merge) first");
        return Err(reader.damaged(problem));
    }
    let mut infos = Vec::new();
    let mut unknown = Vec::new();
    for index in 0..count {
        let info = Info::read(reader, index)?;
        match info.dtype {
            Ok(dtype) => infos.push((info, dtype)),
            Err(kind) => unknown.push(format!("`{}` has type {kind}{}", info.name, known_name(kind))),
        }
    }
    if !unknown.is_empty() {
        return Err(GgufError::Types { path: reader.path().to_path_buf(), tensors: unknown });
    }
    let start = reader.at().next_multiple_of(alignment);
    infos.sort_by_key(|(info, _)| info.offset);
    let mut weights = Weights::default();
    let mut end = 0;
    for (info, dtype) in infos {
        let Info { name, shape, offset, .. } = info;
        let wrong = |problem: String| reader.damaged(format!("`{name}`: {problem}"));
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(dtype.block_len()) {
            return Err(wrong(format!("rows of {columns} values are not whole blocks of {dtype} ({})", dtype.block_len())));
        }
        let values = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        let size = values.and_then(|n| dtype.bytes(n)).ok_or_else(|| wrong(format!("shape {shape:?} is too large")))?;
        if !offset.is_multiple_of(alignment as u64) || offset < end {
            return Err(wrong(format!("offset {offset} is not a multiple of {alignment} after {end}, the last tensor's end")));
        }
        let range = usize::try_from(offset)
            .ok()
            .and_then(|offset| start.checked_add(offset))
            .and_then(|from| Some(from..from.checked_add(size)?))
            .filter(|range| range.end <= reader.len())
            .ok_or_else(|| wrong(format!("{size} bytes at offset {offset} end past the file's {} bytes", reader.len())))?;
        end = offset + size as u64;
        let view = TensorView::new(name, Stored::Weights(dtype), shape, Arc::clone(file), range);
        weights.insert(view).map_err(|view| reader.damaged(format!("`{}` is there twice", view.name())))?;
    }
    Ok(weights)
}

fn alignment(reader: &Reader, metadata: &BTreeMap<String, Value>) -> Result<usize, GgufError> {
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Int(n)) => *n,
        Some(other) => return Err(reader.damaged(format!("`general.alignment` is {}, expected an integer", other.kind()))),
    };
    match usize::try_from(alignment) {
        Ok(n) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => Ok(n),
        _ => Err(reader.damaged(format!("`general.alignment` is {alignment}, expected a power of two from 8"))),
    }
}

/// One tensor's info.
struct Info {
    name: String,
    /// Rows first: the reverse of the file's order.
    shape: Vec<usize>,
    /// The type, or a number that is not known here.
    dtype: Result<Dtype, u32>,
    offset: u64,
}

impl Info {
    fn read(reader: &mut Reader, index: u64) -> Result<Self, GgufError> {
        let name = reader.string(&format!("name of tensor {index}"))?;
        let dimensions = reader.u32(&name)?;
        if !(1..=4).contains(&dimensions) {
            return Err(reader.damaged(format!("`{name}` has {dimensions} dimensions, expected 1 to 4")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let n = reader.u64(&name)?;
            let n = usize::try_from(n).map_err(|_| reader.damaged(format!("`{name}` has a dimension of {n}")))?;
            shape.insert(0, n);
        }
        let dtype = dtype(reader.u32(&name)?);
        Ok(Self { name: name.clone(), shape, dtype, offset: reader.u64(&name)? })
    }
}

/// GGML's number of a type.
fn dtype(kind: u32) -> Result<Dtype, u32> {
    match kind {
        0 => Ok(Dtype::F32),
        1 => Ok(Dtype::F16),
        2 => Ok(Dtype::Q4_0),
        3 => Ok(Dtype::Q4_1),
        6 => Ok(Dtype::Q5_0),
        7 => Ok(Dtype::Q5_1),
        8 => Ok(Dtype::Q8_0),
        12 => Ok(Dtype::Q4_K),
        13 => Ok(Dtype::Q5_K),
        14 => Ok(Dtype::Q6_K),
        30 => Ok(Dtype::BF16),
        other => Err(other),
    }
}

/// GGML's names of types that are not supported, for the message.
fn known_name(kind: u32) -> &'static str {
    match kind {
        10 => " (Q2_K)",
        11 => " (Q3_K)",
        16..=23 | 29 => " (an IQ type)",
        34 | 35 => " (a ternary type)",
        39 => " (MXFP4)",
        _ => "",
    }
}
