//! Files written whole or not at all.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file: beside its place first, then moved there, so that no half of it is ever seen.
///
/// # Errors
/// The file and what the system said.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = builder().tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Moves a file or folder that is whole to its place. What was there leaves into `scratch`, a folder on the same disk, and goes
/// with it.
///
/// # Errors
/// What the system said.
pub fn place(made: &Path, target: &Path, scratch: &Path) -> std::io::Result<()> {
    if target.is_dir() {
        std::fs::rename(target, scratch.join("old"))?;
    }
    std::fs::rename(made, target)
}

/// Temporary files that may be read by whom new files may be: they become results.
fn builder() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut)] // elsewhere than on Unix
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the umask
    }
    builder
}
