//! Files of `torch.save` are read as the same tensors saved as safetensors; malformed and hostile ones are refused by file and
//! field; any damage is survived.
//!
//! `tests/oracle/torch` is made by `scripts/make_torch_oracle.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use jielong_nn::weights::Weights;
use proptest::prelude::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn oracle(name: &str) -> PathBuf {
    root().join("tests/oracle/torch").join(name)
}

fn assert_same(found: &Weights, expected: &Weights) {
    assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
    for (a, b) in found.iter().zip(expected.iter()) {
        assert_eq!((a.dtype(), a.shape(), a.bytes()), (b.dtype(), b.shape(), b.bytes()), "{}", a.name());
    }
}

#[test]
fn the_same_tensors_as_in_safetensors() {
    let expected = Weights::open_safetensors(&oracle("model.safetensors")).unwrap();
    for name in ["plain.pt", "nested.pt", "protocol5.pt"] {
        assert_same(&Weights::open_torch(&oracle(name)).unwrap(), &expected);
    }
    let module = Weights::open_torch(&oracle("module.pt")).unwrap();
    let names =
        ["0.bias", "0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"];
    assert_eq!(module.names().collect::<Vec<_>>(), names);
    assert!(module.get("1.num_batches_tracked").unwrap().weights().unwrap_err().to_string().contains("I64"));
}

#[test]
fn a_real_checkpoint_is_the_same_as_its_safetensors() {
    let folder = root().join("../shared/oracle/codecs/llamagen_vq16");
    if !folder.join("model.pt").exists() {
        println!("skipped: no {} beside this clone", folder.display());
        return;
    }
    let found = Weights::open_torch(&folder.join("model.pt")).unwrap();
    assert_same(&found, &Weights::open_safetensors(&folder.join("model.safetensors")).unwrap());
    assert_eq!(found.names().count(), 344);
}

#[test]
fn what_would_have_to_be_copied_or_run_is_refused_by_name() {
    let error = Weights::open_torch(&oracle("strided.pt")).unwrap_err().to_string();
    for part in ["strided.pt", "`turned`: shape [4, 6] is stored with strides [1, 4]", "`same`", "contiguous()"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("`good`"), "{error}");
    let error = Weights::open_torch(&oracle("code.pt")).unwrap_err().to_string();
    assert!(error.contains("code.pt") && error.contains("PurePosixPath") && error.contains("state_dict()"), "{error}");
}

fn write(bytes: &[u8]) -> Result<Weights, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    fs::write(&path, bytes).unwrap();
    Weights::open_torch(&path).map_err(|error| {
        let error = error.to_string();
        assert!(error.contains("model.pt"), "no file in: {error}");
        error
    })
}

fn refusal(bytes: &[u8]) -> String {
    write(bytes).expect_err("must be refused")
}

fn refused(bytes: &[u8], says: &str) {
    let error = refusal(bytes);
    assert!(error.contains(says), "{says} is not in: {error}");
}

/// An archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = bytes.len() as u32;
        let mut sizes = vec![0; 4];
        sizes.extend([(data.len() as u32).to_le_bytes(), (data.len() as u32).to_le_bytes()].concat());
        sizes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(b"PK\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        bytes.extend([&sizes[..], &[0; 2], name.as_bytes(), data].concat());
        directory.extend(b"PK\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        directory.extend([&sizes[..], &[0; 12], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let (offset, size) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00");
    bytes.extend([(entries.len() as u16).to_le_bytes(), (entries.len() as u16).to_le_bytes()].concat());
    bytes.extend([size.to_le_bytes(), offset.to_le_bytes()].concat());
    bytes.extend([0; 2]);
    bytes
}

/// `{"a": tensor}` of 2×2 values in the storage `0`.
const GOOD: &[u8] = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n\
    X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtRs.";

fn file(pickle: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", &[7; 16])])
}

