//! Tensor infos → checked places in the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jielong_kernels::{Dtype, MappedFile};
use jielong_nn::weights::{Stored, TensorView, Weights, WeightsError};

use super::Value;
use super::reader::Reader;

const DEFAULT_ALIGNMENT: i128 = 32;

/// Most tensors, and the longest name of one: ggml itself allows 64 bytes, some builds of it 128.
const MOST: u64 = 1 << 16;
const LONGEST_NAME: u64 = 256;

/// Reads `count` infos and finds each tensor's bytes.
pub(super) fn read(
    reader: &mut Reader,
    count: u64,
    metadata: &BTreeMap<String, Value>,
    file: &Arc<MappedFile>,
) -> Result<Weights, WeightsError> {
    let alignment = alignment(reader, metadata)?;
    if count > MOST {
        return Err(reader.damaged(format!("claims {count} tensors; at most {MOST} are read")));
    }
    let mut infos = (0..count).map(|index| Info::read(reader, index)).collect::<Result<Vec<_>, _>>()?;
    infos.sort_by_key(|info| info.offset);
    let space =
        Space { start: reader.at().next_multiple_of(alignment), len: reader.len(), alignment: alignment as u64 };
    let mut weights = Weights::default();
    let (mut problems, mut end) = (Vec::new(), 0);
    for info in infos {
        match info.check(end, &space) {
            Err(problem) => problems.push(format!("`{}` {problem}", info.name)),
            Ok((dtype, range)) => {
                end = info.offset + range.len() as u64;
                let view = TensorView::new(info.name, Stored::Weights(dtype), info.shape, Arc::clone(file), range);
                if let Err(view) = weights.insert(view) {
                    problems.push(format!("`{}` is there twice", view.name()));
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(weights)
    } else {
        Err(WeightsError::Damaged { path: reader.path().to_path_buf(), problems })
    }
}

fn alignment(reader: &Reader, metadata: &BTreeMap<String, Value>) -> Result<usize, WeightsError> {
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Int(n)) => *n,
        Some(other) => {
            return Err(reader.damaged(format!("`general.alignment` is {}, expected an integer", other.kind())));
        }
    };
    match usize::try_from(alignment) {
        Ok(n) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => Ok(n),
        _ => Err(reader.damaged(format!("`general.alignment` is {alignment}, expected a power of two from 8 to 2²⁰"))),
    }
}

/// Where the data of all tensors lies.
struct Space {
    start: usize,
    /// Bytes of the file.
    len: usize,
    alignment: u64,
}

/// One tensor's info.
struct Info {
    name: String,
    /// Rows first: the reverse of the file's order.
    shape: Vec<usize>,
    /// GGML's number of the type.
    kind: u32,
    /// From the start of all data.
    offset: u64,
}

impl Info {
    fn read(reader: &mut Reader, index: u64) -> Result<Self, WeightsError> {
        let name = reader.name(LONGEST_NAME, &format!("name of tensor {index}"))?;
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
        Ok(Self { shape, kind: reader.u32(&name)?, offset: reader.u64(&name)?, name })
    }

    /// Type and place in the file, if it lies after `end`, where the tensor before it ends.
    fn check(&self, end: u64, space: &Space) -> Result<(Dtype, Range<usize>), String> {
        let Self { shape, kind, offset, .. } = self;
        let dtype = Dtype::ALL.into_iter().find(|&d| self::kind(d) == *kind).ok_or_else(|| {
            let known: Vec<&str> = Dtype::ALL.iter().map(|d| d.name()).collect();
            format!("has type {kind}{}, which is not supported; {} are", known_name(*kind), known.join(", "))
        })?;
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(dtype.block_len()) {
            return Err(format!(
                "has a shape whose rows of {columns} values are not whole blocks of {dtype}, {} each",
                dtype.block_len()
            ));
        }
        let values = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        let size =
            values.and_then(|n| dtype.bytes(n)).ok_or_else(|| format!("has shape {shape:?}, which is too large"))?;
        if !offset.is_multiple_of(space.alignment) {
            return Err(format!("has offset {offset}, which is not a multiple of the alignment, {}", space.alignment));
        }
        if *offset < end {
            return Err(format!("has offset {offset}, which lies before {end}, where the last tensor ends"));
        }
        usize::try_from(*offset)
            .ok()
            .and_then(|offset| space.start.checked_add(offset))
            .and_then(|from| Some(from..from.checked_add(size)?))
            .filter(|range| range.end <= space.len)
            .map(|range| (dtype, range))
            .ok_or_else(|| {
                let Space { start, len, .. } = space;
                format!("has {size} bytes at offset {offset} of the data, from {start}: past the end of the file of {len} bytes")
            })
    }
}

/// The number that GGML gives a type.
pub(super) fn kind(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Q4_0 => 2,
        Dtype::Q4_1 => 3,
        Dtype::Q5_0 => 6,
        Dtype::Q5_1 => 7,
        Dtype::Q8_0 => 8,
        Dtype::Q4_K => 12,
        Dtype::Q5_K => 13,
        Dtype::Q6_K => 14,
        Dtype::BF16 => 30,
    }
}

/// GGML's names of types that are not supported, for the message.
fn known_name(kind: u32) -> &'static str {
    match kind {
        9 => " (Q8_1)",
        10 => " (Q2_K)",
        11 => " (Q3_K)",
        15 => " (Q8_K)",
        16..=23 | 29 => " (an IQ type)",
        24..=27 => " (integers)",
        28 => " (F64)",
        34 | 35 => " (a ternary type)",
        39 => " (MXFP4)",
        40 => " (NVFP4)",
        _ => "",
    }
}
