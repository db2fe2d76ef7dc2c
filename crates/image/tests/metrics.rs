//! PSNR and SSIM against scikit-image.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use jielong_image::metrics::{Channels, MetricError, Window, psnr, ssim};
use jielong_image::picture::{Picture, Reading};
use serde_json::Value;

fn open(path: PathBuf) -> Picture {
    Picture::open(&path, &Reading::default()).unwrap()
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Compares with numbers whose keys have these words for the two kinds of channels.
fn compare(a: &Picture, b: &Picture, expected: &Value, luma: &str) {
    let mut worst = 0f64;
    let mut close = |ours: f64, key: String| {
        let theirs = expected[&key].as_f64().unwrap();
        worst = worst.max((ours - theirs).abs());
        assert!((ours - theirs).abs() < 1e-9, "{key}: {ours}, expected {theirs}");
    };
    for (channels, name) in [(Channels::Rgb, "rgb"), (Channels::Luma, luma)] {
        close(psnr(a, b, channels).unwrap(), format!("psnr_{name}"));
        close(ssim(a, b, channels, Window::Uniform7).unwrap(), format!("ssim_{name}_uniform7"));
        close(ssim(a, b, channels, Window::Gaussian).unwrap(), format!("ssim_{name}_gaussian"));
    }
    println!("largest difference {worst:.1e}");
}

#[test]
fn the_same_numbers_as_scikit_image() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/metrics");
    compare(&open(folder.join("a.png")), &open(folder.join("b.png")), &json(folder.join("metrics.json")), "luma");
}

#[test]
fn the_same_numbers_as_the_shared_references() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle/metrics");
    if !folder.exists() {
        println!("skipped: no {}", folder.display());
        return;
    }
    for entry in json(folder.join("metrics.json"))["images"].as_array().unwrap() {
        let picture = |key: &str| open(folder.join(entry[key].as_str().unwrap()));
        compare(&picture("ref"), &picture("dis"), entry, "y");
    }
}

#[test]
fn equal_pictures_and_pictures_that_cannot_be_compared() {
    let one = Picture::filled(12, 11, [3, 70, 200]).unwrap();
    assert_eq!(psnr(&one, &one, Channels::Rgb).unwrap(), f64::INFINITY);
    for window in [Window::Uniform7, Window::Gaussian] {
        assert!((ssim(&one, &one, Channels::Luma, window).unwrap() - 1.0).abs() < 1e-12);
    }
    let other = Picture::filled(11, 12, [0; 3]).unwrap();
    assert!(matches!(psnr(&one, &other, Channels::Rgb), Err(MetricError::Sizes { .. })));
    let small = Picture::filled(6, 100, [0; 3]).unwrap();
    let error = ssim(&small, &small, Channels::Rgb, Window::Uniform7).unwrap_err();
    assert_eq!(error.to_string(), "SSIM needs 7×7 pixels or more, found 6×100");
    let broken = Picture { width: 12, height: 11, rgb: vec![] };
    assert!(psnr(&one, &broken, Channels::Rgb).is_err());
}
