//! A PyTorch file, as `torch.save` has written them since 1.6: a ZIP archive of a pickle and the storages it names.
//!
//! Source: `torch/serialization.py` and `torch/_utils.py` of PyTorch, which define the layout: `<root>/data.pkl`, one entry
//! `<root>/data/<key>` for each storage, `<root>/byteorder`. Entries are stored as they are, so a tensor is a range of the
//! mapped file and nothing is copied. A tensor that is not contiguous is refused, not copied: a stride of 0 would make a
//! tensor of any size out of one value. Checksums of the archive are not compared.
//!
//! The weights are those of the saved dict, or of the dict inside it that holds tensors: `{"model": …}`,
//! `{"state_dict": …}`. What is not a tensor is passed over.

mod cursor;
mod names;
mod pickle;
mod value;
mod zip;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use jielong_kernels::MappedFile;

use self::value::{Pickle, Tensor, Value};
use super::{TensorView, Weights, WeightsError, header};

/// The longest pickle read; one of 100 000 tensors takes about as much.
const LONGEST: usize = 16 << 20;

/// The longest name of a tensor.
const LONGEST_NAME: usize = 4096;

/// Keys that hold the weights where several dicts hold tensors, the first that is there.
const PREFERRED: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Opens one file.
pub(super) fn open(path: &Path) -> Result<Weights, WeightsError> {
    let file = MappedFile::open(path).map_err(|source| WeightsError::Read { path: path.to_path_buf(), source })?;
    let file = Arc::new(file);
    let archive = Archive::new(&file).map_err(|problem| WeightsError::damaged(path, problem))?;
    let (weights, problems) = archive.weights().map_err(|problem| WeightsError::damaged(path, problem))?;
    if problems.is_empty() { Ok(weights) } else { Err(WeightsError::Damaged { path: path.to_path_buf(), problems }) }
}

/// The archive of a file.
struct Archive<'a> {
    file: &'a Arc<MappedFile>,
    entries: BTreeMap<&'a str, Range<usize>>,
    /// The folder that all entries are in.
    root: &'a str,
}

impl<'a> Archive<'a> {
    fn new(file: &'a Arc<MappedFile>) -> Result<Self, String> {
        let bytes = file.as_ref().as_ref();
        let entries = zip::entries(bytes)?;
        let mut roots = entries.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
        let (Some(root), None) = (roots.next(), roots.next()) else {
            return Err("is no file of torch.save: one entry `<folder>/data.pkl` is expected".into());
        };
        if let Some(order) = entries.get(format!("{root}/byteorder").as_str())
            && bytes[order.clone()] != *b"little"
        {
            return Err(format!("`{root}/byteorder` is not `little`; save the file on a little-endian machine"));
        }
        Ok(Self { file, entries, root })
    }

    /// The weights, and what is wrong with some of them.
    fn weights(&self) -> Result<(Weights, Vec<String>), String> {
        let bytes: &[u8] = self.file.as_ref().as_ref();
        let name = format!("{}/data.pkl", self.root);
        let range = self.entries.get(name.as_str()).cloned().unwrap_or_default();
        if range.len() > LONGEST {
            return Err(format!("`{name}` has {} bytes; at most {LONGEST} are read", range.len()));
        }
        let pickle = pickle::read(&bytes[range]).map_err(|problem| format!("`{name}`: {problem}"))?;
        let state = state_dict(&pickle).map_err(|problem| format!("`{name}`: {problem}"))?;
        let (mut weights, mut problems) = (Weights::default(), Vec::new());
        for (key, value) in &pickle.dicts[state] {
            let Value::Tensor(tensor) = *value else { continue };
            let Value::Text(key) = *key else {
                problems.push(format!("a tensor is called by {}, not by a name", key.kind()));
                continue;
            };
            if key.len() > LONGEST_NAME {
                problems.push(format!("a name of {} bytes; at most {LONGEST_NAME} are expected", key.len()));
                continue;
            }
            match self.view(key, &pickle.tensors[tensor]) {
                Err(problem) => problems.push(format!("`{key}`: {problem}")),
                Ok(view) => {
                    if weights.insert(view).is_err() {
                        problems.push(format!("`{key}` is there twice"));
                    }
                }
            }
        }
        Ok((weights, problems))
    }

    /// A tensor where it lies in the file.
    fn view(&self, name: &str, tensor: &Tensor) -> Result<TensorView, String> {
        let Tensor { dtype, key, held, offset, shape, strides } = tensor;
        let entry = format!("{}/data/{key:.64}", self.root);
        let Some(range) = self.entries.get(entry.as_str()) else {
            return Err(format!("its storage `{entry}` is not in the file"));
        };
        let (Some(stored), Some(bytes)) = (header::stored(dtype), header::size(dtype, &[*held])) else {
            return Err(format!("its storage claims {held} values of {dtype}"));
        };
        if bytes != range.len() as u64 {
            return Err(format!("its storage claims {bytes} bytes, `{entry}` has {}", range.len()));
        }
        let count = shape.iter().try_fold(1u64, |count, &n| count.checked_mul(n));
        let end = count.and_then(|count| count.checked_add(*offset));
        let (Some(count), Some(_)) = (count, end.filter(|end| end <= held)) else {
            return Err(format!("shape {shape:?} from value {offset} on leaves its storage of {held} values"));
        };
        if !contiguous(shape, strides) {
            return Err(format!(
                "shape {shape:?} is stored with strides {strides:?}; save it as `tensor.contiguous()`"
            ));
        }
        let width = bytes.checked_div(*held).unwrap_or_default();
        let start = range.start + (offset * width) as usize;
        let shape = shape.iter().map(|&n| n as usize).collect();
        let range = start..start + (count * width) as usize;
        Ok(TensorView::new(name.into(), stored, shape, Arc::clone(self.file), range))
    }
}

/// Whether values follow each other in the order of their indices.
fn contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(&n, &stride)| {
            let fits = n == 1 || stride == expected;
            expected *= n;
            fits
        })
}

/// The dict that holds the tensors: the saved one, or one in it.
fn state_dict(pickle: &Pickle) -> Result<usize, String> {
    let Value::Dict(top) = pickle.root else {
        return Err(format!("holds {}, a dict of tensors is expected", pickle.root.kind()));
    };
    let holds = |dict: usize| pickle.dicts[dict].iter().any(|(_, value)| matches!(value, Value::Tensor(_)));
    if holds(top) {
        return Ok(top);
    }
    let inner: Vec<(&str, usize)> = pickle.dicts[top]
        .iter()
        .filter_map(|entry| match *entry {
            (Value::Text(key), Value::Dict(dict)) if holds(dict) => Some((key, dict)),
            _ => None,
        })
        .collect();
    let preferred = PREFERRED.iter().find_map(|name| inner.iter().find(|(key, _)| key == name));
    match (preferred, &inner[..]) {
        (Some(&(_, dict)), _) | (None, &[(_, dict)]) => Ok(dict),
        (None, []) => Err("holds no dict of tensors".into()),
        (None, several) => {
            let keys: Vec<String> = several.iter().take(8).map(|(key, _)| format!("`{key:.64}`")).collect();
            Err(format!("holds tensors under {}; one dict, or one called `model`, is expected", keys.join(", ")))
        }
    }
}
