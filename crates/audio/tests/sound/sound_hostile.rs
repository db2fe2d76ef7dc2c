//! What is no sound, or says what is not so: an error that helps, at once, with little memory.

use std::path::Path;
use std::time::{Duration, Instant};

use jielong_audio::sound::{Problem, Reading, Sound};
use proptest::prelude::*;

use crate::build::{Fmt, chunk, mono16, riff, with, words};
use crate::{AS_IT_IS, decode};

/// The message of a refusal, which must be quick, and says these words.
fn refused(bytes: &[u8], words: &[&str]) {
    let start = Instant::now();
    let error = Sound::decode("some/file.wav", bytes, &Reading::default()).unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(1), "{error} after {:?}", start.elapsed());
    assert!(error.starts_with("some/file.wav: "), "{error}");
    for word in words {
        assert!(error.contains(word), "{error}: expected {word}");
    }
}

#[test]
fn headers_that_claim_much_are_empty_sounds() {
    for claim in [1 << 31, u32::MAX, u32::MAX - 1, 1 << 24] {
        let file = with(mono16().wav(b""), 40, claim);
        assert_eq!(file.len(), 44);
        assert_eq!(decode(&file).unwrap().samples.capacity(), 0);
        assert!(Sound::decode("x", &with(file, 24, 44_101), &Reading::default()).unwrap().samples.is_empty());
    }
}

#[test]
fn rates_that_no_sound_has() {
    for rate in [0, 99, 768_001, u32::MAX] {
        let data = words(&[0; 8]);
        refused(&Fmt::new(1, 1, rate, 16).wav(&data), &[&rate.to_string(), "100 to 768000"]);
    }
    refused(&Fmt::new(1, 1, 767_999, 16).wav(&[0; 64]), &["767999 to 16000", "16000/767999"]);
    let odd = Reading { rate: Some(0), ..AS_IT_IS };
    let error = Sound::decode("x", &mono16().wav(b""), &odd).unwrap_err().to_string();
    assert!(error.contains("resampled to 0"), "{error}");
}

#[test]
fn fields_that_contradict_each_other() {
    refused(&Fmt::new(1, 0, 16_000, 16).wav(b"abcd"), &["0 channels", "at least one"]);
    refused(&Fmt::new(1, 65_535, 16_000, 16).wav(b"abcd"), &["65535 channels", "131070", "65534"]);
    let wrong = Fmt { align: 3, ..Fmt::new(1, 2, 16_000, 16) };
    refused(&wrong.wav(b"abcd"), &["block align is 3", "2 channels of 16 bits take 4"]);
    refused(&Fmt { align: 0, ..mono16() }.wav(b"abcd"), &["block align is 0"]);
    for (tag, bits) in [(1, 0), (1, 33), (1, 64), (3, 16), (3, 13), (6, 16), (7, 4)] {
        refused(&Fmt::new(tag, 1, 16_000, bits).wav(&[0; 16]), &[&format!("{bits} bits")]);
    }
    assert_eq!(decode(&Fmt::new(1, 1, 16_000, 13).wav(&words(&[0x4000]))).unwrap().samples, [0.5]);
    refused(&Fmt::new(0x11, 1, 16_000, 4).wav(&[0; 16]), &["IMA ADPCM", "convert it"]);
    refused(&Fmt::new(0x1234, 1, 16_000, 4).wav(&[0; 16]), &["0x1234"]);
}

#[test]
fn chunks_that_are_missing_or_endless() {
    let (fmt, data) = (chunk(b"fmt ", &mono16().bytes()), chunk(b"data", b"abcd"));
    refused(&riff(&[]), &["without a chunk `fmt `"]);
    refused(&riff(std::slice::from_ref(&data)), &["without a chunk `fmt `"]);
    refused(&riff(std::slice::from_ref(&fmt)), &["without a chunk `data`", "36 bytes"]);
    refused(&riff(&[chunk(b"fmt ", &mono16().bytes()[..14]), data.clone()]), &["14 bytes", "at least 16"]);
    let short = Fmt { tag: 0xfffe, ..mono16() };
    refused(&short.wav(b"abcd"), &["16 bytes", "40"]);
    let mut guid = mono16().extensible(16);
    guid[30] = 1;
    refused(&riff(&[chunk(b"fmt ", &guid), data.clone()]), &["unknown format"]);
    let endless = with(riff(&[chunk(b"LIST", b"abcd"), fmt.clone(), data.clone()]), 16, u32::MAX);
    refused(&endless, &["`LIST`", "4294967295", "without a chunk `fmt `"]);
    let nested: Vec<_> = (0..20_000).map(|_| b"LIST\0\0\0\0".to_vec()).collect();
    refused(&riff(&nested), &["10000 chunks"]);
    let file = riff(&[fmt, data]);
    for end in 0..36 {
        assert!(decode(&file[..end]).is_err(), "{end}");
    }
}

