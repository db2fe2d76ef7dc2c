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
fn all_tensors_that_are_wrong_are_named_at_once() {
    let header = r#"{"a":{"dtype":"Q3","shape":[4],"data_offsets":[0,4]},
        "b":{"dtype":"F16","shape":[3],"data_offsets":[4,8]},
        "c":{"dtype":"U8","shape":[2],"data_offsets":[8,10]},
        "d":{"dtype":"U8","shape":[2],"data_offsets":[11,13]},
        "e":{"dtype":"U8","shape":[90],"data_offsets":[13,103]}}"#;
    let error = refusal(&file(header, 20));
    for part in [
        "`a`: unknown dtype Q3",
        "`b`: F16 [3] needs 6 bytes, data_offsets give 4",
        "`d`: data_offsets [11, 13] do not follow on 10",
        "`e`: data_offsets end at 103, the file holds 20",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("`c`"), "{error}");
}

#[test]
fn a_header_may_not_take_all_memory() {
    let ones = "1,".repeat(1 << 20);
    assert!(refusal(&file(&GOOD.replacen("[2,2]", &format!("[{ones}1]"), 1), 22)).contains("more than 8 dimensions"));
    let name = "x".repeat(5000);
    assert!(refusal(&file(&GOOD.replacen("\"b\"", &format!("\"{name}\""), 1), 22)).contains("a name of 5000 bytes"));
    let tensors: Vec<String> =
        (0..=1 << 17).map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    assert!(refusal(&file(&format!("{{{}}}", tensors.join(",")), 0)).contains("more than 131072 tensors"));
    let long = format!("{GOOD}{}", " ".repeat(17 << 20));
    assert!(refusal(&file(&long, 22)).contains("at most 16777216"));
}

#[test]
fn what_holds_no_weights_is_carried_and_not_expanded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.safetensors");
    let header = r#"{"__metadata__":{"format":"pt"},"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"none":{"dtype":"BOOL","shape":[0],"data_offsets":[16,16]}}"#;
    fs::write(&path, file(header, 16)).unwrap();
    let weights = Weights::open_safetensors(&path).unwrap();
    let ids = weights.get("ids").unwrap();
    assert_eq!((ids.dtype(), ids.shape(), ids.bytes().len()), (None, &[2][..], 16));
    let error = ids.to_f32().unwrap_err().to_string();
    assert!(["ids.safetensors", "`ids`", "I64"].iter().all(|part| error.contains(part)), "{error}");
    assert_eq!(weights.get("none").unwrap().bytes(), [0u8; 0]);
}

#[test]
fn a_large_tensor_is_expanded_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let len = (1 << 19) + 77; // more than one task takes, and no multiple of it
    let header = format!(r#"{{"a":{{"dtype":"BF16","shape":[{len}],"data_offsets":[0,{}]}}}}"#, 2 * len);
    fs::write(&path, file(&header, 2 * len)).unwrap();
    let weights = Weights::open_safetensors(&path).unwrap();
    let view = weights.get("a").unwrap();
    let expected: Vec<u32> = view.bytes().chunks(2).map(|b| u32::from(b[1]) << 24 | u32::from(b[0]) << 16).collect();
    let found: Vec<u32> = view.to_f32().unwrap().iter().map(|v| v.to_bits()).collect();
    assert!(found == expected);
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
    // Missing and damaged shards do not hide each other, nor what else is wrong.
    fs::write(path.join("bad.safetensors"), "abc").unwrap();
    index(
        path,
        &[("a", "one.safetensors"), ("e", "bad.safetensors"), ("f", "gone.safetensors"), ("g", "gone.safetensors")],
    );
    let error = Weights::open_safetensors(path).unwrap_err().to_string();
    for part in ["shard `bad.safetensors`", "too few", "with it: `e`", "shard `gone.safetensors`", "with it: `f`, `g`"]
    {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    shard(path, "two.safetensors", "a");
    index(path, &[("a", "one.safetensors"), ("b", "two.safetensors")]);
    let error = Weights::open_safetensors(path).unwrap_err().to_string();
    assert!(error.contains("`a` is in two shards") && error.contains("`b` is missing"), "{error}");
    index(path, &[("a", "three.safetensors")]);
    assert!(Weights::open_safetensors(path).unwrap_err().to_string().contains("three.safetensors"));
}

#[test]
fn shards_of_the_set_that_the_index_does_not_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    shard(path, "model-00001-of-00002.safetensors", "a");
    shard(path, "model-00002-of-00002.safetensors", "b");
    shard(path, "model-00001-of-00009.safetensors", "a");
    shard(path, "oracle.safetensors", "a");
    index(path, &[("a", "model-00001-of-00002.safetensors")]);
    let error = Weights::open_safetensors(path).unwrap_err().to_string();
    assert!(error.contains("shard `model-00002-of-00002.safetensors` is in the folder"), "{error}");
    assert!(!error.contains("00009") && !error.contains("oracle"), "{error}");
    index(path, &[("a", "model-00001-of-00002.safetensors"), ("b", "model-00002-of-00002.safetensors")]);
    assert_eq!(Weights::open_safetensors(path).unwrap().names().count(), 2);
}

