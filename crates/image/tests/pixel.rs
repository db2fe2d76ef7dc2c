//! Pixels as codes: what comes back, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_core::{Codec, CodecError, Codes};
use jielong_image::picture::Picture;
use jielong_image::pixel::{Colours, Learning, Palette, PaletteError, Raw};
use proptest::prelude::*;

fn any_picture() -> impl Strategy<Value = Picture> {
    (1usize..12, 1usize..12).prop_flat_map(|(width, height)| {
        let rgb = prop::collection::vec(any::<u8>(), 3 * width * height);
        rgb.prop_map(move |rgb| Picture::new(width, height, rgb).unwrap())
    })
}

fn any_palette() -> impl Strategy<Value = Palette> {
    prop::collection::vec(any::<[u8; 3]>(), 1..600).prop_map(|colours| Palette::new(colours).unwrap())
}

/// A picture of a few clusters of colours.
fn clusters(seed: u64) -> Picture {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as usize
    };
    let around = [[20, 30, 40], [200, 30, 90], [90, 220, 10], [250, 250, 250]];
    let rgb = (0..4096).flat_map(|_| around[next() % 4].map(|value: u8| value.saturating_add((next() % 9) as u8)));
    Picture::new(64, 64, rgb.collect()).unwrap()
}

fn mean_square_error(palette: &Palette, picture: &Picture) -> f64 {
    let back = palette.decode(&palette.encode(picture).unwrap()).unwrap();
    let squares = picture.rgb.iter().zip(&back.rgb).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
    squares.sum::<f64>() / picture.rgb.len() as f64
}

proptest! {
    #[test]
    fn raw_bytes_come_back(picture in any_picture()) {
        let codes = Raw.encode(&picture).unwrap();
        prop_assert_eq!(codes.values.len(), 3 * picture.width * picture.height);
        prop_assert_eq!(Raw.decode(&codes).unwrap(), picture);
    }

    #[test]
    fn a_palette_changes_a_picture_once(picture in any_picture(), palette in any_palette()) {
        let codes = palette.encode(&picture).unwrap();
        let once = palette.decode(&codes).unwrap();
        prop_assert_eq!(&palette.encode(&once).unwrap(), &codes);
        prop_assert_eq!(&palette.decode(&palette.encode(&once).unwrap()).unwrap(), &once);
        prop_assert_eq!(codes.values.len(), picture.width * picture.height);
        let square = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
        for (pixel, code) in picture.pixels().zip(&codes.values) {
            let best = palette.colours().iter().enumerate().min_by_key(|(_, colour)| square(**colour, pixel)).unwrap();
            prop_assert_eq!(best.0 as u32, *code);
        }
    }

    #[test]
    fn a_palette_is_its_file(palette in any_palette()) {
        let read = Palette::from_json("p.json", &palette.to_json()).unwrap();
        prop_assert_eq!(read.colours(), palette.colours());
    }

    #[test]
    fn codes_from_outside_are_checked(
        size in prop::collection::vec(0usize..5, 0..4), grid in prop::collection::vec(0usize..5, 0..4),
        books in 0usize..5, values in prop::collection::vec(0u32..300, 0..50),
    ) {
        let codes = Codes { size, grid, books, values };
        let palette = Palette::new(vec![[1; 3]; 7]).unwrap();
        for decoded in [Raw.decode(&codes), palette.decode(&codes)].into_iter().flatten() {
            prop_assert!(decoded.is_sound());
        }
    }
}

#[test]
fn wrong_codes_are_named() {
    let codes = |books, values: &[u32]| Codes { size: vec![1, 2], grid: vec![1, 2], books, values: values.to_vec() };
    assert_eq!(
        Raw.decode(&codes(3, &[0, 0, 0, 0, 256, 0])),
        Err(CodecError::Code { code: 256, book: 1, place: 1, size: 256 })
    );
    let palette = Palette::new(vec![[1; 3], [2; 3]]).unwrap();
    assert_eq!(palette.books(), [2]);
    assert_eq!(palette.decode(&codes(1, &[0, 2])), Err(CodecError::Code { code: 2, book: 0, place: 1, size: 2 }));
    for wrong in [codes(1, &[0]), codes(3, &[0; 2]), Codes { grid: vec![2, 1], ..codes(1, &[0; 2]) }] {
        assert!(matches!(palette.decode(&wrong), Err(CodecError::Shape(_))), "{wrong:?}");
    }
    let empty = Codes { size: vec![0, 2], grid: vec![0, 2], books: 1, values: vec![] };
    assert!(matches!(palette.decode(&empty), Err(CodecError::Shape(_))));
    let broken = Picture { width: 2, height: 2, rgb: vec![0; 11] };
    assert!(matches!(Raw.encode(&broken), Err(CodecError::Shape(_))));
    assert!(matches!(palette.encode(&broken), Err(CodecError::Shape(_))));
}

#[test]
fn a_palette_is_learned_the_same_way_each_time() {
    let picture = clusters(3);
    let mut colours = Colours::default();
    colours.add(&picture);
    let learn =
        |count, seed| Palette::learn(&colours, &Learning { colours: count, seed, ..Learning::default() }).unwrap();
    assert_eq!(learn(16, 5).colours(), learn(16, 5).colours());
    // Four colours find the four clusters, and more colours leave less error.
    let four = learn(4, 0);
    let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2);
    for centre in [[24, 34, 44], [204, 34, 94], [94, 224, 14], [253, 253, 253]] {
        assert!(four.colours().iter().any(|colour| near(*colour, centre)), "{:?}", four.colours());
    }
    let errors: Vec<f64> = [4, 16, 64, 512].map(|count| mean_square_error(&learn(count, 0), &picture)).to_vec();
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    // As many colours as there are: nothing is lost.
    let mut few = Colours::default();
    let three = Picture::new(3, 1, vec![1, 2, 3, 1, 2, 3, 9, 9, 9]).unwrap();
    few.add(&three);
    let exact = Palette::learn(&few, &Learning { colours: 2, ..Learning::default() }).unwrap();
    assert_eq!(exact.colours(), [[1, 2, 3], [9, 9, 9]]);
    let error = Palette::learn(&few, &Learning::default()).unwrap_err();
    assert_eq!(error, PaletteError::TooFew { found: 2, wanted: 512 });
    assert!(Palette::learn(&few, &Learning { colours: 0, ..Learning::default() }).is_err());
}

#[test]
fn wrong_palette_files_are_named() {
    for (text, found) in [
        ("", "line 1"),
        ("{\"colours\": []}", "`colours`: 0 colours"),
        ("{\"colours\": [[1, 2]]}", "line 1"),
        ("{\"colours\": [[1, 2, 256]]}", "256"),
        ("{\"colors\": []}", "colors"),
    ] {
        let error = Palette::from_json("a/p.json", text).unwrap_err().to_string();
        assert!(error.starts_with("a/p.json is no palette") && error.contains(found), "{error}");
    }
}
