//! Malformed safetensors files and folders are refused by file and tensor; any damage is survived.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use jielong_nn::weights::Weights;
use proptest::prelude::*;

/// A file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    let error = Weights::open_safetensors(&path).expect_err("must be refused").to_string();
    assert!(error.contains("model.safetensors"), "no file in: {error}");
    error
}

const GOOD: &str = r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}"#;

#[test]
fn a_legal_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), file(GOOD, 22)).unwrap();
    let weights = Weights::open_safetensors(folder.path()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    let b = weights.get("b").unwrap();
    assert_eq!((b.shape(), b.bytes()), (&[3][..], &[16, 17, 18, 19, 20, 21][..]));
    assert_eq!(b.to_f32().unwrap()[0], f32::from_bits(0x1110_0000));
    assert_eq!(weights.get("a").unwrap().shared_bytes().len(), 16);
}

#[test]
fn malformed_headers_are_refused_by_name() {
    let mut endless = file(GOOD, 22);
    endless[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refusal(&endless).contains("18446744073709551615"));
    assert!(refusal(b"abc").contains("too few"));
    assert!(refusal(&file(GOOD, 21)).contains("`b`"));
    assert!(refusal(&file(GOOD, 30)).contains("8 bytes follow"));
    assert!(refusal(&file(&format!(" {GOOD}"), 22)).contains("`{`"));
    for (from, to, says) in [
        ("[16,22]", "[12,18]", "`b`"),                     // overlap
        ("[16,22]", "[20,26]", "`b`"),                     // hole
        ("[16,22]", "[22,16]", "`b`"),                     // backwards
        ("[2,2]", "[2,3]", "24"),                          // shape and bytes
        ("[2,2]", "[9223372036854775808,4]", "too large"), // product wraps
        ("\"F32\"", "\"F16\"", "`a`"),                     // type swapped
        ("\"F32\"", "\"Q3\"", "Q3"),                       // unknown type
        ("\"b\":", "\"a\":", "twice"),                     // duplicate
        ("\"shape\":[3]", "\"shape\":[-3]", "`b`"),
        ("\"shape\":[3]", "\"form\":[3]", "form"),
    ] {
        let error = refusal(&file(&GOOD.replacen(from, to, 1), 22));
        assert!(error.contains(says), "{to}: {error}");
    }
    assert!(refusal(&file(&"[".repeat(100_000).replacen('[', "{\"a\":[", 1), 0)).contains("header"));
}

#[test]
fn a_name_with_a_path_is_just_a_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), file(&GOOD.replace("\"b\"", "\"../../x\""), 22)).unwrap();
    assert!(Weights::open_safetensors(folder.path()).unwrap().get("../../x").is_some());
}

fn shard(folder: &Path, name: &str, tensor: &str) {
    let header = format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    fs::write(folder.join(name), file(&header, 4)).unwrap();
}

fn index(folder: &Path, map: &[(&str, &str)]) {
    let entries: Vec<String> = map.iter().map(|(t, s)| format!("\"{t}\":\"{s}\"")).collect();
    let json = format!("{{\"metadata\":{{}},\"weight_map\":{{{}}}}}", entries.join(","));
    fs::write(folder.join("model.safetensors.index.json"), json).unwrap();
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused_with_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    shard(path, "one.safetensors", "a");
    shard(path, "two.safetensors", "b");
    index(path, &[("a", "one.safetensors"), ("b", "two.safetensors")]);
    assert_eq!(Weights::open_safetensors(path).unwrap().names().count(), 2);

    index(path, &[("a", "one.safetensors"), ("c", "one.safetensors"), ("d", "two.safetensors")]);
    let error = Weights::open_safetensors(path).unwrap_err().to_string();
    for part in ["index.json", "`c` is missing", "`d` is missing", "`b` in two.safetensors is not in the index"] {
        assert!(error.contains(part), "{error}");
    }
    shard(path, "two.safetensors", "a");
    index(path, &[("a", "one.safetensors"), ("b", "two.safetensors")]);
    let error = Weights::open_safetensors(path).unwrap_err().to_string();
    assert!(error.contains("`a` is in two shards") && error.contains("`b` is missing"), "{error}");
    index(path, &[("a", "three.safetensors")]);
    assert!(Weights::open_safetensors(path).unwrap_err().to_string().contains("three.safetensors"));
}

#[cfg(unix)]
#[test]
fn no_shard_is_read_outside_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    shard(outside.path(), "secret.safetensors", "a");
    let secret = outside.path().join("secret.safetensors");
    let folder = outside.path().join("model");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&secret, folder.join("link.safetensors")).unwrap();
    for name in ["../secret.safetensors", &secret.display().to_string(), "link.safetensors", "..", ""] {
        index(&folder, &[("a", name)]);
        let error = Weights::open_safetensors(&folder).unwrap_err().to_string();
        assert!(error.contains("not a plain file name") || error.contains("leaves the folder"), "{name}: {error}");
    }
    // The same as in a hub's cache: snapshots link to blobs of the same model.
    let hub = outside.path().join("models--o--n");
    let snapshot = hub.join("snapshots/abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir(hub.join("blobs")).unwrap();
    fs::rename(&secret, hub.join("blobs/x")).unwrap();
    std::os::unix::fs::symlink("../../blobs/x", snapshot.join("model.safetensors")).unwrap();
    assert!(Weights::open_safetensors(&snapshot).unwrap().get("a").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_damage_makes_it_panic(at in 0usize..160, bit in 0u8..8, cut in 0usize..160) {
        let mut bytes = file(GOOD, 22);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        fs::write(&path, &bytes).unwrap();
        if let Ok(weights) = Weights::open_safetensors(&path) {
            for view in weights.iter() {
                let _ = view.to_f32();
            }
        }
    }
}
