//! Folders of anyone's own recordings.

use std::fs;
use std::path::Path;

use jielong::data::{Pictures, Sounds, Split, split};
use jielong::sources::SourceOptions;
use jielong_audio::sound::Sound;

fn open(folder: &Path) -> Result<Sounds, String> {
    let options = SourceOptions::in_folder(folder).unwrap();
    Sounds::open(folder.to_str().unwrap(), &options).map_err(|error| error.to_string())
}

#[test]
fn any_folder_is_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let wav = Sound { rate: 8000, samples: vec![0.5; 80] }.to_wav().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    };
    write("b.mp3", &wav); // the content decides
    write("a.wav", &wav);
    write("a.txt", "  你好\n".as_bytes());
    write("notes.wav", b"no sound");
    write(".hidden.wav", &wav);
    write("anna/a.flac", b"fLaC and so on");
    write("anna/tagged.mp3", b"ID3\x04 and so on");
    write("anna/deep/c.ogg", b"OggS and so on");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("anna/circle")).unwrap();
    let sounds = open(folder.path()).unwrap();
    let rows: Vec<_> = sounds.entries.iter().map(|e| (e.prompt.as_str(), e.voice.as_str(), e.text.as_str())).collect();
    assert_eq!(rows, [("a", "", "你好"), ("b", "", ""), ("a", "anna", ""), ("tagged", "anna", ""), ("c", "deep", "")]);
    for entry in &sounds.entries {
        assert_eq!(entry.split, split(&entry.prompt, 0.125), "recordings of one prompt are in one half");
        assert_eq!((entry.seconds, entry.language.as_str()), (None, ""));
    }
    let names: Vec<String> = (0..800).map(|n| format!("{n}.wav")).collect();
    names.iter().for_each(|name| write(name, &wav));
    let held = open(folder.path()).unwrap().of(Split::HeldOut).count();
    assert!((70..130).contains(&held), "{held}");
}

#[test]
fn folders_without_recordings_and_broken_indices() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path()).unwrap_err().contains("there are no recordings"));
    let index = |entries: &str| {
        let text =
            format!("{{\"name\": \"x\", \"recipe\": \"\", \"rate\": 16000, \"voices\": [], \"entries\": {entries}}}");
        fs::write(folder.path().join("index.json"), text).unwrap();
        open(folder.path())
    };
    let entry = |id: &str, split: &str| {
        format!("[{{\"id\": \"{id}\", \"language\": \"en\", \"text\": \"\", \"split\": \"{split}\", \"seconds\": 1}}]")
    };
    let one = index(&entry("en/a", "held-out")).unwrap();
    assert_eq!(one.entries[0].path, folder.path().join("en/a.wav"));
    assert_eq!(one.of(Split::HeldOut).count(), 1);
    for (id, split) in [("../a", "train"), ("en/../a", "train"), ("/etc/a", "train"), ("a", "train"), ("en/a", "test")]
    {
        let error = index(&entry(id, split)).unwrap_err();
        assert!(error.contains("index.json is no index of a data set"), "{error}");
    }
    assert!(index("[]").unwrap_err().contains("no recordings"));
    // A data set of sound is none of pictures.
    index(&entry("en/a", "train")).unwrap();
    let options = SourceOptions::in_folder(folder.path()).unwrap();
    let error = Pictures::open(folder.path().to_str().unwrap(), &options).unwrap_err().to_string();
    assert!(error.contains("is no index of a data set"), "{error}");
    let error = Pictures::open("prompts", &options).unwrap_err().to_string();
    assert!(error.contains("`prompts` is none of pictures"), "{error}");
    let error = Sounds::open("emoji", &options).unwrap_err().to_string();
    assert!(error.contains("`emoji` is none of sound"), "{error}");
    let error = Sounds::open("speech", &options).unwrap_err().to_string();
    assert!(error.contains("jielong data fetch speech"), "{error}");
}
