//! One safetensors file: 8 bytes of header length, the header as JSON, the data.
//!
//! Source: the format's description, <https://huggingface.co/docs/safetensors>. All of it is checked: the header's length and
//! beginning, unknown types, shapes whose product wraps, offsets that overlap, leave holes or leave the file, names given
//! twice.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jielong_kernels::{Dtype, MappedFile};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Stored, TensorView, Weights, WeightsError, damaged};

/// The longest header that the format allows.
const LONGEST: u64 = 100_000_000;

/// Opens one file.
pub(super) fn open(path: &Path) -> Result<Weights, WeightsError> {
    let file = MappedFile::open(path).map_err(|source| WeightsError::Read { path: path.to_path_buf(), source })?;
    let file = Arc::new(file);
    let bytes: &[u8] = file.as_ref().as_ref();
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(damaged(path, format!("{} bytes are too few for a header", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST || length > rest.len() as u64 {
        let problem = format!("the header claims {length} bytes, {} follow (and {LONGEST} are allowed)", rest.len());
        return Err(damaged(path, problem));
    }
    let (json, data) = rest.split_at(length as usize);
    if json.first() != Some(&b'{') {
        return Err(damaged(path, "the header does not begin with `{`"));
    }
    let Header(mut entries) =
        serde_json::from_slice(json).map_err(|e| damaged(path, format!("header: {e}")))?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let start = 8 + json.len();
    let mut weights = Weights::default();
    let mut end = 0;
    for (name, Entry { dtype, shape, data_offsets: [from, to] }) in entries {
        let wrong = |problem: String| damaged(path, format!("`{name}`: {problem}"));
        if from != end || to < from {
            return Err(wrong(format!("data_offsets [{from}, {to}] do not follow on {end}, where the last tensor ends")));
        }
        if to > data.len() as u64 {
            return Err(wrong(format!("data_offsets end at {to}, the file holds {} bytes of data", data.len())));
        }
        let stored = stored(&dtype).ok_or_else(|| wrong(format!("unknown dtype {dtype}")))?;
        let expected = size(&dtype, &shape).ok_or_else(|| wrong(format!("shape {shape:?} is too large")))?;
        if expected != to - from {
            return Err(wrong(format!("{dtype} {shape:?} needs {expected} bytes, data_offsets give {}", to - from)));
        }
        end = to;
        let shape = shape.into_iter().map(|n| n as usize).collect();
        let range = start + from as usize..start + to as usize;
        let view = TensorView::new(name, stored, shape, Arc::clone(&file), range);
        weights.insert(view).map_err(|view| damaged(path, format!("`{}` is there twice", view.name())))?;
    }
    if end != data.len() as u64 {
        return Err(damaged(path, format!("{} bytes follow the last tensor", data.len() as u64 - end)));
    }
    Ok(weights)
}

/// Weights, or another type that the format knows.
fn stored(dtype: &str) -> Option<Stored> {
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

/// Bytes of a tensor; none if they cannot be counted.
fn size(dtype: &str, shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(width(dtype)?, |size, &n| size.checked_mul(n))
}

/// One tensor in the header.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header, its names in the order of the file. A plain map would keep the last of two equal names silently.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries: Vec<(String, Entry)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        let entry = map.next_value().map_err(|e| A::Error::custom(format!("`{name}`: {e}")))?;
                        entries.push((name, entry));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Names)
    }
}
