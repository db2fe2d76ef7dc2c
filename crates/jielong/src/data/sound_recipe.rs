//! What a data set of sound is made of: recordings in Debian packages, or texts and the voices of a program that reads them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::recipe::{Part, wrong};
use crate::sources::DebPackage;
use crate::sources::cache::plain_file;

/// The same prompts, recorded by several speakers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingRecipe {
    /// Prompts whose names begin so are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// The speakers.
    #[serde(rename = "voice")]
    pub voices: Vec<RecordedVoice>,
}

/// One speaker. What the files below the folder are called is the name of the prompt, the same for all speakers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedVoice {
    /// The name, which is that of its folder too.
    pub name: String,
    /// The speaker and the manner.
    pub title: String,
    /// The language, as an ISO 639 code.
    pub language: String,
    /// The licence.
    pub license: String,
    /// Who is to be named.
    pub attribution: String,
    /// The package.
    pub package: DebPackage,
    /// The folder inside.
    pub folder: String,
    /// What the names of recordings end with; they are coded as ITU-T G.722.
    pub ending: String,
}

/// Texts, read by espeak-ng in several voices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeechRecipe {
    /// The licence of the texts; what the program says is free of its own.
    pub license: String,
    /// Who is to be named.
    pub attribution: String,
    /// The voices.
    #[serde(rename = "voice")]
    pub voices: Vec<SpokenVoice>,
    /// Texts by language.
    pub texts: BTreeMap<String, Vec<String>>,
}

/// One voice of espeak-ng.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpokenVoice {
    /// The name, which is that of its folder too.
    pub name: String,
    /// The language whose texts it reads.
    pub language: String,
    /// What espeak-ng calls it: a language, perhaps with a variant, as in `en-us+f3`.
    pub voice: String,
    /// Words a minute.
    pub speed: u32,
    /// The pitch, from 0 to 99; 50 is usual.
    pub pitch: u32,
}

impl RecordingRecipe {
    /// All packages that it takes, one for each voice.
    pub fn packages(&self) -> impl Iterator<Item = &DebPackage> {
        self.voices.iter().map(|voice| &voice.package)
    }

    /// The voices with their licences.
    pub(super) fn parts(&self) -> Vec<Part> {
        let part = |voice: &RecordedVoice| Part {
            name: voice.name.clone(),
            title: voice.title.clone(),
            license: voice.license.clone(),
            attribution: voice.attribution.clone(),
            package: voice.package.to_string(),
        };
        self.voices.iter().map(part).collect()
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        names(self.voices.iter().map(|voice| voice.name.as_str()))?;
        for (index, voice) in self.voices.iter().enumerate() {
            if let Some((key, why)) = voice.package.wrong() {
                return wrong(&format!("voice.{index}.package.{key}"), why);
            }
        }
        Ok(())
    }
}

impl SpeechRecipe {
    /// The voices with their licences, and the program in this version.
    pub(super) fn parts(&self, program: &str) -> Vec<Part> {
        let part = |voice: &SpokenVoice| Part {
            name: voice.name.clone(),
            title: format!("{}, {} words a minute, pitch {}", voice.voice, voice.speed, voice.pitch),
            license: self.license.clone(),
            attribution: self.attribution.clone(),
            package: program.to_owned(),
        };
        self.voices.iter().map(part).collect()
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        names(self.voices.iter().map(|voice| voice.name.as_str()))?;
        for (index, voice) in self.voices.iter().enumerate() {
            let field = |key: &str| format!("voice.{index}.{key}");
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-_".contains(&b);
            if !voice.voice.bytes().all(plain) || !voice.voice.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return wrong(&field("voice"), "is no name of a voice");
            }
            if !(80..=450).contains(&voice.speed) {
                return wrong(&field("speed"), "is not between 80 and 450 words a minute");
            }
            if voice.pitch > 99 {
                return wrong(&field("pitch"), "is not between 0 and 99");
            }
            if !self.texts.contains_key(&voice.language) {
                return wrong(&field("language"), "has no texts");
            }
        }
        for (language, texts) in &self.texts {
            if !plain_file(language) {
                return wrong("texts", "has a language that is no plain name");
            }
            let sorted = texts.iter().collect::<std::collections::BTreeSet<_>>();
            let fine = |text: &String| !text.trim().is_empty() && !text.contains(char::is_control);
            if sorted.len() < texts.len() || !texts.iter().all(fine) {
                return wrong(&format!("texts.{language}"), "has a text twice, an empty one, or one of several lines");
            }
        }
        Ok(())
    }
}

/// Names of voices become folders.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), (String, String)> {
    let mut seen = Vec::new();
    for (index, name) in names.enumerate() {
        if !plain_file(name) || seen.contains(&name) {
            return wrong(&format!("voice.{index}.name"), "is no plain folder name, or is there twice");
        }
        seen.push(name);
    }
    if seen.is_empty() { wrong("voice", "is not there: at least one is needed") } else { Ok(()) }
}
