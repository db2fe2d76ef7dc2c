//! `jielong image` from outside, with the codec that comes with the program.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/metrics/a.png")
}

fn jielong(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jielong"))
        .arg("image")
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
fn a_picture_goes_through_codes_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, picture) = (folder.path(), picture());
    let picture = picture.to_str().unwrap();
    good(&jielong(folder, &["encode", picture, "-o", "codes.json"]));
    good(&jielong(folder, &["decode", "codes.json", "-o", "again.png"]));
    let printed = good(&jielong(folder, &["roundtrip", picture, "-o", "both.png", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(report["psnr"].as_f64().unwrap() > 5.0, "{printed}");
    for file in ["again.png", "both.png"] {
        assert!(fs::read(folder.join(file)).unwrap().starts_with(b"\x89PNG"));
    }
    let codes: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("codes.json")).unwrap()).unwrap();
    assert_eq!(codes["codes"].as_array().unwrap().len(), report["codes"].as_u64().unwrap() as usize);
    fs::create_dir(folder.join("mine")).unwrap();
    fs::copy(picture, folder.join("mine/one.png")).unwrap();
    let table = good(&jielong(folder, &["eval", "mine", "--split", "all", "--histogram", "uses.png"]));
    assert!(table.contains("PSNR") && folder.join("uses.png").is_file(), "{table}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let picture = picture();
    let picture = picture.to_str().unwrap();
    says(&jielong(folder, &["encode", "-c", "nobody", picture]), "nobody is no folder with a config.toml");
    says(&jielong(folder, &["encode", "missing.png"]), "missing.png");
    let codes = |text: &str| {
        fs::write(folder.join("codes.json"), text).unwrap();
        jielong(folder, &["decode", "codes.json", "-o", "out.png"])
    };
    says(&codes("{}"), "codes.json");
    says(&codes(r#"{"book": 4375, "size": [16, 16], "grid": [1, 1], "codes": [4375]}"#), "code 4375 of book 0");
    says(&codes(r#"{"book": 4375, "size": [16, 16], "grid": [1, 2], "codes": [1, 2]}"#), "codes.json");
    says(&codes(r#"{"book": 4375, "size": [16, 16], "grid": [1, 1], "codes": [1, 2]}"#), "2 codes");
    says(&codes(r#"{"book": 16384, "size": [16, 16], "grid": [1, 1], "codes": [1]}"#), "16384");
    assert!(!folder.join("out.png").exists());
}
