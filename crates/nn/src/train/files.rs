//! Files that are there whole or not at all, and the lock of a folder.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{TaskError, TrainError};

/// Makes what was written into a file or folder outlast a power cut.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a file beside its place, then moves it there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_added_extension("partial");
    let mut file = File::create(&partial)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&partial, path)).inspect_err(|_| {
        // Whether it is there or not: it is of no use.
        let _ = std::fs::remove_file(&partial);
    })
}

/// Writes a file of a task, whole or not at all; its folder is made if it is not there.
///
/// # Errors
/// [`TrainError::File`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), TaskError> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder.and_then(|()| replace(path, bytes));
    written.map_err(|source| TrainError::File { path: path.to_path_buf(), source }.into())
}

/// Size and SHA-256 of a file.
pub(super) fn hash(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(hash))),
            count => {
                bytes += count as u64;
                hash.update(&buffer[..count]);
            }
        }
    }
}

/// SHA-256 of bytes.
pub(super) fn hash_of(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The right to train in a folder; the system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join("lock");
        let failed = |source| TrainError::File { path: path.clone(), source };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(TrainError::Locked(folder.to_path_buf())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
