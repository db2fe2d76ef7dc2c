//! Programs that fetch for us: pip, npm, apt.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::{Progress, SourceError, cache};

/// How often the size of what grows is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Runs a program to its end, telling how a folder grows. What it says on standard error goes to a file.
///
/// # Errors
/// It cannot be started.
pub(super) fn watch(command: &mut Command, log: File, folder: &Path, grown: &dyn Fn(u64)) -> io::Result<ExitStatus> {
    let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
    let mut seen = 0;
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok(status);
        }
        seen = cache::size(folder).map_or(seen, |now| now.max(seen)); // a file may be moved at the end
        grown(seen);
        thread::sleep(TICK);
    }
}

/// Why a program left no file.
pub(super) enum NoFile {
    /// The folder for it.
    Source(SourceError),
    /// It cannot be started.
    Start(String),
    /// It failed, or left nothing.
    Ended {
        /// How it ended.
        status: String,
        /// The end of what it said.
        message: String,
    },
}

/// Runs a program in a folder, where it leaves a file with this ending; `what` and its length are for who waits.
pub(super) fn file(
    command: &mut Command,
    (folder, ending): (&Path, &str),
    (what, bytes): (&str, u64),
    progress: &dyn Progress,
) -> Result<PathBuf, NoFile> {
    cache::make_folder(folder).map_err(NoFile::Source)?;
    let log = folder.join("program.log");
    let stderr = File::create(&log).map_err(SourceError::io("make", &log)).map_err(NoFile::Source)?;
    progress.start(what, Some(bytes));
    let status = watch(command.current_dir(folder), stderr, folder, &|grown| progress.advance(grown.min(bytes)));
    progress.finish();
    let status = status.map_err(|error| NoFile::Start(error.to_string()))?;
    let found = cache::names(folder).into_iter().find(|name| name.ends_with(ending)).map(|name| folder.join(name));
    let ended = || NoFile::Ended { status: status.to_string(), message: tail(&log) };
    found.filter(|_| status.success()).ok_or_else(ended)
}

/// The last lines of what a program said.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines.iter().skip(lines.len().saturating_sub(4)).copied().collect::<Vec<_>>().join("; ")
}

/// A child that does not outlive us on an early return.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail harmlessly when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
