//! Folders of ours, and files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};

use super::{Progress, SourceError};

/// Our cache folder: `$JIELONG_CACHE`, or `jielong` in the user's cache folder (XDG).
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    variable("JIELONG_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(choose_base_strategy().ok()?.cache_dir().join("jielong")))
}

/// The user's configuration file: `$JIELONG_CONFIG`, or `jielong/config.toml` in the user's configuration folder (XDG).
/// It need not exist.
#[must_use]
pub fn config_file() -> Option<PathBuf> {
    variable("JIELONG_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(choose_base_strategy().ok()?.config_dir().join("jielong").join("config.toml")))
}

/// The folder of histories and the like: `jielong` in the user's state folder (XDG).
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    let strategy = choose_base_strategy().ok()?;
    Some(strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("jielong"))
}

/// The user's home folder.
pub(super) fn home() -> Option<PathBuf> {
    Some(choose_base_strategy().ok()?.home_dir().to_owned())
}

/// An environment variable that is set to something.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), SourceError> {
    fs::create_dir_all(path).map_err(SourceError::io("make the folder", path))
}

/// Waits until no other process has the lock file; free again when the returned file is dropped.
pub(crate) fn lock(path: &Path, progress: &dyn Progress) -> Result<File, SourceError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(SourceError::io("open the lock file", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress.note("another process is fetching the same; waiting for it"),
        Err(TryLockError::Error(error)) => return Err(SourceError::io("lock", path)(error)),
    }
    file.lock().map_err(SourceError::io("lock", path))?;
    Ok(file)
}

/// Gives a finished file its final name: data first, then the name, then the folder's entry.
pub(super) fn settle(file: &File, from: &Path, to: &Path) -> Result<(), SourceError> {
    file.sync_all().map_err(SourceError::io("write", from))?;
    fs::rename(from, to).map_err(SourceError::io("rename to", to))?;
    if cfg!(unix)
        && let Some(folder) = to.parent()
    {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(SourceError::io("write", folder))?;
    }
    Ok(())
}

/// The sizes of a file, or of all files below a folder, following links.
pub(crate) fn size(path: &Path) -> io::Result<u64> {
    let about = fs::metadata(path)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

/// Whether a folder has weights, all of them: `model.safetensors`, every shard of the index, or any other safetensors.
pub(super) fn has_weights(folder: &Path) -> bool {
    if folder.join("model.safetensors").is_file() {
        return true;
    }
    if let Ok(index) = fs::read_to_string(folder.join("model.safetensors.index.json")) {
        return shards(&index).is_some_and(|shards| shards.iter().all(|shard| folder.join(shard).is_file()));
    }
    names(folder).iter().any(|name| name.ends_with(".safetensors"))
}

/// The files that an index of shards names, each once; `None` if it is no index or a name leaves the folder.
pub(super) fn shards(index: &str) -> Option<Vec<String>> {
    let index: serde_json::Value = serde_json::from_str(index).ok()?;
    let files = index.get("weight_map")?.as_object()?.values().map(|file| file.as_str().map(str::to_owned));
    let mut files = files.collect::<Option<Vec<_>>>()?;
    files.sort_unstable();
    files.dedup();
    let plain = |file: &String| plain_file(file) && file.ends_with(".safetensors");
    Some(files).filter(|files| !files.is_empty() && files.iter().all(plain))
}

/// Whether a name is one harmless path component.
pub(crate) fn plain_file(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0', ':'])
}

/// The file names in a folder, sorted; none if it cannot be read.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The `license:` line at the head of the README in a model's folder, or beside a GGUF file.
pub(super) fn readme_license(model: &Path) -> Option<String> {
    let folder = if model.is_dir() { model } else { model.parent()? };
    let mut head = Vec::new();
    File::open(folder.join("README.md")).ok()?.take(16 << 10).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let front = head.strip_prefix("---")?.split("\n---").next()?;
    let value = |key: &str| {
        front.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().trim_matches(['"', '\'']))
    };
    let license = match value("license:")? {
        "other" => value("license_name:").unwrap_or("other"),
        license => license,
    };
    Some(license.to_owned()).filter(|license| !license.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::sources::NoProgress;

    #[test]
    fn an_index_never_leaves_its_folder() {
        let index = |file: &str| format!(r#"{{"weight_map": {{"a": "{file}", "b": "{file}"}}}}"#);
        assert_eq!(shards(&index("model-1.safetensors")).unwrap(), ["model-1.safetensors"]);
        for bad in ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "model.bin", "", "..\\\\x.safetensors"] {
            assert_eq!(shards(&index(bad)), None, "{bad}");
        }
        assert_eq!(shards(r#"{"weight_map": {}}"#), None);
        assert_eq!(shards("not json"), None);
    }

    #[test]
    fn the_licence_is_read_from_the_readme() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(readme_license(folder.path()), None);
        fs::write(folder.path().join("README.md"), "---\nlicense: apache-2.0\n---\nlicense: no\n").unwrap();
        assert_eq!(readme_license(&folder.path().join("model.gguf")).as_deref(), Some("apache-2.0"));
        fs::write(folder.path().join("README.md"), "---\nlicense: other\nlicense_name: llama3\n---\n").unwrap();
        assert_eq!(readme_license(folder.path()).as_deref(), Some("llama3"));
    }

    #[test]
    fn one_holder_of_a_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/.lock");
        let held = lock(&path, &NoProgress).unwrap();
        assert!(matches!(File::open(&path).unwrap().try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        lock(&path, &NoProgress).unwrap();
    }
}
