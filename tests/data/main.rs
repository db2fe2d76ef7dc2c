//! Data sets, without a network: scripts play npm, apt-get and espeak-ng.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fetch;
mod folder;
mod hostile;
mod hostile_deb;
mod program;
mod real;
mod recipe;
mod sound;
mod sound_folder;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use jielong::data::{self, DataError, Recipe};
use jielong::sources::{NoProgress, SourceOptions};
use jielong_image::picture::Picture;
use sha2::{Digest, Sha256};

/// A recipe of three small packages, and a script that hands them out.
struct Case {
    folder: tempfile::TempDir,
    options: SourceOptions,
    text: String,
}

/// What the packages hold: names, drawings, files.
struct Packages {
    names: Vec<u8>,
    drawn: Vec<u8>,
    files: Vec<u8>,
}

impl Packages {
    fn new() -> Self {
        let names = r#"[
            {"label": "red square", "hexcode": "1F7E5", "tags": ["square"], "unknown": 1},
            {"label": "hand", "hexcode": "0270B", "tags": ["five"], "skins": [
                {"label": "hand: light", "hexcode": "270B-1F3FB"}, {"label": "hand: dark", "hexcode": "270B-1F3FF"}]},
            {"label": "nowhere", "hexcode": "1F9FF", "tags": []}]"#;
        let icons = r##"{"prefix": "x", "width": 8, "height": 8, "icons": {
            "square": {"body": "<path fill=\"#f00\" d=\"M0 0h8v8H0z\"/>"},
            "hand": {"body": "<path fill=\"#00f\" d=\"M0 0h4v8H0z\"/>"},
            "flat": {"body": "<path fill=\"#0f0\" d=\"M0 0h8v4H0z\"/>", "height": 4}},
            "aliases": {"dnah": {"parent": "hand", "hFlip": true}}}"##;
        let characters =
            r#"{"1f7e5": "square", "270b-fe0f": "hand", "270b-1f3fb": "dnah", "270b-1f3ff": "flat", "e50a": "hand"}"#;
        let half = Picture::new(4, 2, [[9u8; 3], [7; 3]].concat().repeat(4)).unwrap().to_png().unwrap();
        Self {
            names: tarball(&[("package/en.json", names.as_bytes())]),
            drawn: tarball(&[
                ("package/a/icons.json", icons.as_bytes()),
                ("package/chars.json", characters.as_bytes()),
            ]),
            files: tarball(&[
                ("x/pictures/1f7e5.webp", &half),
                ("x/pictures/00270b_1F3FF.webp", &half),
                ("x/pictures/readme.webp", b""),
                ("x/other/270b.webp", b""),
            ]),
        }
    }
}

impl Case {
    fn new(packages: &Packages) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let package = |name: &str, bytes: &[u8]| {
            let file = name.trim_start_matches("@s/");
            fs::write(folder.path().join(format!("{file}.tgz")), bytes).unwrap();
            format!(
                "{{ name = \"{name}\", version = \"1.0.0\", bytes = {}, sha256 = \"{}\" }}",
                bytes.len(),
                sha256(bytes)
            )
        };
        let text = format!(
            "name = \"tiny\"\ndescription = \"d\"\nsize = 16\nbackground = [255, 255, 255]\nheld_out = 0.125\n\
             [names]\nlicense = \"MIT\"\nattribution = \"a\"\npackage = {}\nmember = \"en.json\"\n\
             [[style]]\nname = \"drawn\"\ntitle = \"Drawn\"\nlicense = \"MIT\"\nattribution = \"a\"\npackage = {}\n\
             form = {{ iconify = {{ icons = \"a/icons.json\", characters = \"chars.json\" }} }}\n\
             [[style]]\nname = \"files\"\ntitle = \"Files\"\nlicense = \"MIT\"\nattribution = \"a\"\npackage = {}\n\
             form = {{ files = {{ folder = \"pictures\", ending = \".webp\" }} }}\n\
             [bases]\nmodifiers = [\"1f3fb\", \"1f3ff\"]\njoined = []\nparts = {{}}\nwholes = {{}}\n",
            package("names", &packages.names),
            package("@s/drawn", &packages.drawn),
            package("files", &packages.files)
        );
        let mut case = Self { options: SourceOptions::in_folder(folder.path()).unwrap(), folder, text };
        case.script("cp $here/$name.tgz $dest/any-name.tgz; echo $name >> $here/calls");
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An "npm" that does this with `$dest`, `$name` and `$here`.
    fn script(&mut self, body: &str) {
        let path = self.path("npm.sh");
        let arguments =
            "for a; do [ \"$last\" = --pack-destination ] && dest=$a; last=$a; done; name=${last%@*}; name=${name#@s/}";
        let here = self.folder.path().display();
        fs::write(&path, format!("#!/bin/sh\nhere={here}\n{arguments}\n{body}\n")).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        self.options.npm = path.into();
    }

    fn recipe(&self) -> Recipe {
        Recipe::parse(&self.text, "tiny.toml").unwrap()
    }

    fn fetch(&self) -> Result<PathBuf, DataError> {
        data::fetch(&self.recipe(), &self.options, &NoProgress)
    }

    /// The error; nothing but the lock file is left.
    fn error(&self) -> String {
        let error = self.fetch().unwrap_err().to_string();
        assert_eq!(files(&self.options.cache), ["data/.tiny.lock"]);
        assert!(data::find(&self.recipe(), &self.options).is_none());
        error
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }
}

/// A tarball of files.
fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below a folder, as paths relative to it, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path()).iter().map(|inside| format!("{name}/{inside}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}
