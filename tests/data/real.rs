//! The real data sets, where npm, apt-get and espeak-ng can be had; they stay in the cache.

use std::collections::BTreeSet;

use jielong::data::{self, DataError, Pictures, Sounds, Split};
use jielong::sources::{NoProgress, SourceError, SourceOptions};
use jielong_audio::sound::{self, Sound};
use jielong_image::picture::{Picture, Reading};

/// Whether the data set is here now; why not, is printed.
fn fetched(name: &str, options: &SourceOptions) -> bool {
    match data::fetch(&data::recipe(name).unwrap(), options, &NoProgress) {
        Ok(_) => true,
        Err(
            error @ (DataError::Source(
                SourceError::NoNpm { .. }
                | SourceError::NpmFailed { .. }
                | SourceError::NoApt { .. }
                | SourceError::AptFailed { .. },
            )
            | DataError::NoEspeak { .. }
            | DataError::Offline { .. }),
        ) => {
            println!("skipped: {name} cannot be had: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn emoji_in_four_styles() {
    let options = SourceOptions::from_env().unwrap();
    if !fetched("emoji", &options) {
        return;
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

#[test]
fn prompts_and_speech() {
    let options = SourceOptions::from_env().unwrap();
    for (name, count, voices) in [("prompts", 2780, 5), ("speech", 3289, 11)] {
        if !fetched(name, &options) {
            continue;
        }
        let sounds = Sounds::open(name, &options).unwrap();
        assert_eq!(sounds.entries.len(), count);
        let half = |split| sounds.of(split).map(|entry| entry.prompt.as_str()).collect::<BTreeSet<_>>();
        let (train, held) = (half(Split::Train), half(Split::HeldOut));
        assert!(train.is_disjoint(&held) && held.len() * 10 >= train.len() + held.len());
        assert!(sounds.of(Split::HeldOut).count() * 10 >= count);
        assert_eq!(sounds.entries.iter().map(|entry| &entry.voice).collect::<BTreeSet<_>>().len(), voices);
        for entry in sounds.entries.iter().step_by(97) {
            let sound = Sound::open(&entry.path, &sound::Reading { rate: None, ..Default::default() }).unwrap();
            assert_eq!((sound.rate, Some(sound.seconds())), (16_000, entry.seconds));
            assert!(sound.samples.iter().any(|sample| sample.abs() > 0.01), "{}", entry.path.display());
            assert_eq!(entry.text.is_empty(), name == "prompts");
        }
    }
}
