//! Folders of anyone's own pictures.

use std::fs;
use std::path::Path;

use jielong::data::{Pictures, Split, split};
use jielong::sources::SourceOptions;
use jielong_image::picture::Picture;

fn open(folder: &Path) -> Result<Pictures, String> {
    let options = SourceOptions::in_folder(folder).unwrap();
    Pictures::open(folder.to_str().unwrap(), &options).map_err(|error| error.to_string())
}

#[test]
fn any_folder_is_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let png = Picture::filled(2, 2, [0; 3]).unwrap().to_png().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    };
    write("b_red-cat.png", &png);
    write("a.jpeg", &png); // the content decides
    write("a.txt", b"  a small picture\n");
    write("notes.png", b"no picture");
    write("empty.png", b"");
    write(".hidden.png", &png);
    write("ink/a.png", &png);
    write("ink/deep/c.png", &png);
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("ink/circle")).unwrap();
    let pictures = open(folder.path()).unwrap();
    let rows: Vec<_> =
        pictures.entries.iter().map(|e| (e.subject.as_str(), e.style.as_str(), e.text.as_str())).collect();
    assert_eq!(
        rows,
        [("a", "", "a small picture"), ("b_red-cat", "", "b red cat"), ("a", "ink", "a"), ("c", "deep", "c")]
    );
    for entry in &pictures.entries {
        assert_eq!(entry.split, split(&entry.subject, 0.125), "pictures of one subject are in one half");
    }
    // Another program's index is no index.
    write("index.json", b"{\"files\": []}");
    assert_eq!(open(folder.path()).unwrap().entries, pictures.entries);
}

#[test]
fn folders_without_pictures_and_broken_indices() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path()).unwrap_err().contains("there are no pictures"));
    let index = |subjects: &str| {
        let text = format!(
            "{{\"name\": \"x\", \"recipe\": \"\", \"size\": 1, \"background\": [0, 0, 0], \"styles\": [], \"subjects\": {subjects}}}"
        );
        fs::write(folder.path().join("index.json"), text).unwrap();
        open(folder.path())
    };
    let subject = |id: &str, style: &str, split: &str| {
        format!(
            "[{{\"id\": \"{id}\", \"base\": \"b\", \"split\": \"{split}\", \"name\": \"n\", \"tags\": [], \"styles\": [\"{style}\"]}}]"
        )
    };
    let one = index(&subject("1f600", "noto", "held-out")).unwrap();
    assert_eq!(one.entries[0].path, folder.path().join("noto/1f600.png"));
    assert_eq!(one.of(Split::HeldOut).count(), 1);
    for (id, style, split) in
        [("../x", "noto", "train"), ("1f600", "..", "train"), ("1f600", "/etc", "train"), ("1f600", "noto", "test")]
    {
        let error = index(&subject(id, style, split)).unwrap_err();
        assert!(error.contains("index.json is no index of a data set"), "{error}");
    }
    assert!(index("[]").unwrap_err().contains("no pictures"));
    // An index that breaks off is not taken for a folder without one: its halves would be others.
    fs::write(folder.path().join("index.json"), "{\"name\": \"x\", \"rec").unwrap();
    assert!(open(folder.path()).unwrap_err().contains("is no index of a data set"));
}
