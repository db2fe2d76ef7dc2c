//! Data sets of sound, without a network: scripts play apt-get and espeak-ng.

use std::fs;
use std::path::{Path, PathBuf};

use jielong::data::{self, DataError, Recipe, Sounds, Split};
use jielong::sources::{NoProgress, SourceOptions};
use jielong_audio::sound::{Reading, Sound};

use crate::{files, sha256};

/// A recipe, and scripts that play the programs.
pub struct Case {
    pub folder: tempfile::TempDir,
    pub options: SourceOptions,
    pub text: String,
}

pub fn oracle(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/sounds-g722").join(name)).unwrap()
}

/// A tarball as it is in a Debian package.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    let mut link = tar::Header::new_gnu();
    link.set_size(0);
    link.set_entry_type(tar::EntryType::Symlink);
    tar.append_link(&mut link, "usr/share/doc/link", "../elsewhere").unwrap();
    tar.into_inner().unwrap()
}

/// A Debian package with this member.
pub fn deb(member: &str, content: &[u8]) -> Vec<u8> {
    let mut ar = b"!<arch>\n".to_vec();
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"odd"), (member, content)] {
        let size = bytes.len();
        ar.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
        ar.extend(bytes);
        if size % 2 == 1 {
            ar.push(b'\n');
        }
    }
    ar
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

impl Case {
    /// Recordings in two languages, from these packages.
    pub fn recordings(packages: [&[u8]; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "kind = \"recordings\"\nname = \"calls\"\ndescription = \"d\"\nheld_out = 0.5\n\
                        without = [\"silence/\"]\n"
            .to_owned();
        for (language, bytes) in ["en", "es"].iter().zip(packages) {
            fs::write(folder.path().join(format!("calls-{language}.deb")), bytes).unwrap();
            text += &format!(
                "[[voice]]\nname = \"{language}\"\ntitle = \"T\"\nlanguage = \"{language}\"\nlicense = \"CC-BY-3.0\"\n\
                 attribution = \"a\"\nfolder = \"usr/sounds/x_{language}\"\nending = \".g722\"\npackage = {{ name = \
                 \"calls-{language}\", version = \"1.0-1\", bytes = {}, sha256 = \"{}\" }}\n",
                bytes.len(),
                sha256(bytes)
            );
        }
        let mut case = Self { options: SourceOptions::in_folder(folder.path()).unwrap(), folder, text };
        case.options.apt =
            case.script("apt", "package=${3%=*}; cp $here/$package.deb ./$package_any.deb; echo $@ >> $here/calls");
        case
    }

    /// Texts in two languages, three voices.
    pub fn speech() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let voice = |name: &str, language: &str| {
            format!(
                "[[voice]]\nname = \"{name}\"\nlanguage = \"{language}\"\nvoice = \"{language}+f2\"\nspeed = 150\npitch = 60\n"
            )
        };
        let text = format!(
            "kind = \"speech\"\nname = \"read\"\ndescription = \"d\"\nheld_out = 0.5\nlicense = \"MIT\"\nattribution = \"a\"\n\
             {}{}{}[texts]\nen = [\"one\", \"-w two\", \"it's three\"]\nzh = [\"一\"]\n",
            voice("a", "en"),
            voice("b", "en"),
            voice("c", "zh")
        );
        let tone = (0..2205).map(|n| (n as f32 * 0.1).sin() * 0.5).collect();
        fs::write(folder.path().join("tone.wav"), Sound { rate: 22_050, samples: tone }.to_wav().unwrap()).unwrap();
        let mut case = Self { options: SourceOptions::in_folder(folder.path()).unwrap(), folder, text };
        case.options.espeak = case.espeak("cp $here/tone.wav $out; echo \"$all\" >> $here/calls");
        case
    }

    /// A program in the language of the shell, which knows where it is.
    pub fn script(&self, name: &str, body: &str) -> std::ffi::OsString {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\nhere={}\n{body}\n", self.folder.path().display())).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path.into()
    }

    /// An "espeak-ng" that does this with `$out`.
    pub fn espeak(&self, body: &str) -> std::ffi::OsString {
        let arguments = "[ \"$1\" = --version ] && { echo 'eSpeak NG text-to-speech: 9.9  Data at: /x'; exit; }\n\
                         all=\"$*\"; while [ \"$1\" != -- ]; do [ \"$1\" = -w ] && out=$2; shift; done";
        self.script("espeak", &format!("{arguments}\n{body}"))
    }

    pub fn fetch(&self) -> Result<PathBuf, DataError> {
        data::fetch(&Recipe::parse(&self.text, "x.toml").unwrap(), &self.options, &NoProgress)
    }

