//! What a data set of sound is made of: recordings in Debian packages, or texts and the voices of a program that reads them.

use std::collections::{BTreeMap, BTreeSet};

use jielong_nn::train::Random;
use serde::Deserialize;

use super::recipe::{Part, wrong};
use super::subject::number;
use crate::sources::DebPackage;
use crate::sources::cache::plain_file;

/// The most words of a drawn text.
const MOST_WORDS: usize = 32;
/// The most texts that are drawn.
const MOST_TEXTS: usize = 100_000;

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
    #[serde(default)]
    pub texts: BTreeMap<String, Vec<String>>,
    /// Further texts.
    #[serde(default, rename = "combination")]
    pub combinations: Vec<Combination>,
}

/// Texts of a language made of words that chance puts together, always in the same way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combination {
    /// The language.
    pub language: String,
    /// The words.
    pub words: Vec<String>,
    /// The fewest words of a text.
    pub least: usize,
    /// The most words of a text.
    pub most: usize,
    /// How many texts there are, all different.
    pub count: usize,
}

impl Combination {
    fn texts(&self) -> impl Iterator<Item = String> {
        let (mut random, mut seen) = (Random::at(&[number(&self.language)]), BTreeSet::new());
        let drawn = std::iter::repeat_with(move || {
            let words = self.least + random.below(self.most - self.least + 1);
            let words: Vec<&str> = (0..words).map(|_| self.words[random.below(self.words.len())].as_str()).collect();
            words.join(" ")
        });
        drawn.filter(move |text| seen.insert(text.clone())).take(self.count)
    }

    fn check(&self, field: &str) -> Result<(), (String, String)> {
        let within = |key: &str, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(()),
            false => wrong(&format!("{field}.{key}"), &format!("is {value}, not from 1 to {most}")),
        };
        if !plain_file(&self.language) {
            return wrong(&format!("{field}.language"), "is no plain name");
        }
        unlike(&self.words).or_else(|why| wrong(&format!("{field}.words"), why))?;
        if self.words.iter().any(|word| word.contains(char::is_whitespace)) {
            return wrong(&format!("{field}.words"), "has a word with a space"); // other words could make the same text
        }
        within("most", self.most, MOST_WORDS)?;
        within("least", self.least, self.most)?;
        // Half of those that there can be, so that the last are found soon.
        let possible = (self.words.len().max(1) as u64).saturating_pow(self.most as u32);
        within("count", self.count, usize::try_from(possible / 2).unwrap_or(usize::MAX).min(MOST_TEXTS))
    }
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

    /// All texts of a language.
    pub(super) fn texts(&self, language: &str) -> Vec<String> {
        let listed = self.texts.get(language).into_iter().flatten().cloned();
        let drawn = self.combinations.iter().filter(|combination| combination.language == language);
        listed.chain(drawn.flat_map(Combination::texts)).collect()
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        names(self.voices.iter().map(|voice| voice.name.as_str()))?;
        for (index, combination) in self.combinations.iter().enumerate() {
            combination.check(&format!("combination.{index}"))?;
        }
        for (language, texts) in &self.texts {
            if !plain_file(language) {
                return wrong("texts", "has a language that is no plain name");
            }
            unlike(texts).or_else(|why| wrong(&format!("texts.{language}"), why))?;
        }
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
            let texts = self.texts(&voice.language);
            if texts.is_empty() {
                return wrong(&field("language"), "has no texts");
            }
            unlike(&texts).or_else(|why| wrong(&format!("the texts of `{}`", voice.language), why))?;
        }
        Ok(())
    }
}

/// All texts can be read, and are different.
fn unlike(texts: &[String]) -> Result<(), &'static str> {
    let sorted = texts.iter().collect::<BTreeSet<_>>();
    let fine = |text: &String| !text.trim().is_empty() && !text.contains(char::is_control);
    match sorted.len() == texts.len() && texts.iter().all(fine) {
        true => Ok(()),
        false => Err("has a text twice, an empty one, or one of several lines"),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn combinations_are_different_and_always_the_same() {
        let words = ["one", "two", "three"].map(str::to_owned).to_vec();
        let some = Combination { language: "en".into(), words, least: 1, most: 4, count: 40 };
        some.check("combination").unwrap();
        let texts: Vec<String> = some.texts().collect();
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 40);
        assert_eq!(texts, some.texts().collect::<Vec<_>>());
        let lengths: BTreeSet<usize> = texts.iter().map(|text| text.split(' ').count()).collect();
        assert_eq!(lengths, BTreeSet::from([1, 2, 3, 4]));
        let wrong = |change: fn(&mut Combination)| {
            let mut other = some.clone();
            change(&mut other);
            other.check("combination.0").unwrap_err().0
        };
        assert_eq!(wrong(|c| c.count = 41), "combination.0.count");
        assert_eq!(wrong(|c| c.least = 5), "combination.0.least");
        assert_eq!(wrong(|c| c.most = 0), "combination.0.most");
        assert_eq!(wrong(|c| c.words.push("one".into())), "combination.0.words");
        assert_eq!(wrong(|c| c.words.push("one two".into())), "combination.0.words");
        assert_eq!(wrong(|c| c.language = "../en".into()), "combination.0.language");
    }
}
