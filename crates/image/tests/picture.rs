//! Pictures from files: the right pixels of legal files, and an error for the others.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use files::{exif, header, png, rows, stored};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use jielong_image::picture::{Filter, Limits, Picture, Problem, Reading};
use proptest::prelude::*;

fn decode(bytes: &[u8]) -> Result<Picture, Problem> {
    Picture::decode("x", bytes, &Reading::default()).map_err(|error| error.problem)
}

/// The message of a refusal, which must be quick.
fn refused(bytes: &[u8]) -> String {
    let start = Instant::now();
    let error = Picture::decode("some/file.png", bytes, &Reading::default()).unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(1), "{error} after {:?}", start.elapsed());
    assert!(error.starts_with("some/file.png: "), "{error}");
    error
}

fn oracle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/pictures")
}

/// A picture whose pixels all differ.
fn sample(width: usize, height: usize) -> Picture {
    let pixel = |i: usize| [(i % width * 9) as u8, (i / width * 17) as u8, (i * 5) as u8];
    Picture::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

fn jpeg(picture: &Picture, exif: Option<Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 100);
    exif.into_iter().for_each(|exif| encoder.set_exif_metadata(exif).unwrap());
    encoder.encode(&picture.rgb, picture.width as u32, picture.height as u32, ExtendedColorType::Rgb8).unwrap();
    file
}

fn webp(picture: &Picture, exif: Option<Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    exif.into_iter().for_each(|exif| encoder.set_exif_metadata(exif).unwrap());
    let (width, height) = (picture.width as u32, picture.height as u32);
    encoder.write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8).unwrap();
    file
}

/// Pixels of a PNG that is made of its parts.
fn pixels(width: u32, height: u32, depth: u8, colour: u8, extra: &[(&[u8; 4], &[u8])], samples: &[u8]) -> Vec<u8> {
    let data = stored(&rows(samples, samples.len() / height as usize));
    let head = header(width, height, depth, colour);
    let mut chunks: Vec<(&[u8; 4], &[u8])> = vec![(b"IHDR", &head)];
    chunks.extend(extra);
    chunks.extend([(b"IDAT", data.as_slice()), (b"IEND", &[])]);
    decode(&png(&chunks)).unwrap().rgb
}

