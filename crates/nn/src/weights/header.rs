//! One safetensors file: 8 bytes of header length, the header as JSON, the data.
//!
//! Source: the format's description, <https://huggingface.co/docs/safetensors>. All of it is checked: the header's length and
//! beginning, unknown types, shapes whose product wraps, offsets that overlap, leave holes or leave the file, names given
//! twice.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jielong_kernels::{Dtype, MappedFile};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::names::ByName;
use super::{Stored, TensorView, Weights, WeightsError};

/// The longest header read. The format allows 100 MB; a model of 100 000 tensors needs 13.
const LONGEST: u64 = 16 << 20;

/// Most dimensions of a tensor.
const DIMENSIONS: usize = 8;

/// Opens one file.
pub(super) fn open(path: &Path) -> Result<Weights, WeightsError> {
    let file = MappedFile::open(path).map_err(|source| WeightsError::Read { path: path.to_path_buf(), source })?;
    let file = Arc::new(file);
    let damaged = |problem: String| WeightsError::damaged(path, problem);
    let bytes: &[u8] = file.as_ref().as_ref();
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(damaged(format!("{} bytes are too few for a header", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST || length > rest.len() as u64 {
        let follow = rest.len();
        return Err(damaged(format!("the header claims {length} bytes, {follow} follow (at most {LONGEST} are read)")));
    }
    let (json, data) = rest.split_at(length as usize);
    if json.first() != Some(&b'{') {
        return Err(damaged("the header does not begin with `{`".into()));
    }
    let ByName(entries) = serde_json::from_slice(json).map_err(|e| damaged(format!("header: {e}")))?;
    let mut entries: Vec<(String, Entry)> = entries.into_iter().collect();
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let start = 8 + json.len();
    let mut weights = Weights::default();
    let (mut problems, mut end) = (Vec::new(), 0);
    for (name, entry) in entries {
        let [from, to] = entry.data_offsets;
        match entry.check(end, data.len() as u64) {
            Err(problem) => problems.push(format!("`{name}`: {problem}")),
            Ok(stored) => {
                let shape = entry.shape.into_iter().map(|n| n as usize).collect();
                let range = start + from as usize..start + to as usize;
                let view = TensorView::new(name, stored, shape, Arc::clone(&file), range);
                // The names of an object are different.
                if let Err(view) = weights.insert(view) {
                    problems.push(format!("`{}` is there twice", view.name()));
                }
            }
        }
        end = end.max(to);
    }
    if problems.is_empty() && end != data.len() as u64 {
        problems.push(format!("{} bytes follow the last tensor", data.len() as u64 - end));
    }
    if problems.is_empty() { Ok(weights) } else { Err(WeightsError::Damaged { path: path.to_path_buf(), problems }) }
}

/// One tensor in the header.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "dimensions")]
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Entry {
    /// The type, if the tensor follows on byte `end` of `held` bytes of data and has the size that type and shape need.
    fn check(&self, end: u64, held: u64) -> Result<Stored, String> {
        let Self { dtype, shape, data_offsets: [from, to] } = self;
        let stored = stored(dtype).ok_or_else(|| format!("unknown dtype {dtype:.32}"))?;
        let needed = size(dtype, shape).ok_or_else(|| format!("shape {shape:?} is too large"))?;
        if *from != end || to < from {
            return Err(format!("data_offsets [{from}, {to}] do not follow on {end}, where the last tensor ends"));
        }
        if *to > held {
            return Err(format!("data_offsets end at {to}, the file holds {held} bytes of data"));
        }
        if needed != to - from {
            return Err(format!("{dtype} {shape:?} needs {needed} bytes, data_offsets give {}", to - from));
        }
        Ok(stored)
    }
}

/// Weights, or another type that the format knows.
pub(super) fn stored(dtype: &str) -> Option<Stored> {
    match dtype {
        "F32" => Some(Stored::Weights(Dtype::F32)),
        "F16" => Some(Stored::Weights(Dtype::F16)),
        "BF16" => Some(Stored::Weights(Dtype::BF16)),
        other => width(other).map(|_| Stored::Other(other.into())),
    }
}

/// Bytes of one value.
fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "F64" | "I64" | "U64" | "C64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Some(1),
        _ => None,
    }
}

/// Bytes of a tensor; none if they, or its values, cannot be counted.
pub(super) fn size(dtype: &str, shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(width(dtype)?, |size, &n| size.checked_mul(n))
}

/// Reads a shape, no longer than [`DIMENSIONS`].
fn dimensions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "a shape of at most {DIMENSIONS} dimensions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(n) = sequence.next_element()? {
                if shape.len() == DIMENSIONS {
                    return Err(A::Error::custom(format!("shape has more than {DIMENSIONS} dimensions")));
                }
                shape.push(n);
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_seq(Dimensions)
}
