//! GGUF files written here, whole, damaged and in parts: what is right is read, what is wrong is named.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use jielong_llama::gguf::{Gguf, Value};
use proptest::prelude::*;
use writer::{Meta, Writer};

/// A file with every kind of value and tensors of three types.
fn good() -> Writer {
    let mut writer = Writer::default();
    for (key, value) in [
        ("u8", Meta::U8(200)),
        ("i8", Meta::I8(-3)),
        ("u16", Meta::U16(60_000)),
        ("i16", Meta::I16(-300)),
        ("u32", Meta::U32(7)),
        ("i32", Meta::I32(-7)),
        ("u64", Meta::U64(u64::MAX)),
        ("i64", Meta::I64(i64::MIN)),
        ("f32", Meta::F32(0.5)),
        ("f64", Meta::F64(1e-300)),
        ("bool", Meta::Bool(true)),
        ("string", Meta::String("héllo")),
        ("strings", Meta::Strings(vec!["a", "", "▁b"])),
        ("scores", Meta::F32s(vec![1.0, -2.5])),
        ("types", Meta::I32s(vec![1, -1])),
    ] {
        writer.meta(key, value);
    }
    writer.tensor("f32", &[3, 2], 0, (0..6u8).flat_map(|i| f32::from(i).to_le_bytes()).collect());
    writer.tensor("bf16", &[4], 30, [0x80, 0x3f].repeat(4));
    writer.tensor("q8", &[32, 2], 8, [vec![0, 0x3c], vec![2; 32]].concat().repeat(2)); // 1.0 · 2
    writer
}

fn open(bytes: &[u8]) -> Result<Gguf, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(&path).map_err(|error| {
        let error = error.to_string();
        assert!(error.contains("model.gguf"), "no file in: {error}");
        error
    })
}

fn refusal(bytes: &[u8]) -> String {
    open(bytes).expect_err("must be refused")
}

#[test]
fn every_kind_of_value_is_read_by_a_getter_of_its_type() {
    for version in [2, 3] {
        let gguf = open(&Writer { version, ..good() }.bytes()).unwrap();
        for (key, value) in [("u8", 200), ("u16", 60_000), ("u32", 7), ("u64", u64::MAX)] {
            assert_eq!(gguf.u64(key).unwrap(), Some(value));
        }
        for (key, value) in [("i8", -3), ("i16", -300), ("i32", -7), ("i64", i64::MIN.into())] {
            assert_eq!(gguf.metadata()[key], Value::Int(value));
        }
        assert_eq!((gguf.f64("f32").unwrap(), gguf.f64("f64").unwrap()), (Some(0.5), Some(1e-300)));
        assert_eq!((gguf.bool("bool").unwrap(), gguf.string("string").unwrap()), (Some(true), Some("héllo")));
        let strings = gguf.strings("strings").unwrap().unwrap();
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", "", "▁b"]);
        assert_eq!((strings.len(), strings.get(2), strings.get(3)), (3, Some("▁b"), None));
        assert_eq!(gguf.f32s("scores").unwrap(), Some(vec![1.0, -2.5]));
        assert_eq!(gguf.i32s("types").unwrap(), Some(vec![1, -1]));
        assert_eq!(gguf.string("absent").unwrap(), None);
        assert!(gguf.strings("absent").unwrap().unwrap_or_default().is_empty());
    }
}