fn farthest(a: &Picture, b: &Picture) -> u8 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.rgb.iter().zip(&b.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_kind_of_png_pixel() {
    // Grey of 1 and 4 bits, 8 with alpha, 16 alone and with alpha.
    assert_eq!(pixels(3, 1, 1, 0, &[], &[0b1010_0000]), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
    assert_eq!(pixels(2, 1, 4, 0, &[], &[0x1f]), [17, 17, 17, 255, 255, 255]);
    assert_eq!(pixels(1, 1, 8, 4, &[], &[0, 51]), [204; 3]);
    assert_eq!(pixels(2, 1, 16, 0, &[], &[0x80, 0x7f, 0x80, 0x80]), [128, 128, 128, 128, 128, 128]);
    assert_eq!(pixels(1, 1, 16, 0, &[], &[0, 128]), [0; 3]);
    assert_eq!(pixels(1, 1, 16, 0, &[], &[0, 129]), [1; 3]);
    assert_eq!(pixels(1, 1, 16, 4, &[], &[0, 0, 0, 0]), [255; 3]);
    // RGB of 16 bits, alone, with alpha, with one colour that is transparent.
    assert_eq!(pixels(1, 1, 16, 2, &[], &[255, 255, 1, 1, 0, 0]), [255, 1, 0]);
    assert_eq!(pixels(1, 1, 16, 6, &[], &[255, 255, 0, 0, 0, 0, 0x80, 0]), [255, 127, 127]);
    let clear: (&[u8; 4], &[u8]) = (b"tRNS", &[0, 7, 0, 8, 0, 9]);
    assert_eq!(pixels(2, 1, 8, 2, &[clear], &[7, 8, 9, 7, 8, 10]), [255, 255, 255, 7, 8, 10]);
    // A palette of 2 bits a pixel, two of its colours with alpha.
    let palette: [(&[u8; 4], &[u8]); 2] = [(b"PLTE", &[10, 20, 30, 0, 0, 0, 1, 2, 3]), (b"tRNS", &[0, 204])];
    assert_eq!(pixels(3, 1, 2, 3, &palette, &[0b0001_1000]), [255, 255, 255, 51, 51, 51, 1, 2, 3]);
}

#[test]
fn transparency_shows_the_background() {
    let file =
        png(&[(b"IHDR", &header(2, 1, 8, 6)), (b"IDAT", &stored(&[0, 9, 9, 9, 0, 200, 100, 50, 51])), (b"IEND", &[])]);
    let reading = Reading { background: [0, 100, 255], ..Reading::default() };
    assert_eq!(Picture::decode("x", &file, &reading).unwrap().rgb, [0, 100, 255, 40, 100, 214]);
}

#[test]
fn thin_and_tiny_pictures() {
    let long: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let tall = Picture::new(1, 100_000, long.clone()).unwrap();
    assert_eq!(decode(&tall.to_png().unwrap()).unwrap(), tall);
    let wide = Picture::new(100_000, 1, long).unwrap();
    assert_eq!(decode(&wide.to_png().unwrap()).unwrap(), wide);
    let dot = Picture::new(1, 1, vec![1, 2, 3]).unwrap();
    assert_eq!(decode(&dot.to_png().unwrap()).unwrap(), dot);
    assert_eq!(decode(&webp(&dot, None)).unwrap(), dot);
    assert!(farthest(&decode(&jpeg(&dot, None)).unwrap(), &dot) <= 2);
}

#[test]
fn the_content_decides_not_the_ending() {
    let folder = tempfile::tempdir().unwrap();
    let picture = sample(5, 4);
    let path = folder.path().join("a.png");
    std::fs::write(&path, webp(&picture, None)).unwrap();
    assert_eq!(Picture::open(&path, &Reading::default()).unwrap(), picture);
    let missing = Picture::open(&folder.path().join("b.png"), &Reading::default()).unwrap_err();
    assert!(missing.to_string().contains("b.png") && matches!(missing.problem, Problem::Io(_)), "{missing}");
    let place = Picture::open(folder.path(), &Reading::default()).unwrap_err();
    assert!(matches!(place.problem, Problem::NoFile), "{place}");
}

/// Where a pixel of the upright picture of 3×2 stands in the file, for each orientation, as the EXIF standard has it: the
/// corner where the first row and the first column of the file belong.
fn stored_sideways(orientation: u16, upright: &Picture) -> Picture {
    let (w, h) = (upright.width, upright.height);
    let at = |x: usize, y: usize| &upright.rgb[3 * (y * w + x)..][..3];
    let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
    let mut rgb = Vec::new();
    for row in 0..height {
        for column in 0..width {
            rgb.extend(match orientation {
                1 => at(column, row),
                2 => at(w - 1 - column, row),
                3 => at(w - 1 - column, h - 1 - row),
                4 => at(column, h - 1 - row),
                5 => at(row, column),
                6 => at(w - 1 - row, column),
                7 => at(w - 1 - row, h - 1 - column),
                _ => at(row, h - 1 - column),
            });
        }
    }
    Picture::new(width, height, rgb).unwrap()
}

#[test]
fn exif_turns_pictures_upright() {
    let upright = sample(3, 2);
    let blocks = upright.resize(24, 16, Filter::Nearest).unwrap();
    for orientation in 1..=8 {
        let sideways = stored_sideways(orientation, &upright);
        assert_eq!(decode(&webp(&sideways, Some(exif(orientation)))).unwrap(), upright, "WebP {orientation}");
        let head = header(sideways.width as u32, sideways.height as u32, 8, 2);
        let data = stored(&rows(&sideways.rgb, 3 * sideways.width));
        let exif_data = exif(orientation);
        for chunks in [
            [(b"IHDR", head.as_slice()), (b"eXIf", &exif_data), (b"IDAT", &data), (b"IEND", &[])],
            [(b"IHDR", &head), (b"IDAT", &data), (b"eXIf", &exif_data), (b"IEND", &[])],
        ] {
            assert_eq!(decode(&png(&chunks)).unwrap(), upright, "PNG {orientation}");
        }
        let sideways = stored_sideways(orientation, &blocks);
        let turned = decode(&jpeg(&sideways, Some(exif(orientation)))).unwrap();
        let plain = decode(&jpeg(&sideways, None)).unwrap();
        assert_eq!(stored_sideways(orientation, &turned), plain, "JPEG {orientation}");
    }
    assert_eq!(decode(&webp(&upright, Some(exif(9)))).unwrap(), upright);
    assert_eq!(decode(&webp(&upright, Some(vec![7; 40]))).unwrap(), upright);
}

#[test]
fn other_encoders_files_have_the_pixels_that_pillow_reads() {
    for entry in std::fs::read_dir(oracle()).unwrap() {
        let path = entry.unwrap().path();
        let expected = PathBuf::from(format!("{}.png", path.display()));
        if !expected.exists() {
            continue;
        }
        let ours = Picture::open(&path, &Reading::default()).unwrap();
        let theirs = Picture::open(&expected, &Reading::default()).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Decoders of lossy files may round, and smooth colours, each in its way.
        let most = match name.as_str() {
            "sampled.jpg" | "progressive.jpg" => 6,
            name if name.ends_with(".jpg") => 3,
            name if name.starts_with("lossy") => 6,
            _ => 1,
        };
        let farthest = farthest(&ours, &theirs);
        assert!(farthest <= most, "{name}: {farthest}");
    }
}

#[test]
fn a_file_that_breaks_off_is_refused_or_whole() {
    let mut files: Vec<(String, Vec<u8>)> =
        vec![("a.jpg".into(), jpeg(&sample(20, 20), Some(exif(3)))), ("a.png".into(), sample(9, 9).to_png().unwrap())];
    for entry in std::fs::read_dir(oracle()).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()));
    }
    for (name, file) in files {
        let whole = decode(&file).unwrap();
        for length in 0..file.len() {
            match decode(&file[..length]) {
                Ok(picture) => assert!(picture == whole, "{name}: other pixels from {length} of {} bytes", file.len()),
                Err(Problem::Io(error)) => panic!("{name}, {length} of {} bytes: {error}", file.len()),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn a_jpeg_with_broken_codes_is_not_filled_with_grey() {
    for name in ["sampled.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let mut file = std::fs::read(oracle().join(name)).unwrap();
        let scan = file.windows(2).position(|bytes| bytes == [0xff, 0xda]).unwrap() + 20;
        file[scan..scan + 16].copy_from_slice(&[0xff, 0].repeat(8)); // ones only: no code at all
        assert!(matches!(decode(&file), Err(Problem::Broken { .. })), "{name}");
    }
}

#[test]
fn no_file_and_other_files() {
    assert!(refused(b"").ends_with("is empty"));
    assert!(refused(b"hello world").contains("68 65 6c 6c 6f"));
    assert!(refused(b"BM------").contains("found BMP"));
    assert!(refused(b"<svg xmlns=\"...\">").contains("found SVG"));
    assert!(refused(b"\0\0\0\x20ftypavif").contains("AVIF"));
}

#[test]
fn sizes_are_refused_by_the_header() {
    let huge = png(&[(b"IHDR", &header(60_000, 60_000, 8, 2)), (b"IDAT", &stored(&[0; 60])), (b"IEND", &[])]);
    let error = refused(&huge);
    assert!(error.contains("60000×60000"), "{error}");
    assert!(refused(&png(&[(b"IHDR", &header(0, 9, 8, 2)), (b"IDAT", &stored(&[0]))])).contains("0×9"));
    assert!(refused(&png(&[(b"IHDR", &header(u32::MAX, u32::MAX, 16, 6))])).contains("pixel"));
    // Within the limit of pixels, but nearly nothing of it is there.
    let hollow = png(&[(b"IHDR", &header(8000, 8000, 8, 6)), (b"IDAT", &stored(&[0; 60])), (b"IEND", &[])]);
    assert!(refused(&hollow).contains("71 bytes of pixel data for 8000×8000"), "{}", refused(&hollow));
    let mut large = jpeg(&sample(16, 16), None);
    let frame = large.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    large[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(refused(&large).contains("65535×65535"));
    let mut large = webp(&sample(4, 4), None);
    large[21..25].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    assert!(refused(&large).contains("16384×16384"));
    let gif = |screen: [u8; 4], frame: [u8; 4]| {
        let palette = [0; 6];
        [b"GIF89a", &screen[..], &[0x80, 0, 0], &palette, &[0x2c, 0, 0, 0, 0], &frame, &[0, 2, 2, 0x4c, 1, 0, 0x3b]]
            .concat()
    };
    assert!(decode(&gif([1, 0, 1, 0], [1, 0, 1, 0])).is_ok());
    assert!(refused(&gif([255; 4], [1, 0, 1, 0])).contains("65535×65535"));
    assert!(refused(&gif([1, 0, 1, 0], [255; 4])).contains("bytes of memory"));
    assert!(refused(&gif([0; 4], [1, 0, 1, 0])).contains("0×0"));
}

#[test]
fn limits_can_be_set() {
    let file = sample(10, 10).to_png().unwrap();
    let within = |pixels, memory| {
        let reading = Reading { limits: Limits { pixels, memory }, ..Reading::default() };
        Picture::decode("x", &file, &reading).map_err(|error| error.problem)
    };
    assert!(within(100, 1 << 20).is_ok());
    assert!(matches!(within(99, 1 << 20), Err(Problem::TooManyPixels { width: 10, height: 10, limit: 99, .. })));
    assert!(matches!(within(100, 500), Err(Problem::TooMuchMemory { limit: 500, .. })));
}

#[test]
fn bombs_in_texts_and_profiles_do_not_go_off() {
    // 64 MiB of zeros, deflated by a fixed code: a literal and then copies of 258 bytes from one byte before.
    let bomb = {
        let mut bits: Vec<bool> = vec![true, true, false]; // the last block, fixed codes
        bits.extend([false, false, true, true, false, false, false, false]); // the byte 0
        for _ in 0..(64 << 20) / 258 {
            bits.extend([true, true, false, false, false, true, false, true]); // 258 bytes
            bits.extend([false; 5]); // one back
        }
        bits.extend([false; 7]);
        let bytes = bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
        [vec![0x78, 0x01], bytes.collect()].concat()
    };
    let text = [b"Comment\0\0", bomb.as_slice()].concat();
    let profile = [b"icc\0\0", bomb.as_slice()].concat();
    let head = header(1, 1, 8, 2);
    let data = stored(&[0, 1, 2, 3]);
    let with = |kind: &[u8; 4], chunk: &[u8]| png(&[(b"IHDR", &head), (kind, chunk), (b"IDAT", &data), (b"IEND", &[])]);
    assert_eq!(decode(&with(b"zTXt", &text)).unwrap().rgb, [1, 2, 3]);
    let start = Instant::now();
    let _ = decode(&with(b"iCCP", &profile)); // a profile that is too large may be refused, at little cost
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_animation_of_many_frames_is_its_first() {
    let file = std::fs::read(oracle().join("animated.gif")).unwrap();
    let first = decode(&file).unwrap();
    // All blocks behind the first picture, ten thousand times.
    let second = file.iter().rposition(|&byte| byte == 0x2c).unwrap();
    let mut long = file[..second].to_vec();
    (0..10_000).for_each(|_| long.extend(&file[second..file.len() - 1]));
    let start = Instant::now();
    assert_eq!(decode(&long).unwrap(), first);
    assert!(start.elapsed() < Duration::from_secs(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn png_files_keep_every_pixel(width in 1usize..40, height in 1usize..40, seed: [u8; 7]) {
        let rgb: Vec<u8> = (0..3 * width * height).map(|i| seed[i % 7].wrapping_mul(i as u8)).collect();
        let picture = Picture::new(width, height, rgb).unwrap();
        prop_assert_eq!(decode(&picture.to_png().unwrap()).unwrap(), picture);
    }

    #[test]
    fn a_flipped_bit_is_never_a_panic(which in 0usize..24, place: prop::sample::Index, bit in 0u8..8) {
        let mut files: Vec<_> = std::fs::read_dir(oracle()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut file = std::fs::read(&files[which % files.len()]).unwrap();
        let place = place.index(file.len());
        file[place] ^= 1 << bit;
        let limits = Limits { pixels: 1 << 20, memory: 32 << 20 };
        if let Ok(picture) = Picture::decode("x", &file, &Reading { limits, ..Reading::default() }) {
            prop_assert!(picture.is_sound());
        }
    }

    #[test]
    fn padding_is_undone_by_a_crop(width in 1usize..20, height in 1usize..20, more: (u8, u8)) {
        let picture = sample(width, height);
        let (x, y) = (usize::from(more.0 % 9), usize::from(more.1 % 9));
        let padded = picture.pad(width + x, height + y, [9; 3]).unwrap();
        prop_assert_eq!(padded.crop(x / 2, y / 2, width, height).unwrap(), picture.clone());
        prop_assert_eq!(padded.rgb.len(), 3 * (width + x) * (height + y));
        prop_assert!(picture.pad(width + x, height - 1, [9; 3]).is_err());
        prop_assert!(picture.crop(x + 1, 0, width, height).is_err());
    }
}

#[test]
fn other_sizes() {
    let one = Picture::filled(7, 5, [10, 200, 90]).unwrap();
    for filter in [Filter::Lanczos3, Filter::Area, Filter::Nearest] {
        for (width, height) in [(1, 1), (3, 9), (7, 5), (20, 20)] {
            let other = one.resize(width, height, filter).unwrap();
            assert_eq!(other, Picture::filled(width, height, [10, 200, 90]).unwrap(), "{filter:?}");
        }
    }
    let columns = Picture::new(4, 1, [[0; 3], [100; 3], [20; 3], [40; 3]].concat()).unwrap();
    assert_eq!(columns.resize(2, 1, Filter::Area).unwrap().rgb, [[50; 3], [30; 3]].concat());
    let size = |picture: Picture| (picture.width, picture.height);
    assert_eq!(size(Picture::filled(100, 30, [0; 3]).unwrap().fit(50, 50, Filter::Area).unwrap()), (50, 15));
    assert_eq!(size(Picture::filled(30, 100, [0; 3]).unwrap().fit(50, 50, Filter::Area).unwrap()), (15, 50));
    assert_eq!(size(Picture::filled(1, 1000, [0; 3]).unwrap().fit(50, 50, Filter::Area).unwrap()), (1, 50));
    assert!(one.resize(0, 5, Filter::Area).is_err() && one.resize(1 << 20, 1 << 20, Filter::Area).is_err());
    let broken = Picture { width: 3, height: 3, rgb: vec![0; 26] };
    assert!(
        broken.to_png().is_err() && broken.resize(1, 1, Filter::Area).is_err() && broken.pad(9, 9, [0; 3]).is_err()
    );
    assert!(Picture::new(0, 0, vec![]).is_none() && Picture::new(usize::MAX, 2, vec![]).is_none());
}
