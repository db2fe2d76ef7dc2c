//! `jielong data` from outside.

use std::process::{Command, Output};

use jielong_audio::sound::Sound;
use jielong_image::picture::Picture;
use serde_json::Value;

fn run(folder: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jielong"));
    command.arg("data").args(args).arg("--offline").env_clear().env("HOME", folder).env("JIELONG_CACHE", folder);
    command.env("JIELONG_CONFIG", folder.join("none.toml")).output().unwrap()
}

fn json(folder: &std::path::Path, args: &[&str]) -> Value {
    let output = run(folder, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn data_sets_are_listed_shown_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listed = json(folder.path(), &["list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["download_bytes"]), (&"digits".into(), &0.into()));
    assert_eq!((&listed[1]["name"], &listed[1]["path"]), (&"emoji".into(), &Value::Null));
    assert_eq!(listed[1]["licenses"], serde_json::json!(["Apache-2.0", "CC-BY-4.0", "MIT"]));
    assert_eq!(listed[2]["licenses"], serde_json::json!(["CC-BY-3.0", "CC-BY-SA-3.0"]));
    assert_eq!((&listed[3]["name"], &listed[3]["download_bytes"]), (&"speech".into(), &0.into()));
    let shown = json(folder.path(), &["show", "prompts"]);
    assert_eq!(shown["voices"][3]["license"], "CC-BY-3.0");
    assert!(shown["voices"][4]["attribution"].as_str().unwrap().contains("Maxim Topal"));
    let shown = json(folder.path(), &["show", "emoji"]);
    assert_eq!(shown["styles"][1]["license"], "CC-BY-4.0");
    assert_eq!(shown["counts"], Value::Null);
    let table = String::from_utf8(run(folder.path(), &["show", "emoji"]).stdout).unwrap();
    assert!(table.contains("jielong data fetch emoji") && table.contains("@iconify-json/noto@1.2.9"), "{table}");
    for (args, expected) in [
        (["fetch", "emoji"], "offline is set"),
        (["fetch", "prompts"], "asterisk-core-sounds-it-g722=1.6.1-1"),
        (["fetch", "emojis"], "no data set is called `emojis`"),
        (["show", "/no/such/folder"], "no data set is called"),
    ] {
        let output = run(folder.path(), &args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains(expected), "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_folder_is_shown_too() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own/ink");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("cat.png"), Picture::filled(2, 2, [0; 3]).unwrap().to_png().unwrap()).unwrap();
    let shown = json(folder.path(), &["show", folder.path().join("own").to_str().unwrap()]);
    let count = |half: &str| shown["counts"][half]["pictures"].as_u64().unwrap();
    assert_eq!(count("train") + count("held-out"), 1);
    let own = folder.path().join("sounds");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("cat.wav"), Sound { rate: 8000, samples: vec![0.5] }.to_wav().unwrap()).unwrap();
    let shown = json(folder.path(), &["show", own.to_str().unwrap()]);
    let count = |half: &str| shown["counts"][half]["recordings"].as_u64().unwrap();
    assert_eq!(count("train") + count("held-out"), 1);
    let nothing = folder.path().join("nothing");
    std::fs::create_dir_all(&nothing).unwrap();
    let message = run(folder.path(), &["show", nothing.to_str().unwrap()]).stderr;
    assert!(String::from_utf8_lossy(&message).contains("there are no pictures"));
}