#[test]
fn a_malformed_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refusal = |json: &str| {
        fs::write(path.join("model.safetensors.index.json"), json).unwrap();
        let error = Weights::open_safetensors(path).unwrap_err().to_string();
        assert!(error.contains("model.safetensors.index.json"), "{error}");
        error
    };
    assert!(refusal(r#"{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}"#).contains("`a` is there twice"));
    assert!(refusal(r#"{"metadata":{}}"#).contains("weight_map"));
    assert!(refusal(r#"{"weight_map":{"a":1}}"#).contains("`a`"));
    assert!(refusal(&"[".repeat(100_000)).contains("line 1"));
    assert!(refusal(&" ".repeat((16 << 20) + 1)).contains("16777217"));
    let shards: Vec<String> = (0..5000).map(|i| format!("\"{i}\":\"{i}\"")).collect();
    assert!(refusal(&format!("{{\"weight_map\":{{{}}}}}", shards.join(","))).contains("names 5000 shards"));
    fs::remove_file(path.join("model.safetensors.index.json")).unwrap();
    assert!(Weights::open_safetensors(path).unwrap_err().to_string().contains("neither model.safetensors nor"));
    let absent = path.join("absent");
    assert!(Weights::open_safetensors(&absent).unwrap_err().to_string().contains("absent"));
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
    // Neither are files that have a name of ours, wherever their links lead.
    fs::remove_file(folder.join("model.safetensors.index.json")).unwrap();
    for (name, target) in [("model.safetensors.index.json", &secret), ("model.safetensors", &secret)] {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
        let error = Weights::open_safetensors(&folder).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("leaves the folder"), "{error}");
    }
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("model.safetensors")).unwrap();
    assert!(Weights::open_safetensors(&folder).unwrap_err().to_string().contains("model.safetensors"));
    // The same as in a hub's cache: snapshots link to blobs of the same model.
    let hub = outside.path().join("models--o--n");
    let snapshot = hub.join("snapshots/abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir(hub.join("blobs")).unwrap();
    fs::rename(&secret, hub.join("blobs/x")).unwrap();
    std::os::unix::fs::symlink("../../blobs/x", snapshot.join("model.safetensors")).unwrap();
    assert!(Weights::open_safetensors(&snapshot).unwrap().get("a").is_some());
    let other = hub.join("snapshots/def");
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink("../../../outside", other.join("model.safetensors")).unwrap();
    fs::copy(hub.join("blobs/x"), outside.path().join("outside")).unwrap();
    assert!(Weights::open_safetensors(&other).unwrap_err().to_string().contains("leaves the folder"));
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
