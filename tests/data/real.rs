//! The real data set, where npm can be had; it stays in the cache.

use std::collections::BTreeSet;

use jielong::data::{self, DataError, Pictures, Split};
use jielong::sources::{NoProgress, SourceError, SourceOptions};
use jielong_image::picture::{Picture, Reading};

#[test]
fn emoji_in_four_styles() {
    let options = SourceOptions::from_env().unwrap();
    let recipe = data::recipe("emoji").unwrap();
    match data::fetch(&recipe, &options, &NoProgress) {
        Ok(_) => {}
        Err(error @ DataError::Source(SourceError::NoNpm { .. } | SourceError::NpmFailed { .. })) => {
            println!("skipped: emoji cannot be had: {error}");
            return;
        }
        Err(error @ DataError::Offline { .. }) => {
            println!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let pictures = Pictures::open("emoji", &options).unwrap();
    let all = pictures.entries.len();
    assert_eq!(all, 14_189);
    let held = pictures.of(Split::HeldOut).count();
    println!("{held} of {all} pictures are held out");
    assert!(held * 10 >= all);
    let bases = |split| pictures.of(split).map(|entry| entry.base.as_str()).collect::<BTreeSet<_>>();
    let (train, held) = (bases(Split::Train), bases(Split::HeldOut));
    assert!(train.is_disjoint(&held) && held.len() * 10 >= train.len() + held.len());
    for entry in pictures.entries.iter().step_by(97) {
        let picture = Picture::open(&entry.path, &Reading::default()).unwrap();
        assert_eq!((picture.width, picture.height), (128, 128));
        let corner = &picture.rgb[..3];
        assert!(picture.rgb.chunks(3).any(|pixel| pixel != corner), "{}", entry.path.display());
        assert!(!entry.text.is_empty());
    }
}
