//! A folder of safetensors: one file, or shards that an index names.
//!
//! Names in the index are file names, nothing else: no separator, no `..`. A link is followed only where it stays within the
//! folder, or within the `models--*` folder of a Hugging Face cache, whose snapshots link to its blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Weights, WeightsError, damaged, header};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens all weights of a folder.
pub(super) fn open(folder: &Path) -> Result<Weights, WeightsError> {
    let index = folder.join(INDEX);
    if folder.join(SINGLE).exists() {
        return header::open(&inside(folder, SINGLE).map_err(|problem| damaged(&folder.join(SINGLE), problem))?);
    }
    if !index.exists() {
        return Err(damaged(folder, format!("neither {SINGLE} nor {INDEX} is in this folder")));
    }
    let json = std::fs::read(&index).map_err(|source| WeightsError::Read { path: index.clone(), source })?;
    let Index { weight_map } = serde_json::from_slice(&json).map_err(|e| damaged(&index, e.to_string()))?;
    let mut problems = Vec::new();
    let mut all = Weights::default();
    let shards: BTreeSet<&String> = weight_map.values().collect();
    for shard in shards {
        let path = match inside(folder, shard) {
            Ok(path) => path,
            Err(problem) => {
                problems.push(format!("shard `{shard}`: {problem}"));
                continue;
            }
        };
        for view in header::open(&path)?.iter() {
            match weight_map.get(view.name()) {
                Some(named) if named == shard => {}
                Some(named) => problems.push(format!("`{}` is in {shard}, the index says {named}", view.name())),
                None => problems.push(format!("`{}` in {shard} is not in the index", view.name())),
            }
            if let Err(view) = all.insert(view.clone()) {
                problems.push(format!("`{}` is in two shards", view.name()));
            }
        }
    }
    let missing = weight_map.iter().filter(|(name, _)| all.get(name).is_none());
    problems.extend(missing.map(|(name, shard)| format!("`{name}` is missing; the index says it is in {shard}")));
    if problems.is_empty() { Ok(all) } else { Err(WeightsError::Index { path: index, problems }) }
}

/// The path of a file of the folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains(['/', '\\', '\0']) || name == ".." || name == "." {
        return Err("not a plain file name".into());
    }
    let path = folder.join(name);
    let real = |path: &Path| path.canonicalize().map_err(|e| e.to_string());
    let (root, target) = (real(folder)?, real(&path)?);
    // <cache>/models--owner--name/snapshots/<revision>/<file> → ../../blobs/<hash>
    let cache = root.ancestors().nth(2).filter(|_| root.parent().is_some_and(|p| p.ends_with("snapshots")));
    let cache = cache.filter(|c| c.file_name().is_some_and(|n| n.to_string_lossy().starts_with("models--")));
    if target.starts_with(&root) || cache.is_some_and(|c| target.starts_with(c)) {
        Ok(path)
    } else {
        Err(format!("a link that leaves the folder, to {}", target.display()))
    }
}
