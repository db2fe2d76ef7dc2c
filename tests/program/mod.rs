//! The program, run from outside, and what its tests read.

#![allow(clippy::unwrap_used, dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use safetensors::SafeTensors;
use serde_json::Value;

/// A file or folder of `tests/oracle`.
pub fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(name)
}

/// The program with folders of its own, so that neither the user's files nor the network play a part.
pub struct Program {
    pub home: tempfile::TempDir,
}

impl Program {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jielong"));
        command.args(args).arg("--offline").stdin(Stdio::null()).env_clear();
        command.env("JIELONG_CACHE", self.path("cache")).env("HF_HOME", self.path("hub"));
        command.env("JIELONG_CONFIG", self.path("config.toml")).env("XDG_STATE_HOME", self.path("state"));
        command.env("HOME", self.home.path()).env("RAYON_NUM_THREADS", "1");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// The message of a run that must fail with this code and print nothing.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{args:?}");
        message
    }

    pub fn typed(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

/// The same command where no file gets more than so many bytes: more is refused in the middle of a write, as on a full disk.
#[cfg(unix)]
pub fn cramped(command: &Command, bytes: u64) -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";
    shell.args(["-c", script, &bytes.div_ceil(512).to_string()]); // POSIX counts in blocks of 512 bytes
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// Ids and numbers of an oracle file.
pub fn numbers(folder: &Path, name: &str) -> Vec<i64> {
    let bytes = std::fs::read(folder.join("oracle.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(name).unwrap().data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Shape and values of a tensor of f32.
pub fn floats(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

pub fn list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}
