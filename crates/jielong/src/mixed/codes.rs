//! Codes of many files, made once and kept: by the content of the files and the codec.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jielong_core::Codes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::MediaCodec;

/// Files whose codes are kept in one: an interruption loses no more.
const TOGETHER: usize = 256;

/// Codes in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    size: Vec<usize>,
    grid: Vec<usize>,
    values: Vec<u32>,
}

/// Codes of files, in their order. `codec_hash` is that of the codec; what was made before is read from `cache`. `tell` is told
/// how many are done, and stops it by `false`.
///
/// # Errors
/// A file that cannot be read or coded; the cache cannot be written; it was stopped.
pub fn encode_all(
    codec: &MediaCodec,
    codec_hash: &Sha256,
    files: &[PathBuf],
    cache: &Path,
    tell: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Codes>> {
    let books = codec.books().len();
    let mut all = Vec::with_capacity(files.len());
    for files in files.chunks(TOGETHER) {
        let mut hash = codec_hash.clone();
        for path in files {
            let bytes = fs::read(path).with_context(|| path.display().to_string())?;
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        let key: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = cache.join("codes").join(format!("{key}.json"));
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Vec<Kept>>(&bytes).ok());
        let codes = |kept: Kept| Codes { size: kept.size, grid: kept.grid, books, values: kept.values };
        if let Some(kept) = kept.filter(|kept| kept.len() == files.len()) {
            all.extend(kept.into_iter().map(codes));
        } else {
            let done = all.len();
            for (at, path) in files.iter().enumerate() {
                if !tell(done + at) {
                    bail!("stopped; what was coded is kept");
                }
                all.push(codec.encode_file(path)?);
            }
            let kept: Vec<Kept> = all[done..]
                .iter()
                .map(|codes| Kept { size: codes.size.clone(), grid: codes.grid.clone(), values: codes.values.clone() })
                .collect();
            write(&path, &serde_json::to_vec(&kept)?).with_context(|| path.display().to_string())?;
        }
        tell(all.len());
    }
    Ok(all)
}

/// A file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), bytes)?;
    file.persist(path)?;
    Ok(())
}
