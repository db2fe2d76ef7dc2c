//! `jielong train` from outside: a small codec for sound, stopped in every way.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

#[cfg(unix)]
use program::cramped;

/// A folder with recordings, the config of a codec and that of its training.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("mine")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/sound-metrics");
    // Names decide which are held out: a few of these.
    let names = "red green blue black white yellow brown grey pink orange violet cyan olive navy gold lime";
    for name in names.split(' ') {
        let from = if name.len() % 2 == 0 { "low.wav" } else { "high.wav" };
        fs::copy(source.join(from), root.join(format!("mine/{name}.wav"))).unwrap();
    }
    let codec = r#"
        sample_rate = 16000
        hop = 320
        books = 1
        encoder = [{ kind = "mel", window = 640, bands = 16 }, { kind = "convnext", channels = 8, hidden = 8, kernel = 3, blocks = 1 }]
        decoder = [{ kind = "convnext", channels = 8, hidden = 8, kernel = 3, blocks = 1 }, { kind = "spectrum", window = 640 }]
        quantizer = { kind = "fsq", levels = [5, 5] }
    "#;
    fs::write(root.join("codec.toml"), codec).unwrap();
    let training = r#"
        kind = "audio-codec"
        codec = "codec.toml"
        out = "run"
        device = "cpu"
        scales = [[256, 16]]
        data = { source = "mine", samples = 1280, scored = 1 }
        plan = { steps = 12, batch = 2, rate = 1e-3, seed = 1, log_every = 1, evaluate_every = 3, save_every = 2 }
    "#;
    fs::write(root.join("train.toml"), training).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jielong"));
    command.args(["train", "train.toml", "--json"]).args(arguments).current_dir(folder);
    command.env("JIELONG_CACHE", folder).env("XDG_CONFIG_HOME", folder);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// A run, once it has printed this many evaluations.
fn begun(folder: &Path, arguments: &[&str], lines: usize) -> Child {
    let mut child = command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..lines {
        printed.next().unwrap().unwrap();
    }
    // The pipe stays open: what is printed later is read by nobody, and fits.
    std::mem::forget(printed);
    child
}

fn result(folder: &Path, out: &str) -> Vec<u8> {
    fs::read(folder.join(out).join("codec/model.safetensors")).unwrap()
}

fn says(output: &Output, what: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(what), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_run_that_was_killed_or_stopped_goes_on_to_the_same_bits() {
    let folder = folder();
    let folder = folder.path();
    let whole = run(folder, &["--out", "whole"]);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let printed = String::from_utf8(whole.stdout).unwrap();
    let lines: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "{printed}");
    assert_eq!((lines[0]["step"].as_u64(), lines[4]["score"]["recordings"].as_u64()), (Some(3), Some(1)));
    for (out, name, codes) in [("killed", "-KILL", vec![None]), ("stopped", "-INT", vec![Some(130), Some(0)])] {
        let mut child = begun(folder, &["--out", out, "--steps", "12"], 1);
        signal(&child, name);
        let status = child.wait().unwrap();
        // A run that was told to stop may have come to its end before.
        assert!(codes.contains(&status.code()), "{name}: {status}");
        let again = run(folder, &["--out", out]);
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        assert!(result(folder, out) == result(folder, "whole"), "{name}");
        let table = fs::read_to_string(folder.join(out).join("loss.csv")).unwrap();
        let steps: Vec<&str> = table.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(steps, (1..=12).map(|n| n.to_string()).collect::<Vec<_>>(), "{name}");
        assert!(fs::read(folder.join(out).join("loss.png")).unwrap().starts_with(b"\x89PNG"));
    }
}

/// Whichever file does not fit, it is named, and what was saved before is what the run goes on with.
#[cfg(unix)]
#[test]
fn a_run_whose_disk_was_full_goes_on_to_the_same_bits() {
    let folder = folder();
    let folder = folder.path();
    // A run of fewer steps first, or none.
    let some = |out: &str, steps: u64| {
        assert!(steps == 0 || run(folder, &["--out", out, "--steps", &steps.to_string()]).status.success());
    };
    for steps in [0, 4, 6] {
        let out = format!("whole-{steps}");
        some(&out, steps);
        assert!(run(folder, &["--out", &out]).status.success());
    }
    let weights = result(folder, "whole-0").len() as u64;
    // Next there is a loss, a checkpoint, a score.
    for (steps, bytes, file) in [
        (0, 0, "loss.csv"),
        (0, weights / 2, "model.safetensors"),
        (0, 2 * weights, "optimiser.safetensors"),
        (4, weights / 2, "samples/0-original.wav"),
        (6, weights / 2, "model.safetensors"),
        (6, 2 * weights, "optimiser.safetensors"),
    ] {
        let out = format!("{steps}-{bytes}");
        some(&out, steps);
        let cramped = cramped(&command(folder, &["--out", &out]), bytes).output().unwrap();
        says(&cramped, &format!("{file}: "));
        says(&cramped, "File too large");
        let again = run(folder, &["--out", &out]);
        assert!(again.status.success(), "{bytes}: {}", String::from_utf8_lossy(&again.stderr));
        assert!(result(folder, &out) == result(folder, &format!("whole-{steps}")), "{steps} {bytes}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_has_one_run_of_one_config() {
    let folder = folder();
    let folder = folder.path();
    let mut child = begun(folder, &["--steps", "100000"], 1);
    says(&run(folder, &[]), "another process trains in this folder");
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let text = fs::read_to_string(folder.join("train.toml")).unwrap();
    fs::write(folder.join("train.toml"), text.replace("rate = 1e-3", "rate = 2e-3")).unwrap();
    says(&run(folder, &[]), "rate = 0.001");
}

#[test]
fn what_is_wrong_is_named() {
    let folder = folder();
    let folder = folder.path();
    let text = fs::read_to_string(folder.join("train.toml")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(folder.join("train.toml"), text.replace(from, to)).unwrap();
        run(folder, &[])
    };
    says(&with("audio-codec", "smell-codec"), "smell-codec");
    says(&with("batch = 2", "batches = 2"), "batches");
    says(&with("codec.toml", "nowhere.toml"), "nowhere.toml");
    says(&with("\"mine\"", "\"nobody\""), "nobody");
    says(&with("samples = 1280", "samples = 1000"), "`samples` = 1000");
    says(&with("batch = 2", "batch = 0"), "batch");
    says(&with("device = \"cpu\"", "device = \"gpu\""), "gpu");
    fs::write(folder.join("train.toml"), &text).unwrap();
    says(&run(folder, &["--device", "cpu,cpu"]), "a codec is trained on one device");
    says(&run(folder, &["--device", "cpu,gpu"]), "gpu");
    assert!(!folder.join("run/codec").exists());
    fs::remove_file(folder.join("train.toml")).unwrap();
    says(&run(folder, &[]), "train.toml");
}