/// The first of some bytes in others replaced.
fn swap(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|part| part == from).expect("bytes to replace");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn pickles_that_are_no_dict_of_tensors_are_refused() {
    assert_eq!(write(&file(GOOD)).unwrap().get("a").unwrap().bytes(), [7; 16]);
    for (from, to, says) in [
        (&b"ctorch\nFloat"[..], &b"cposix\nsystem\n"[..], "`posix.system`, which is not read"),
        (b"ccollections\nOrderedDict", b"c__builtin__\neval", "`__builtin__.eval`"),
        (b"ctorch\nFloat", b"ctorch\nQFloat", "`torch.QFloatStorage`"),
        (b"storagectorch", b"sturagectorch", "no storage"),
        (b"\x000X", b"\x001X", "`m/data/1` is not in the file"),
        (b"K\x04tQ", b"K\x05tQ", "claims 20 bytes, `m/data/0` has 16"),
        (b"K\x04tQ", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ftQ", "claims 9223372036854775807 values"),
        (b"K\x04tQ", b"J\xff\xff\xff\xfftQ", "a storage of -1 values"),
        (b"QK\x00", b"QK\x01", "shape [2, 2] from value 1 on leaves its storage of 4 values"),
        (b"QK\x00", b"QJ\xff\xff\xff\xff", "offset -1"),
        (b"K\x02K\x02\x86", b"K\x02K\x03\x86", "leaves its storage"),
        (b"K\x02K\x02\x86", b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40K\x04\x86", "leaves its storage"),
        (b"K\x02K\x02\x86", b"K\x02J\xfe\xff\xff\xff\x86", "a size of -2"),
        (b"K\x02K\x02\x86", b"K\x02\x85", "1 sizes and 2 strides"),
        (b"K\x02K\x02\x86", b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t", "9 dimensions"),
        (b"K\x02K\x01\x86", b"K\x01K\x02\x86", "strides [1, 2]"),
        (b"RtRs.", b"RtRs0.", "instruction 0x30"),
        (b"RtRs.", b"RtR.", "holds a tensor, a dict"),
        (b"RtRs.", b"RtRs.abc", "3 bytes follow"),
        (b"RtRs.", b"RtRs", "1 bytes are needed, 0 follow"),
        (b"RtRs.", b"RtRss.", "a value is needed"),
        (b"X\x01\x00\x00\x00a", b"X\xff\xff\xff\xffa", "4294967295 bytes are needed"),
        (b"X\x01\x00\x00\x00a", b"X\x01\x00\x00\x00\xff", "not UTF-8"),
        (b"X\x01\x00\x00\x00a", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa", "18446744073709551615 bytes"),
        (b"X\x01\x00\x00\x00a", b"K\x01", "called by a number"),
        (b"\x80\x02}", b"\x80\x09}", "protocol 9"),
        (b"\x80\x02}", b"\x80\x02N", "sets a key of None"),
        (b"}X\x01", b"}h\x07X\x01", "nothing is kept under 7"),
        (b"}X\x01", b"}tX\x01", "no mark"),
    ] {
        let error = refusal(&file(&swap(GOOD, from, to)));
        assert!(error.contains(says), "{says} is not in: {error}");
    }
    let twice = swap(GOOD, b"RtRs.", b"RtRq\x00sX\x01\x00\x00\x00ah\x00s.");
    refused(&file(&twice), "`a` is there twice");
    refused(&file(b"\x80\x02}."), "no dict of tensors");
    let inner = &GOOD[2..GOOD.len() - 1];
    let two = [b"\x80\x02}X\x01\x00\x00\x00x", inner, b"sX\x01\x00\x00\x00y", inner, b"s."].concat();
    refused(&file(&two), "tensors under `x`, `y`");
}

#[test]
fn a_pickle_may_not_take_all_memory_or_the_stack() {
    refused(&file(&[b"\x80\x02", &vec![b'N'; 1 << 19][..]].concat()), "values on the stack");
    refused(&file(&[b"\x80\x02", &vec![b'('; 1 << 19][..]].concat()), "marks");
    refused(&file(&[b"\x80\x02", &b"(K\x01te"[..4], &b"\x85".repeat(2_000_000)].concat()), "1048576 values");
    refused(&file(&[b"\x80\x02N", &b"r\x00\x00\x00\x00".repeat(2_000_000)[..]].concat()), "1048576 values");
    refused(&file(&vec![b'N'; (16 << 20) + 1]), "16777217 bytes; at most 16777216");
    // A dict in itself, and tuples of tuples of the same.
    refused(&file(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."), "no dict of tensors");
    let doubled = [&b"\x80\x02}X\x01\x00\x00\x00a)"[..], &b"q\x00h\x00\x86".repeat(100), b"s."].concat();
    refused(&file(&doubled), "no dict of tensors");
    let name = [b"X\x00\x20\x00\x00".to_vec(), vec![b'x'; 8192]].concat();
    refused(&file(&swap(GOOD, b"X\x01\x00\x00\x00a", &name)), "a name of 8192 bytes");
}

#[test]
fn malformed_archives_are_refused() {
    let good = file(GOOD);
    refused(b"", "0 bytes are too few");
    refused(&[0; 100], "not a whole ZIP archive");
    refused(&good[..good.len() - 1], "not a whole ZIP archive");
    refused(&[b"MZ", &good[..]].concat(), "its end is at");
    let end = good.len() - 22;
    let patched = |at: usize, to: &[u8]| [&good[..at], to, &good[at + to.len()..]].concat();
    refused(&patched(end + 8, &[0xff; 4]), "claims 65535 entries");
    refused(&patched(end + 8, &[2, 0, 2, 0]), "bytes follow the 2 entries");
    refused(&patched(end + 4, &[1]), "several files");
    refused(&patched(end + 12, &[0xff; 4]), "claims 4294967295 bytes");
    // The first entry of the directory, and the record before its data.
    let first = good.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    refused(&patched(first, b"PK\x01\x03"), "no entry of a directory");
    refused(&patched(first + 10, &[8]), "`m/data.pkl` is compressed");
    refused(&patched(first + 8, &[1]), "encrypted");
    refused(&patched(first + 20, &[9]), "`m/data.pkl` is compressed");
    refused(&patched(first + 20, &[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]), "claims 2147483647 bytes");
    refused(&patched(first + 20, &[0xff; 8]), "without a field");
    refused(&patched(first + 28, &[0xff; 2]), "bytes are needed");
    refused(&patched(first + 42, &[0xff; 3]), "the directory at");
    refused(&patched(first + 42, &[1]), "no record");
    refused(&patched(8, &[8]), "its record says something else");
    refused(&patched(30, b"n"), "its record says something else");
    // An entry that goes on into the next.
    let longer = ((GOOD.len() + 20) as u32).to_le_bytes();
    refused(&patched(first + 20, &[longer, longer].concat()), "entries `m/data.pkl` and `m/byteorder` overlap");
    for name in ["../m/data.pkl", "/data.pkl", "m/../data.pkl", "m\\data.pkl", "c:/data.pkl", ""] {
        refused(&archive(&[(name, GOOD), ("m/data/0", &[7; 16])]), "leaves its folder");
    }
    refused(&archive(&[("m/data.pkl", GOOD), ("m/data.pkl", GOOD)]), "`m/data.pkl` is there twice");
    refused(&archive(&[("m/data.pkl", GOOD), ("n/data.pkl", GOOD)]), "no file of torch.save");
    refused(&archive(&[("m/x", b"")]), "no file of torch.save");
    refused(&archive(&[("m/data.pkl", GOOD), ("m/byteorder", b"big")]), "`m/byteorder` is not `little`");
    assert!(Weights::open_torch(Path::new("/absent.pt")).unwrap_err().to_string().contains("absent.pt"));
}

#[test]
fn records_of_64_bits_are_read() {
    let good = fs::read(oracle("plain.pt")).unwrap();
    assert!(write(&good).is_ok());
    let name = b"m/data.pkl";
    let mut wide = file(GOOD);
    // The directory's sizes and place of the first entry move to a field; the end record to one of 64 bits.
    let first = wide.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    let mut field = vec![1, 0, 24, 0];
    field.extend([(GOOD.len() as u64).to_le_bytes(), (GOOD.len() as u64).to_le_bytes(), [0; 8]].concat());
    wide[first + 20..first + 28].fill(0xff);
    wide[first + 30] = field.len() as u8;
    wide[first + 42..first + 46].fill(0xff);
    wide.splice(first + 46 + name.len()..first + 46 + name.len(), field);
    let end = wide.len() - 22;
    let mut record = b"PK\x06\x06".to_vec();
    record.extend([0; 20]);
    record.extend([3u64, 3, (end - first) as u64, first as u64].map(u64::to_le_bytes).concat());
    record.extend(b"PK\x06\x07\x00\x00\x00\x00");
    record.extend((end as u64).to_le_bytes());
    record.extend([1, 0, 0, 0]);
    wide.splice(end..end, record);
    let last = wide.len() - 22;
    wide[last + 8..last + 20].fill(0xff);
    assert_eq!(write(&wide).unwrap().get("a").unwrap().bytes(), [7; 16]);
    wide[end + 56 + 8] ^= 1;
    refused(&wide, "no ZIP64 record");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_damage_makes_it_panic(at in 0usize..1 << 13, to in any::<u8>(), cut in 0usize..1 << 13, truncate in any::<bool>()) {
        let mut bytes = fs::read(oracle("plain.pt")).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        if truncate {
            bytes.truncate(bytes.len() - cut % bytes.len());
        }
        if let Ok(weights) = write(&bytes) {
            for view in weights.iter() {
                let _ = (view.bytes().len(), view.to_f32());
            }
        }
    }

    #[test]
    fn no_pickle_makes_it_panic(instructions in prop::collection::vec(0usize..20, 0..60)) {
        let parts: [&[u8]; 20] = [
            b"N", b"(", b")", b"}", b"]", b"t", b"\x85", b"\x86", b"K\x01", b"X\x01\x00\x00\x00a", b"s", b"u", b"a", b"e", b"R",
            b"b", b"Q", b"q\x00", b"h\x00", b"ctorch._utils\n_rebuild_tensor_v2\n",
        ];
        let middle: Vec<u8> = instructions.iter().flat_map(|&i| parts[i]).copied().collect();
        let _ = write(&file(&[b"\x80\x02", &middle[..], b"."].concat()));
    }
}
