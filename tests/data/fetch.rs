//! What a fetch makes, and when it does nothing.

use std::fs;

use jielong::data::{self, Pictures, Split};
use jielong::sources::NoProgress;
use jielong_image::picture::{Picture, Reading};
use serde_json::Value;

use crate::{Case, Packages, files};

#[test]
fn pictures_of_all_styles_are_joined_by_code_point() {
    let case = Case::new(&Packages::new());
    let folder = case.fetch().unwrap();
    assert_eq!(folder, case.options.cache.join("data/tiny"));
    assert_eq!(
        files(&case.options.cache),
        [
            "data/.tiny.lock",
            "data/tiny/drawn/1f7e5.png",
            "data/tiny/drawn/270b-1f3fb.png",
            "data/tiny/drawn/270b-1f3ff.png",
            "data/tiny/drawn/270b.png",
            "data/tiny/files/1f7e5.png",
            "data/tiny/files/270b-1f3ff.png",
            "data/tiny/index.json",
        ]
    );
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let subjects = index["subjects"].as_array().unwrap();
    let dark = subjects.iter().find(|subject| subject["id"] == "270b-1f3ff").unwrap();
    assert_eq!(
        (&dark["base"], &dark["name"], &dark["tags"][0]),
        (&"270b".into(), &"hand: dark".into(), &"five".into())
    );
    assert_eq!(dark["styles"], serde_json::json!(["drawn", "files"]));
    assert_eq!(index["styles"][1]["package"], "files@1.0.0");
    assert!(subjects.iter().all(|subject| subject["id"] != "1f9ff"), "a subject without a picture is none");

    let open = |name: &str| Picture::open(&folder.join(name), &Reading::default()).unwrap();
    let column = |picture: &Picture, x: usize, y: usize| picture.rgb[3 * (16 * y + x)..][..3].to_vec();
    assert_eq!(open("drawn/1f7e5.png"), Picture::filled(16, 16, [255, 0, 0]).unwrap());
    let (hand, mirrored) = (open("drawn/270b.png"), open("drawn/270b-1f3fb.png"));
    assert_eq!((column(&hand, 3, 3), column(&hand, 12, 3)), (vec![0, 0, 255], vec![255; 3]));
    assert_eq!((column(&mirrored, 3, 3), column(&mirrored, 12, 3)), (vec![255; 3], vec![0, 0, 255]));
    let flat = open("drawn/270b-1f3ff.png"); // 8×4, in the middle
    assert_eq!([0, 8, 15].map(|y| column(&flat, 8, y)), [vec![255; 3], vec![0, 255, 0], vec![255; 3]]);
    let wide = open("files/1f7e5.png"); // 4×2, enlarged, in the middle
    assert_eq!([0, 8, 15].map(|y| column(&wide, 0, y)), [vec![255; 3], vec![9; 3], vec![255; 3]]);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let mut case = Case::new(&Packages::new());
    let folder = case.fetch().unwrap();
    assert_eq!(case.calls(), 3);
    fs::write(folder.join("mark"), "").unwrap();
    case.fetch().unwrap();
    case.options.offline = true;
    assert_eq!(case.fetch().unwrap(), folder);
    assert!(folder.join("mark").exists() && case.calls() == 3);
    // Another recipe is another data set, and takes the place of the old one.
    case.text = case.text.replace("size = 16", "size = 8");
    let error = case.fetch().unwrap_err().to_string();
    assert!(error.contains("offline") && error.contains("@s/drawn@1.0.0"), "{error}");
    case.options.offline = false;
    case.fetch().unwrap();
    assert!(!folder.join("mark").exists() && case.calls() == 6);
    let small = Picture::open(&folder.join("drawn/270b.png"), &Reading::default()).unwrap();
    assert_eq!(small.width, 8);
}

#[test]
fn a_fetch_that_fails_leaves_what_was_there() {
    let mut case = Case::new(&Packages::new());
    let folder = case.fetch().unwrap();
    let before = files(&folder);
    let old = case.text.clone();
    case.text = old.replace("size = 16", "size = 8");
    case.script("echo 'code E404' >&2; exit 1");
    let error = case.fetch().unwrap_err().to_string();
    assert!(error.contains("npm could not fetch names@1.0.0") && error.contains("code E404"), "{error}");
    assert_eq!(files(&folder), before);
    case.text = old;
    assert_eq!(case.fetch().unwrap(), folder);
}

#[test]
fn nothing_is_left_of_a_failure() {
    let mut case = Case::new(&Packages::new());
    fs::create_dir_all(case.options.cache.join("data/.partial-tiny-killed/made")).unwrap();
    fs::write(case.options.cache.join("data/.partial-tiny-killed/made/x"), "").unwrap();
    fs::write(case.path("drawn.tgz"), "another file").unwrap();
    let error = case.error();
    assert!(error.contains("@s/drawn@1.0.0 has SHA-256") && error.contains("expected"), "{error}");
    case.options.npm = "/no/such/npm".into();
    let error = case.error();
    assert!(error.contains("`/no/such/npm` cannot be started") && error.contains("JIELONG_NPM"), "{error}");
    case.script("exit 0");
    assert!(case.error().contains("npm could not fetch"));
}

#[test]
fn fetches_at_the_same_time_make_it_once() {
    let case = Case::new(&Packages::new());
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..4).map(|_| scope.spawn(|| case.fetch().unwrap())).collect();
        fetches.into_iter().for_each(|fetch| drop(fetch.join().unwrap()));
    });
    assert_eq!(case.calls(), 3);
}

#[test]
fn the_folder_is_a_list_of_pictures() {
    let case = Case::new(&Packages::new());
    let folder = case.fetch().unwrap();
    let pictures = Pictures::open(folder.to_str().unwrap(), &case.options).unwrap();
    assert_eq!(pictures.entries.len(), 6);
    assert!(pictures.entries.iter().all(|entry| entry.path.is_file()));
    let of = |split| pictures.of(split).map(|entry| &entry.base).collect::<std::collections::BTreeSet<_>>();
    assert!(of(Split::Train).is_disjoint(&of(Split::HeldOut)));
    // A name is that of a built-in recipe.
    let error = Pictures::open("emoji", &case.options).unwrap_err().to_string();
    assert!(error.contains("jielong data fetch emoji"), "{error}");
    let error = Pictures::open("tiny", &case.options).unwrap_err().to_string();
    assert!(error.contains("no data set is called `tiny`") && error.contains("emoji"), "{error}");
    let offline = case.options.clone().offline(true);
    let error = data::fetch(&data::recipe("emoji").unwrap(), &offline, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("@iconify-json/noto@1.2.9"), "{error}");
}
