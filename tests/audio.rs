//! `jielong audio` from outside, with the codecs that come with the program.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/sound-metrics").join(wav())
}

/// The first recording of the metrics' oracle.
fn wav() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/sound-metrics");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wav"))
        .collect();
    names.sort();
    names.pop().unwrap()
}

fn jielong(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jielong"))
        .args(["audio"])
        .args(arguments)
        .current_dir(folder)
        .env("JIELONG_CACHE", folder)
        .env("XDG_CONFIG_HOME", folder)
        .output()
        .unwrap()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn says(output: &Output, what: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(what), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn a_recording_goes_through_codes_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, recording) = (folder.path(), recording());
    let recording = recording.to_str().unwrap();
    for (codec, books) in [("speech", 1), ("speech-4", 4)] {
        good(&jielong(folder, &["encode", "-c", codec, recording, "-o", "codes.json"]));
        good(&jielong(folder, &["decode", "-c", codec, "codes.json", "-o", "again.wav"]));
        let printed = good(&jielong(folder, &["roundtrip", "-c", codec, recording, "-o", "both", "--json"]));
        let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(report["books"].as_array().unwrap().len(), books);
        assert_eq!(fs::read(folder.join("again.wav")).unwrap(), fs::read(folder.join("both-decoded.wav")).unwrap());
        assert!(fs::read(folder.join("both.png")).unwrap().starts_with(b"\x89PNG"));
        let codes: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("codes.json")).unwrap()).unwrap();
        assert_eq!(codes["codes"].as_array().unwrap().len(), report["frames"].as_u64().unwrap() as usize);
    }
}

#[test]
fn a_folder_of_recordings_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("mine")).unwrap();
    fs::copy(recording(), folder.join("mine/one.wav")).unwrap();
    let printed = good(&jielong(folder, &["eval", "mine", "--split", "all", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["recordings"], 1);
    assert!(report["stoi"]["mean"].as_f64().unwrap() <= 1.0);
    let table = good(&jielong(folder, &["eval", "mine", "--split", "all"]));
    assert!(table.contains("STOI") && table.contains("0.80"), "{table}");
}

#[cfg(unix)]
#[test]
fn a_program_plays_recordings_and_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, recording) = (folder.path(), recording());
    let recording = recording.to_str().unwrap();
    good(&jielong(folder, &["encode", recording, "-o", "codes.json"]));
    // `cp FILE heard.wav`, as a player would read the file.
    let player = folder.join("player");
    fs::write(&player, "#!/bin/sh\ncp \"$1\" heard.wav\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(&player).status().unwrap().success());
    let player = player.to_str().unwrap();
    for file in [recording, "codes.json"] {
        good(&jielong(folder, &["play", file, "--player", player]));
        assert!(fs::read(folder.join("heard.wav")).unwrap().starts_with(b"RIFF"));
        fs::remove_file(folder.join("heard.wav")).unwrap();
    }
    says(&jielong(folder, &["play", recording, "--player", "/nowhere/at-all"]), "/nowhere/at-all");
    says(&jielong(folder, &["play", recording, "--player", "false"]), "could not play");
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    says(&jielong(folder, &["encode", "-c", "nobody", "x.wav"]), "nobody is no folder with a config.toml");
    says(&jielong(folder, &["encode", "missing.wav"]), "missing.wav");
    fs::write(folder.join("text.wav"), "no sound").unwrap();
    says(&jielong(folder, &["encode", "text.wav"]), "text.wav");
    fs::write(folder.join("bad.json"), "{\"books\": [64000]}").unwrap();
    says(&jielong(folder, &["decode", "bad.json", "-o", "out.wav"]), "bad.json");
    let codes = |codes: &str, books: &str| {
        let text = format!("{{\"books\": [{books}], \"rate\": 16000, \"samples\": 640, \"codes\": {codes}}}");
        fs::write(folder.join("codes.json"), text).unwrap();
        jielong(folder, &["decode", "codes.json", "-o", "out.wav"])
    };
    says(&codes("[[1], [64000]]", "64000"), "code 64000 of book 0 at place 1");
    says(&codes("[[1], [2, 3]]", "64000"), "frame 1 has 2 codes");
    says(&codes("[[1], [2], [3]]", "64000"), "2 frames");
    says(&codes("[[1], [2]]", "1024"), "1024");
    assert!(!folder.join("out.wav").exists());
    good(&codes("[[1], [2]]", "64000"));
    assert!(folder.join("out.wav").exists());
}
