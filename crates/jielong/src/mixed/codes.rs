//! Codes of many files, made once and kept: by the content of the files and the codec.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jielong_core::Segment;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::Media;
use crate::files;
use crate::sources::package::hex;

/// Files whose codes are kept in one: an interruption loses no more.
const TOGETHER: usize = 256;

/// Codes in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    grid: Vec<usize>,
    values: Vec<u32>,
}

impl Media {
    /// Files as segments, in their order; what was made before is read from `cache`. `tell` is told how many are done, and stops it by
    /// `false`.
    ///
    /// # Errors
    /// As [`Media::of_file`]; the cache cannot be written; it was stopped.
    pub fn of_files(
        &self,
        kind: usize,
        paths: &[PathBuf],
        cache: &Path,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Segment>> {
        let of_codec = self.hash(kind)?;
        let folder = cache.join("codes");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut all = Vec::with_capacity(paths.len());
        for paths in paths.chunks(TOGETHER) {
            let mut hash = of_codec.clone();
            for path in paths {
                let bytes = fs::read(path).with_context(|| path.display().to_string())?;
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            }
            let path = folder.join(format!("{}.json", hex(hash)));
            let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Vec<Kept>>(&bytes).ok());
            if let Some(kept) = kept.filter(|kept| kept.len() == paths.len()) {
                all.extend(kept.into_iter().map(|Kept { grid, values }| Segment { kind, grid, values }));
            } else {
                let done = all.len();
                for (at, path) in paths.iter().enumerate() {
                    if !tell(done + at) {
                        bail!("stopped; what was coded is kept");
                    }
                    all.push(self.of_data(kind, path)?);
                }
                let kept = |segment: &Segment| Kept { grid: segment.grid.clone(), values: segment.values.clone() };
                files::write(&path, &serde_json::to_vec(&all[done..].iter().map(kept).collect::<Vec<_>>())?)?;
            }
            tell(all.len());
        }
        Ok(all)
    }
}
