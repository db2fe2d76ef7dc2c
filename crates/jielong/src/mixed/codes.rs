//! Codes of many files, made once and kept: by the content of the files and the codec.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jielong_core::Segment;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::{Changes, Media};
use crate::files;
use crate::sources::package::hex;

/// Files whose codes are kept in one: an interruption loses no more.
const TOGETHER: usize = 256;

/// Files that the threads share out among them: between two of these groups the work can be stopped.
const AT_ONCE: usize = 16;

/// Codes in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    grid: Vec<usize>,
    values: Vec<u32>,
}

/// How files are changed before they are coded.
pub(super) struct View<'a> {
    /// What may be changed.
    pub changes: &'a Changes,
    /// What chance begins with, file by file.
    pub seeds: Vec<u64>,
}

impl Media {
    /// Files of a data set as segments, in their order, perhaps changed; what was made before is read from `cache`. `tell` is
    /// told how many are done, and stops it by `false`.
    ///
    /// # Errors
    /// As [`Media::of_file`]; the cache cannot be written; it was stopped.
    pub(super) fn of_files(
        &self,
        kind: usize,
        (paths, view): (&[PathBuf], Option<&View>),
        cache: &Path,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Segment>> {
        let seeds: Vec<Option<u64>> = match view {
            Some(View { seeds, .. }) => seeds.iter().copied().map(Some).collect(),
            None => vec![None; paths.len()],
        };
        let mut of_codec = self.hash(kind)?;
        if let Some(View { changes, .. }) = view {
            of_codec.update(toml::to_string(changes)?);
        }
        let folder = cache.join("codes");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut all = Vec::with_capacity(paths.len());
        for (paths, seeds) in paths.chunks(TOGETHER).zip(seeds.chunks(TOGETHER)) {
            let mut hash = of_codec.clone();
            for (path, seed) in paths.iter().zip(seeds) {
                hash.update(seed.map_or(Vec::new(), |seed| seed.to_le_bytes().to_vec()));
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
                for (paths, seeds) in paths.chunks(AT_ONCE).zip(seeds.chunks(AT_ONCE)) {
                    if !tell(all.len()) {
                        bail!("stopped; what was coded is kept");
                    }
                    let code = |(path, seed): (&PathBuf, &Option<u64>)| {
                        self.of_data(kind, path, view.zip(*seed).map(|(view, seed)| (view.changes, seed)))
                    };
                    all.extend(paths.par_iter().zip(seeds).map(code).collect::<Result<Vec<_>>>()?);
                }
                let kept = |segment: &Segment| Kept { grid: segment.grid.clone(), values: segment.values.clone() };
                files::write(&path, &serde_json::to_vec(&all[done..].iter().map(kept).collect::<Vec<_>>())?)?;
            }
            tell(all.len());
        }
        Ok(all)
    }
}