#[test]
fn a_getter_of_another_type_names_key_and_both_types() {
    let gguf = open(&good().bytes()).unwrap();
    for (error, parts) in [
        (gguf.string("u32").unwrap_err(), ["`u32`", "an integer", "a string"]),
        (gguf.u64("string").unwrap_err(), ["`string`", "a string", "a whole number"]),
        (gguf.u64("i32").unwrap_err(), ["`i32`", "an integer", "a whole number ≥ 0"]),
        (gguf.f64("bool").unwrap_err(), ["`bool`", "a boolean", "a number"]),
        (gguf.bool("f32").unwrap_err(), ["`f32`", "a float", "a boolean"]),
        (gguf.strings("types").unwrap_err(), ["`types`", "an array of integers", "an array of strings"]),
        (gguf.f32s("strings").unwrap_err(), ["`strings`", "an array of strings", "an array of floats"]),
        (gguf.i32s("scores").unwrap_err(), ["`scores`", "an array of floats", "an array of 32-bit integers"]),
    ] {
        let error = error.to_string();
        assert!(parts.iter().chain(&["model.gguf"]).all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn tensors_are_read_rows_first() {
    let gguf = open(&good().bytes()).unwrap();
    let weights = gguf.weights();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["bf16", "f32", "q8"]);
    let view = weights.get("f32").unwrap();
    assert_eq!((view.shape(), view.to_f32().unwrap()), (&[2, 3][..], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!(weights.get("bf16").unwrap().to_f32().unwrap(), [1.0; 4]);
    let q8 = weights.get("q8").unwrap();
    assert_eq!((q8.shape(), q8.to_f32().unwrap()), (&[2, 32][..], vec![2.0; 64]));
    let aligned = Writer { alignment: Some(Meta::U32(64)), ..good() };
    assert_eq!(open(&aligned.bytes()).unwrap().weights().get("q8").unwrap().to_f32().unwrap(), [2.0; 64]);
}

#[test]
fn counts_and_lengths_are_checked_before_memory_is_taken() {
    let huge = 1u64 << 63;
    let with = |at: usize, value: u64| {
        let mut bytes = good().bytes();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        refusal(&bytes)
    };
    assert!(with(8, huge).contains("9223372036854775808 tensors"));
    assert!(with(16, huge).contains("9223372036854775808 key-value pairs"));
    assert!(with(24, huge).contains("key 0 has 9223372036854775808 bytes"));
    let claim = |kind, of| refusal(&Writer::default().with("k", Meta::Claim { kind, count: huge, of }).bytes());
    let error = claim(8, None);
    assert!(error.contains("`k` claims a string of 9223372036854775808 bytes"), "{error}");
    for kind in [0, 3, 6, 7, 8, 10, 12] {
        let error = claim(9, Some(kind));
        assert!(error.contains("`k` claims 9223372036854775808 entries"), "{error}");
    }
    // A file that is long enough still may not make metadata eight times its size.
    let bytes = Writer::default().with("list", Meta::U8s(vec![1; 16 << 20])).bytes();
    assert!(refusal(&bytes).contains("metadata up to `list` takes more than 41943040 bytes"));
}

#[test]
fn what_is_not_gguf_is_said() {
    assert!(refusal(b"").contains("does not begin"));
    assert!(refusal(b"GGML....").contains("does not begin"));
    assert!(refusal(b"GGUF").contains("ends within `version`"));
    assert!(refusal(&Writer { version: 0, ..good() }.bytes()).contains("version 0"));
    assert!(refusal(&Writer { version: 1, ..good() }.bytes()).contains("version 1"));
    assert!(refusal(&Writer { version: 4, ..good() }.bytes()).contains("version 4"));
    assert!(refusal(&Writer { version: 3u32.swap_bytes(), ..good() }.bytes()).contains("big endian"));
    let kind = |kind, of| refusal(&Writer::default().with("k", Meta::Claim { kind, count: 0, of }).bytes());
    assert!(kind(13, None).contains("`k` has the unknown value type 13"));
    assert!(kind(9, Some(13)).contains("`k` is an array of the unknown type 13"));
    assert!(kind(9, Some(9)).contains("`k` is an array of arrays"));
    assert!(refusal(&good().with("u8", Meta::U8(1)).bytes()).contains("`u8` is there twice"));
    for (alignment, found) in [
        (Meta::U32(0), "is 0"),
        (Meta::U32(3), "is 3"),
        (Meta::I32(-32), "is -32"),
        (Meta::U32(1 << 31), "is 2147483648"),
        (Meta::String("32"), "is a string"),
    ] {
        let error = refusal(&Writer { alignment: Some(alignment), ..good() }.bytes());
        assert!(error.contains("`general.alignment`") && error.contains(found), "{error}");
    }
}

#[test]
fn all_tensors_that_are_wrong_are_named_at_once() {
    let mut writer = good();
    writer.tensor("two bits", &[256], 10, vec![0; 84]);
    writer.tensor("future", &[1], 99, vec![0; 4]);
    writer.tensor("odd", &[33], 2, vec![0; 36]);
    writer.tensor("wraps", &[1 << 62, 4, 4], 0, vec![0; 4]);
    writer.tensor("long", &[1 << 20], 0, vec![0; 4]);
    writer.tensor("f32", &[1], 0, vec![0; 4]);
    let error = refusal(&writer.bytes());
    for part in [
        "`two bits` has type 10 (Q2_K), which is not supported; F32, F16",
        "`future` has type 99, which is not supported",
        "`odd` has a shape whose rows of 33 values are not whole blocks of Q4_0, 32 each",
        "`wraps` has shape [4, 4, 4611686018427387904], which is too large",
        "`long` has 4194304 bytes at offset",
        "`f32` is there twice",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    for (offset, part) in
        [(0, "lies before"), (7, "not a multiple"), (1 << 40, "past the end"), (u64::MAX - 31, "past")]
    {
        let mut writer = good();
        writer.tensor("x", &[1], 0, vec![0; 4]);
        writer.tensors.last_mut().unwrap().offset = Some(offset);
        let error = refusal(&writer.bytes());
        assert!(error.contains("`x`") && error.contains(part), "{error}");
    }
    let mut writer = Writer::default();
    writer.tensor("flat", &[], 0, vec![0; 4]);
    assert!(refusal(&writer.bytes()).contains("`flat` has 0 dimensions"));
}

/// Writes the parts of a model of one tensor each.
fn parts(folder: &Path, count: u16) {
    for number in 0..count {
        let mut writer = Writer::default();
        writer.meta("split.no", Meta::U16(number));
        writer.meta("split.count", Meta::U16(count));
        writer.meta("split.tensors.count", Meta::I32(count.into()));
        writer.tensor(&format!("t{number}"), &[1], 0, f32::from(number).to_le_bytes().to_vec());
        fs::write(part(folder, number, count), writer.bytes()).unwrap();
    }
}

fn part(folder: &Path, number: u16, count: u16) -> PathBuf {
    folder.join(format!("m-{:05}-of-{count:05}.gguf", number + 1))
}

#[test]
fn a_split_model_is_opened_by_its_first_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number| part(folder.path(), number, 3);
    let error = |path: &Path| Gguf::open(path).unwrap_err().to_string();
    parts(folder.path(), 3);
    let gguf = Gguf::open(&path(0)).unwrap();
    assert_eq!(gguf.weights().names().collect::<Vec<_>>(), ["t0", "t1", "t2"]);
    assert_eq!(gguf.weights().get("t2").unwrap().to_f32().unwrap(), [2.0]);

    assert!(error(&path(1)).contains("is part 2 of 3; open the first") && error(&path(1)).contains("m-00001-of-00003"));
    let renamed = folder.path().join("renamed.gguf");
    fs::copy(path(0), &renamed).unwrap();
    assert!(error(&renamed).contains("does not end in -00001-of-00003.gguf"));

    fs::copy(path(1), path(2)).unwrap();
    assert!(error(&path(0)).contains("`split.no` 1 of `split.count` 3, expected 2 of 3"));
    fs::remove_file(path(1)).unwrap();
    fs::remove_file(path(2)).unwrap();
    let missing = error(&path(0));
    assert!(missing.contains("m-00002-of-00003.gguf") && missing.contains("m-00003-of-00003.gguf"), "{missing}");
}

#[test]
fn parts_that_do_not_make_the_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    parts(folder.path(), 2);
    let path = |number| part(folder.path(), number, 2);
    let error = || Gguf::open(&path(0)).unwrap_err().to_string();
    let second = |tensor: &str, total: i32| {
        let writer = Writer::default().with("split.no", Meta::U16(1)).with("split.count", Meta::U16(2));
        let mut writer = writer.with("split.tensors.count", Meta::I32(total));
        writer.tensor(tensor, &[1], 0, vec![0; 4]);
        writer.tensor("more", &[1], 0, vec![0; 4]);
        fs::write(path(1), writer.bytes()).unwrap();
    };
    second("t1", 3);
    assert!(error().contains("`split.tensors.count` is 2, the 2 files hold 3 tensors"));
    second("t0", 2);
    assert!(error().contains("`t0` is there twice"));

    let alone = folder.path().join("alone.gguf");
    let count = |count| fs::write(&alone, Writer::default().with("split.count", count).bytes()).unwrap();
    count(Meta::U16(1));
    assert!(Gguf::open(&alone).is_ok());
    count(Meta::U64(1 << 63));
    assert!(Gguf::open(&alone).unwrap_err().to_string().contains("`split.count` is 9223372036854775808"));
    count(Meta::String("2"));
    assert!(Gguf::open(&alone).unwrap_err().to_string().contains("`split.count` is a string"));
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let bytes = good().bytes();
    for end in (0..bytes.len()).step_by(5).chain([bytes.len() - 1]) {
        refusal(&bytes[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_damage_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        more in any::<prop::sample::Index>(),
    ) {
        let mut bytes = good().bytes();
        let len = bytes.len();
        bytes[at.index(len)] = byte;
        bytes[more.index(len)] ^= 1 << (byte % 8);
        if let Ok(gguf) = open(&bytes) {
            for key in gguf.metadata().keys() {
                let _ = (gguf.strings(key), gguf.i32s(key), gguf.u64(key));
            }
            for view in gguf.weights().iter() {
                prop_assert_eq!(view.to_f32().unwrap().len(), view.shape().iter().product::<usize>());
            }
        }
    }
}
