//! Every form of WAV.

use crate::build::{Fmt, chunk, mono16, riff, with, words};
use crate::{decode, samples};

const HALF: [f32; 4] = [0.0, 0.5, -0.5, -1.0];

#[test]
fn whole_numbers_of_all_widths() {
    assert_eq!(samples(&Fmt::new(1, 1, 8000, 8).wav(&[128, 192, 64, 0])), HALF);
    assert_eq!(samples(&mono16().wav(&words(&[0, 0x4000, -0x4000, i16::MIN]))), HALF);
    let long = |skip: usize| -> Vec<u8> {
        let numbers = [0, 1 << 30, -(1 << 30), i32::MIN];
        numbers.iter().flat_map(|number: &i32| number.to_le_bytes()[skip..].to_vec()).collect()
    };
    assert_eq!(samples(&Fmt::new(1, 1, 8000, 24).wav(&long(1))), HALF);
    assert_eq!(samples(&Fmt::new(1, 1, 8000, 32).wav(&long(0))), HALF);
    // Fewer bits than the bytes have are at the upper end.
    assert_eq!(samples(&Fmt::new(1, 1, 8000, 20).wav(&long(1))), HALF);
    assert_eq!(samples(&Fmt::new(1, 1, 8000, 12).wav(&long(2))), HALF);
    let extensible = |bits, valid, skip| {
        riff(&[chunk(b"fmt ", &Fmt::new(1, 1, 8000, bits).extensible(valid)), chunk(b"data", &long(skip))])
    };
    assert_eq!(samples(&extensible(24, 20, 1)), HALF);
    assert_eq!(samples(&extensible(32, 24, 0)), HALF);
    assert_eq!(samples(&Fmt::new(1, 1, 8000, 24).wav(&[1, 0, 0])), [1.0 / 8_388_608.0]);
}

#[test]
fn floats_beyond_full_scale_are_kept() {
    let values = [0.25f32, -3.5, 1e-20];
    let floats: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let doubles: Vec<u8> = values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    assert_eq!(samples(&Fmt::new(3, 1, 8000, 32).wav(&floats)), values);
    assert_eq!(samples(&Fmt::new(3, 1, 8000, 64).wav(&doubles)), values);
    let fmt = Fmt::new(3, 1, 8000, 32).extensible(32);
    assert_eq!(samples(&riff(&[chunk(b"fmt ", &fmt), chunk(b"data", &floats)])), values);
}

/// The values of G.711, tables 1a and 2a, at both ends and around zero, as 16-bit numbers.
#[test]
fn a_law_and_mu_law() {
    let as_words = |tag, codes: &[u8]| -> Vec<f32> {
        samples(&Fmt::new(tag, 1, 8000, 8).wav(codes)).iter().map(|sample| sample * 32_768.0).collect()
    };
    assert_eq!(as_words(6, &[0xd5, 0x55, 0xaa, 0x2a, 0x80, 0xc5]), [8.0, -8.0, 32_256.0, -32_256.0, 5504.0, 264.0]);
    assert_eq!(as_words(7, &[0xff, 0x7f, 0x80, 0x00, 0xfe, 0xef]), [0.0, 0.0, 32_124.0, -32_124.0, 8.0, 132.0]);
}

#[test]
fn channels_are_mixed_to_their_mean() {
    let stereo = Fmt::new(1, 2, 44_100, 16).wav(&words(&[0x4000, 0, -0x4000, -0x2000, 0x4000, -0x4000]));
    let sound = decode(&stereo).unwrap();
    assert_eq!((sound.rate, sound.samples), (44_100, vec![0.25, -0.375, 0.0]));
    let six = Fmt::new(1, 6, 48_000, 8).wav(&[192, 192, 192, 192, 128, 128, 0, 0, 0, 0, 0, 0]);
    assert_eq!(samples(&six), [4.0 / 6.0 * 0.5, -1.0]);
    let many = Fmt::new(1, 65_535, 48_000, 8).wav(&[192; 2 * 65_535]);
    assert_eq!(samples(&many), [0.5, 0.5]);
}

#[test]
fn foreign_chunks_are_passed_over() {
    let (fmt, data) = (chunk(b"fmt ", &mono16().bytes()), chunk(b"data", &words(&[1, 2, 3])));
    let expected = samples(&riff(&[fmt.clone(), data.clone()]));
    assert_eq!(expected.len(), 3);
    let odd = chunk(b"LIST", b"odd");
    assert_eq!(odd.len(), 12);
    assert_eq!(samples(&riff(&[odd.clone(), fmt.clone(), odd.clone(), data.clone(), odd.clone()])), expected);
    // A longer `fmt `, and one that comes late.
    let long = chunk(b"fmt ", &[mono16().bytes(), vec![0; 3]].concat());
    assert_eq!(samples(&riff(&[long, data.clone()])), expected);
    assert_eq!(samples(&riff(&[data, odd, fmt])), expected);
}

#[test]
fn lengths_of_streams_mean_all_that_is_there() {
    let file = mono16().wav(&words(&[1, 2, 3]));
    let expected = samples(&file);
    for length in [u32::MAX, 1 << 31, 7 << 28, 8] {
        assert_eq!(samples(&with(file.clone(), 40, length)), expected, "{length}");
        assert_eq!(samples(&with(with(file.clone(), 40, length), 4, u32::MAX)), expected, "{length}");
    }
    // No length, in a file that was never finished.
    for riff in [0, 36, u32::MAX] {
        assert_eq!(samples(&with(with(file.clone(), 40, 0), 4, riff)), expected, "{riff}");
    }
    // No samples, in one that was.
    let empty = riff(&[chunk(b"fmt ", &mono16().bytes()), chunk(b"data", b""), chunk(b"LIST", b"abcd")]);
    assert!(samples(&empty).is_empty());
    // Half a sample at the end is dropped.
    assert_eq!(samples(&file[..file.len() - 1]), expected[..2]);
}

#[test]
fn rf64_and_bw64() {
    let long = |bytes: u64| [&0u64.to_le_bytes()[..], &bytes.to_le_bytes(), &3u64.to_le_bytes(), &[0; 4]].concat();
    let file = |bytes| {
        let data = chunk(b"data", &words(&[1, 2, 3]));
        let after = chunk(b"LIST", b"abcd");
        let mut file = riff(&[chunk(b"ds64", &long(bytes)), chunk(b"fmt ", &mono16().bytes()), data, after]);
        let at = file.windows(4).position(|name| name == b"data").unwrap() + 4;
        file[at..at + 4].copy_from_slice(&[0xff; 4]);
        with(file, 4, u32::MAX)
    };
    let expected = samples(&mono16().wav(&words(&[1, 2, 3])));
    for name in [b"RF64", b"BW64"] {
        let named = |bytes| [name.as_slice(), &file(bytes)[4..]].concat();
        assert_eq!(samples(&named(6)), expected);
        assert_eq!(samples(&named(4)), expected[..2]);
        assert_eq!(samples(&named(1 << 60)).len(), 3 + 6, "all that is there");
    }
}

#[test]
fn no_samples_are_an_empty_sound() {
    let sound = decode(&mono16().wav(b"")).unwrap();
    assert_eq!((sound.rate, sound.samples.len(), sound.seconds()), (16_000, 0, 0.0));
}
