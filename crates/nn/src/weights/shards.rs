//! A folder of safetensors: one file, or shards that an index names.
//!
//! Names in the index are file names, nothing else: no separator, no `..`. A link is followed only where it stays within the
//! folder, or within the `models--*` folder of a Hugging Face cache, whose snapshots link to its blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::names::ByName;
use super::{Weights, WeightsError, header};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The largest index read, and the most shards opened.
const LARGEST: u64 = 16 << 20;
const MOST: usize = 4096;

#[derive(Deserialize)]
struct Index {
    /// Tensor → shard.
    weight_map: ByName<String>,
}

/// Opens all weights of a folder.
pub(super) fn open(path: &Path) -> Result<Weights, WeightsError> {
    let folder = Folder::new(path)?;
    if folder.has(SINGLE) {
        return header::open(&folder.known(SINGLE)?);
    }
    if !folder.has(INDEX) {
        return Err(WeightsError::damaged(path, format!("neither {SINGLE} nor {INDEX} is in this folder")));
    }
    let index = folder.known(INDEX)?;
    let weight_map = read(&index)?;
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        shards.entry(shard).or_default().push(tensor);
    }
    if shards.len() > MOST {
        return Err(WeightsError::damaged(&index, format!("names {} shards; at most {MOST} are read", shards.len())));
    }
    let mut weights = Weights::default();
    let mut problems = Vec::new();
    for (&shard, tensors) in &shards {
        let opened = folder.inside(shard).and_then(|path| header::open(&path).map_err(|e| e.to_string()));
        let found = match opened {
            Ok(found) => found,
            Err(problem) => {
                let lost: Vec<String> = tensors.iter().map(|name| format!("`{name}`")).collect();
                problems.push(format!("shard `{shard}`: {problem}; missing with it: {}", lost.join(", ")));
                continue;
            }
        };
        let missing = tensors.iter().filter(|name| found.get(name).is_none());
        problems.extend(missing.map(|name| format!("`{name}` is missing in {shard}, where the index says it is")));
        for view in found.tensors.into_values() {
            match weight_map.get(view.name()) {
                Some(named) if named == shard => {}
                Some(named) => problems.push(format!("`{}` is in {shard}, the index says {named}", view.name())),
                None => problems.push(format!("`{}` in {shard} is not in the index", view.name())),
            }
            if let Err(view) = weights.insert(view) {
                problems.push(format!("`{}` is in two shards, also in {shard}", view.name()));
            }
        }
    }
    problems.extend(folder.extra(&shards.into_keys().collect())?);
    if problems.is_empty() { Ok(weights) } else { Err(WeightsError::Damaged { path: index, problems }) }
}

/// Reads an index: tensor → shard.
fn read(index: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    let read = |source| WeightsError::Read { path: index.to_path_buf(), source };
    let about = index.metadata().map_err(read)?;
    if !about.is_file() || about.len() > LARGEST {
        let problem = format!("is no file, or one of more than {LARGEST} bytes ({})", about.len());
        return Err(WeightsError::damaged(index, problem));
    }
    let json = std::fs::read(index).map_err(read)?;
    let Index { weight_map: ByName(map) } =
        serde_json::from_slice(&json).map_err(|e| WeightsError::damaged(index, e.to_string()))?;
    Ok(map)
}

/// A model's folder.
struct Folder<'a> {
    path: &'a Path,
    /// Where it really is.
    root: PathBuf,
    /// What its links may point into: itself, or the model's folder in a hub's cache.
    bounds: PathBuf,
}

impl<'a> Folder<'a> {
    fn new(path: &'a Path) -> Result<Self, WeightsError> {
        let root = path.canonicalize().map_err(|source| WeightsError::Read { path: path.to_path_buf(), source })?;
        // <cache>/models--owner--name/snapshots/<revision>/<file> → ../../blobs/<hash>
        let snapshots = root.parent().filter(|parent| parent.ends_with("snapshots"));
        let model = snapshots.and_then(Path::parent);
        let model = model.filter(|m| m.file_name().is_some_and(|n| n.to_string_lossy().starts_with("models--")));
        let bounds = model.unwrap_or(&root).to_path_buf();
        Ok(Self { path, root, bounds })
    }

    /// Whether an entry of this name is there, even if it is a link that leads nowhere.
    fn has(&self, name: &str) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }

    /// The path of a file by a name of ours.
    fn known(&self, name: &str) -> Result<PathBuf, WeightsError> {
        self.inside(name).map_err(|problem| WeightsError::damaged(&self.path.join(name), problem))
    }

    /// The path of a file by a name of anyone's.
    fn inside(&self, name: &str) -> Result<PathBuf, String> {
        if name.is_empty() || name.contains(['/', '\\', '\0']) || name == ".." || name == "." {
            return Err("not a plain file name".into());
        }
        let target = self.root.join(name).canonicalize().map_err(|e| e.to_string())?;
        if target.starts_with(&self.root) || target.starts_with(&self.bounds) {
            Ok(self.path.join(name))
        } else {
            Err(format!("a link that leaves the folder, to {}", target.display()))
        }
    }

    /// Files that are shards of the same set as those the index names, and that it does not name.
    fn extra(&self, named: &BTreeSet<&str>) -> Result<Vec<String>, WeightsError> {
        let read = |source| WeightsError::Read { path: self.path.to_path_buf(), source };
        let sets: BTreeSet<_> = named.iter().filter_map(|name| set(name)).collect();
        let mut problems = Vec::new();
        for entry in std::fs::read_dir(self.path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let Some(name) = name.to_str().filter(|name| !named.contains(name)) else { continue };
            if set(name).is_some_and(|set| sets.contains(&set)) {
                problems.push(format!("shard `{name}` is in the folder, the index does not name it"));
            }
        }
        problems.sort();
        Ok(problems)
    }
}

/// `model-00001-of-00003.safetensors` → (`model`, `00003`).
fn set(name: &str) -> Option<(&str, &str)> {
    let (rest, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(count) && digits(number)).then_some((stem, count))
}