#[test]
fn samples_that_are_no_numbers() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let data: Vec<u8> = [0.0, 1.0, 0.5, value].iter().flat_map(|value| value.to_le_bytes()).collect();
        refused(&Fmt::new(3, 2, 16_000, 32).wav(&data), &["sample 1 ", name, "channel 2"]);
    }
    refused(&Fmt::new(3, 1, 16_000, 64).wav(&1e300f64.to_le_bytes()), &["sample 0 ", "inf"]);
}

#[test]
fn longer_than_allowed() {
    let file = mono16().wav(&[0; 2 * 16_001]);
    let limit = |seconds| Sound::decode("x", &file, &Reading { seconds, ..AS_IT_IS });
    assert!(limit(1.1).is_ok());
    assert!(limit(f64::INFINITY).is_ok());
    let error = limit(1.0).unwrap_err().to_string();
    assert!(error.contains("1.0000625 s") && error.contains("at most 1 s"), "{error}");
    assert!(limit(f64::NAN).is_err());
    assert!(limit(-1.0).is_err());
}

#[test]
fn other_kinds_of_files() {
    refused(b"", &["is empty"]);
    refused(b"R", &["is no WAV, FLAC, MP3 or OGG", "52"]);
    refused(b"\x89PNG\r\n\x1a\n", &["is no WAV, FLAC, MP3 or OGG", "PNG"]);
    refused(b"\xff\xd8\xff\xe0\0\x10JFIF", &["JPEG"]);
    refused(b"RIFF\x10\0\0\0WEBPVP8 ", &["WebP"]);
    refused(b"\0\0\0\x18ftypM4A ", &["M4A"]);
    refused(b"FORM\0\0\0\0AIFF", &["AIFF"]);
    refused(b"\xff\xf1\x50\x80", &["AAC"]);
    refused(b"hello, world", &["68 65 6c 6c 6f"]);
    let tags = b"ID3\x04\0\0\0\0\0\0".repeat(40);
    refused(&tags, &["no frame"]);
    refused(b"ID3\x04\0\0\x7f\x7f\x7f\x7f", &["no frame"]);
    let folder = Sound::open(Path::new(env!("CARGO_MANIFEST_DIR")), &AS_IT_IS).unwrap_err();
    assert!(matches!(folder.problem, Problem::NoFile | Problem::Io(_)), "{folder}");
    let nowhere = Sound::open(Path::new("no/such/file.wav"), &AS_IT_IS).unwrap_err();
    assert!(nowhere.to_string().starts_with("no/such/file.wav: cannot be read"), "{nowhere}");
}

#[test]
fn one_sample_at_an_intricate_rate() {
    let start = Instant::now();
    let file = Fmt::new(1, 1, 199_999, 16).wav(&words(&[1]));
    assert!(Sound::decode("x", &file, &Reading::default()).unwrap().samples.is_empty());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// Headers of each format, so that what follows is looked at.
fn starts() -> impl Strategy<Value = Vec<u8>> {
    let wav = riff(&[chunk(b"fmt ", &mono16().bytes())]);
    let flac = [b"fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0\x03\xe8\x00\xf0\0\0\0\0".as_slice(), &[0; 16]].concat();
    prop::sample::select(vec![
        vec![],
        b"RIFF\0\0\0\0WAVE".to_vec(),
        wav,
        b"fLaC".to_vec(),
        flac,
        b"OggS\0\x02".to_vec(),
        b"\xff\xfb\x90\x44".to_vec(),
        b"\xff\xf3\x68\xc4".to_vec(),
        b"ID3\x04\0\0\0\0\0\x02".to_vec(),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_never_panic(start in starts(), rest in prop::collection::vec(any::<u8>(), 0..2000)) {
        let bytes = [start, rest].concat();
        if let Ok(sound) = Sound::decode("x", &bytes, &Reading::default()) {
            prop_assert!(sound.samples.iter().all(|sample| sample.is_finite()));
        }
    }

    #[test]
    fn any_format_never_panics(
        fields in (0u16..8, 0u16..9, any::<u32>(), 0u16..20, 0u16..70),
        (riff_bytes, data_bytes) in (any::<u32>(), any::<u32>()),
        data in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (tag, channels, rate, align, bits) = fields;
        let file = Fmt { tag, channels, rate: rate % 800_000, align, bits }.wav(&data);
        let file = with(with(file, 4, riff_bytes), 40, data_bytes);
        if let Ok(sound) = decode(&file) {
            prop_assert!(sound.samples.len() <= data.len());
        }
    }
}