    /// The error; nothing but the lock file is left.
    pub fn error(&self) -> String {
        let error = self.fetch().unwrap_err().to_string();
        let left = files(&self.options.cache);
        assert!(left.len() == 1 && left[0].ends_with(".lock"), "{left:?}");
        error
    }

    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

/// A package for each language, packed in different ways.
fn packages() -> [Vec<u8>; 2] {
    let (sweep, codes) = (oracle("sweep.g722"), oracle("codes.g722"));
    let one = |language: &str, pack: &dyn Fn(&[u8]) -> Vec<u8>| {
        pack(&tar(&[
            (&format!("./usr/sounds/x_{language}/hello.g722"), &sweep),
            (&format!("./usr/sounds/x_{language}/digits/1.g722"), &codes),
            (&format!("./usr/sounds/x_{language}/silence/1.g722"), &codes),
            (&format!("./usr/sounds/x_{language}/empty.g722"), b""),
            (&format!("./usr/sounds/x_{language}/list.txt"), b"text"),
            ("./usr/sounds/hello.g722", &codes),
        ]))
    };
    let zst = |tar: &[u8]| ruzstd::encoding::compress_to_vec(tar, ruzstd::encoding::CompressionLevel::Fastest);
    [deb("data.tar.xz", &one("en", &xz)), deb("data.tar.zst/", &one("es", &zst))]
}

#[test]
fn recordings_are_decoded_as_by_ffmpeg() {
    let [en, es] = packages();
    let mut case = Case::recordings([&en, &es]);
    let folder = case.fetch().unwrap();
    let expected =
        ["en/digits-1.wav", "en/hello.wav", "es/digits-1.wav", "es/hello.wav", "index.json"].map(str::to_owned);
    assert_eq!(files(&folder), expected);
    assert_eq!(case.calls(), ["-q download calls-en=1.0-1", "-q download calls-es=1.0-1"]);
    for (name, expected) in [("hello", "sweep.s16"), ("digits-1", "codes.s16")] {
        for language in ["en", "es"] {
            let wav = fs::read(folder.join(language).join(format!("{name}.wav"))).unwrap();
            assert!(wav[44..] == oracle(expected), "{language}/{name}");
            assert_eq!(wav[24..28], 16_000u32.to_le_bytes());
        }
    }
    let sounds = Sounds::open(folder.to_str().unwrap(), &case.options).unwrap();
    let rows: Vec<_> = sounds.entries.iter().map(|e| (e.voice.as_str(), e.prompt.as_str(), e.seconds)).collect();
    let (hello, one) = (Some(0.4), Some(0.192));
    assert_eq!(
        rows,
        [("en", "digits-1", one), ("en", "hello", hello), ("es", "digits-1", one), ("es", "hello", hello)]
    );
    for entry in &sounds.entries {
        assert_eq!((entry.split, &entry.language), (data::split(&entry.prompt, 0.5), &entry.voice));
    }
    let index = fs::read_to_string(folder.join("index.json")).unwrap();
    assert!(index.contains("\"license\":\"CC-BY-3.0\"") && index.contains("\"package\":\"calls-es=1.0-1\""), "{index}");
    // What is there is not fetched again, and is not needed.
    case.options.apt = "/no/such/apt".into();
    case.options.offline = true;
    assert_eq!(case.fetch().unwrap(), folder);
    case.text = case.text.replace("held_out = 0.5", "held_out = 0.25");
    let error = case.fetch().unwrap_err().to_string();
    assert!(error.contains("offline") && error.contains("calls-es=1.0-1"), "{error}");
}

#[test]
fn packages_that_cannot_be_had() {
    let [en, es] = packages();
    let mut case = Case::recordings([&en, &es]);
    fs::write(case.folder.path().join("calls-es.deb"), "another file").unwrap();
    let error = case.error();
    assert!(error.contains("calls-es=1.0-1 has SHA-256") && error.contains("expected"), "{error}");
    case.options.apt = case.script("apt", "echo 'E: Version not found' >&2; exit 100");
    let error = case.error();
    assert!(error.contains("apt-get could not download calls-en=1.0-1") && error.contains("not found"), "{error}");
    assert!(error.contains("apt-get update"), "{error}");
    case.options.apt = case.script("apt", "exit 0");
    assert!(case.error().contains("it said nothing"));
    case.options.apt = "/no/such/apt".into();
    let error = case.error();
    assert!(error.contains("`/no/such/apt` cannot be started") && error.contains("JIELONG_APT"), "{error}");
}

#[test]
fn texts_are_read_in_every_voice_of_their_language() {
    let mut case = Case::speech();
    case.options.offline = true; // no network is needed
    let folder = case.fetch().unwrap();
    let expected = [
        "a/en-0000.wav",
        "a/en-0001.wav",
        "a/en-0002.wav",
        "b/en-0000.wav",
        "b/en-0001.wav",
        "b/en-0002.wav",
        "c/zh-0000.wav",
        "index.json",
    ];
    assert_eq!(files(&folder), expected);
    let calls = case.calls();
    assert_eq!(calls.len(), 7);
    assert!(calls.iter().all(|call| call.starts_with("-b 1 -z -v ") && call.contains("+f2 -s 150 -p 60 -w ")));
    assert!(calls.iter().any(|call| call.ends_with(" -- -w two")), "{calls:?}");
    let sounds = Sounds::open(folder.to_str().unwrap(), &case.options).unwrap();
    for entry in &sounds.entries {
        let sound = Sound::open(&entry.path, &Reading { rate: None, ..Reading::default() }).unwrap();
        assert_eq!((sound.rate, sound.samples.len()), (16_000, 1600));
        assert_eq!(entry.seconds, Some(0.1));
        assert_eq!(entry.split, data::split(&entry.text, 0.5));
    }
    let of = |text: &str| sounds.entries.iter().filter(|e| e.text == text).map(|e| e.split).collect::<Vec<Split>>();
    assert!(["one", "-w two", "it's three"].iter().all(|text| of(text).len() == 2 && of(text)[0] == of(text)[1]));
    assert_eq!((of("一").len(), sounds.entries[6].language.as_str()), (1, "zh"));
    let index = fs::read_to_string(folder.join("index.json")).unwrap();
    assert!(index.contains("\"package\":\"espeak-ng 9.9\""), "{index}");
}

#[test]
fn a_reader_that_is_not_there_or_fails() {
    let mut case = Case::speech();
    case.options.espeak = "/no/such/espeak".into();
    let error = case.error();
    assert!(error.contains("JIELONG_ESPEAK") && error.contains("install espeak-ng"), "{error}");
    case.options.espeak = case.espeak("echo 'no such voice' >&2; exit 1");
    let error = case.error();
    assert!(error.contains("in the voice `en+f2`") && error.contains("no such voice"), "{error}");
    case.options.espeak = case.espeak("exit 0");
    assert!(case.error().contains("it said nothing"));
    case.options.espeak = case.espeak("echo no sound > $out");
    assert!(case.error().contains("is no WAV"));
    let silence = Sound { rate: 22_050, samples: vec![0.0; 100] }.to_wav().unwrap();
    fs::write(case.folder.path().join("tone.wav"), silence).unwrap();
    case.options.espeak = case.espeak("cp $here/tone.wav $out");
    assert!(case.error().contains("all is silent"));
}

#[test]
fn errors_name_the_key() {
    let (calls, read) = (Case::recordings([b"", b""]).text, Case::speech().text);
    for (text, from, to, expected) in [
        (&calls, "kind = \"recordings\"", "kind = \"songs\"", "songs"),
        (&calls, "kind = \"recordings\"\n", "", "voice"),
        (&calls, "name = \"calls\"", "name = \"..\"", "`name`"),
        (&calls, "held_out = 0.5", "held_out = 0.6", "`held_out`"),
        (&calls, "name = \"es\"", "name = \"en\"", "`voice.1.name`"),
        (&calls, "name = \"es\"", "name = \"a/b\"", "`voice.1.name`"),
        (&calls, "calls-en", "--calls", "`voice.0.package.name`"),
        (&calls, "calls-en", "calls en", "`voice.0.package.name`"),
        (&calls, "1.0-1", "newest", "`voice.0.package.version`"),
        (&calls, "ending", "end", "end"),
        (&read, "speed = 150", "speed = 1", "`voice.0.speed`"),
        (&read, "pitch = 60", "pitch = 100", "`voice.0.pitch`"),
        (&read, "voice = \"en+f2\"", "voice = \"--path\"", "`voice.0.voice`"),
        (&read, "language = \"zh\"", "language = \"fr\"", "`voice.2.language`"),
        (&read, "\"one\"", "\" \"", "`texts.en`"),
        (&read, "\"one\"", "\"it's three\"", "`texts.en`"),
        (&read, "zh = [", "\"z/h\" = [", "texts"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Recipe::parse(&text.replacen(from, to, 1), "a/x.toml").unwrap_err().to_string();
        assert!(error.starts_with("a/x.toml:") && error.contains(expected), "{to}: {error}");
    }
}
