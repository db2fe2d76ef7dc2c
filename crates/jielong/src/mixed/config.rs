//! What a mixed model is made of and asked for, as data: `mixed.toml` in its folder.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use jielong_core::{SamplerConfig, Vocab, VocabConfig};
use serde::{Deserialize, Serialize};

use crate::sources::cache::plain_file;
use crate::toml_file;

/// The largest side of pictures.
const MOST_SIDE: usize = 4096;
/// The most ways in which pictures and recordings are changed.
const MOST_VARIANTS: usize = 64;
/// The most pictures of which one is taken.
pub const MOST_CANDIDATES: usize = 1000;

/// A vocabulary and tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixedConfig {
    /// Pixels of the side of pictures, which are square.
    #[serde(default = "side")]
    pub side: usize,
    /// Seconds from the middle of a recording of a data set that are learned; all of it where this is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Kinds of tokens.
    pub vocab: VocabConfig,
    /// What it can be asked.
    #[serde(rename = "task")]
    pub tasks: Vec<TaskConfig>,
}

/// Something to be learned and asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// Its name.
    pub name: String,
    /// A data set, or a folder or file of one's own.
    pub data: String,
    /// How often it is drawn, beside the others.
    #[serde(default = "one")]
    pub weight: f64,
    /// Share of the examples in which the texts of the prompt are left out: what classifier-free guidance needs.
    #[serde(default)]
    pub drop: f64,
    /// In how many ways pictures or recordings that are learned from are changed, besides as they are; all of a subject are in the same
    /// way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variants: usize,
    /// How they are changed: what [`TaskConfig::changes`] reads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub changes: toml::Table,
    /// What is given.
    #[serde(default)]
    pub prompt: Vec<Part>,
    /// What is asked for.
    pub answer: Part,
    /// An answer that was not liked: for preference tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Part>,
    /// How tokens are drawn when it is asked for, unless the user says otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: SamplingConfig,
}

/// How media are changed before they are coded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Changes {
    /// Pictures.
    Picture(jielong_image::train::Changes),
    /// Recordings.
    Sound(jielong_audio::train::Changes),
}

/// How tokens are drawn; what is not given is the distribution of the model itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingConfig {
    /// Logits are divided by this; 0: always the likeliest token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only the so many likeliest tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// How closely the texts of the prompt are followed: 1 is the model itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f32>,
    /// So many pictures are drawn, and one is made of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus: Option<usize>,
    /// Which one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub take: Take,
}

/// Which picture is made of several candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// The one most like the others: sharp, and one that the model drew
    #[default]
    Central,
    /// The mean of all, as the codec says it: nearest to what is right, and soft where they differ
    Mean,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl SamplingConfig {
    /// The sampler's settings.
    pub fn sampler(self) -> SamplerConfig {
        let temperature = self.temperature.unwrap_or(1.0);
        SamplerConfig { temperature, top_k: self.top_k, top_p: self.top_p, ..SamplerConfig::default() }
    }

    fn check(self, vocab: &Vocab) -> Result<()> {
        self.sampler().validate(vocab.size()).context("`sampling`")?;
        let guidance = self.guidance.unwrap_or(1.0);
        ensure!(guidance.is_finite(), "`sampling.guidance` = {guidance}: a number is expected");
        let (candidates, most) = (self.consensus.unwrap_or(1), MOST_CANDIDATES);
        ensure!((1..=most).contains(&candidates), "`sampling.consensus` = {candidates}: from 1 to {most}");
        ensure!(candidates > 1 || is_default(&self.take), "`sampling.take` needs a `sampling.consensus` above 1");
        Ok(())
    }
}

fn one() -> f64 {
    1.0
}

/// What `side` is where a config does not say it.
pub(super) fn side() -> usize {
    128
}

/// A segment of a sequence, in TOML a table of one key: the kind, and what fills it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Part {
    /// The kind.
    pub kind: String,
    /// Of text and symbols: a text in which `{name}` stands for a field of the entry. Of media: `this`, the entry itself, or
    /// `other`, another entry of the same subject.
    pub of: String,
}

impl TryFrom<BTreeMap<String, String>> for Part {
    type Error = String;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, String> {
        let mut entries = map.into_iter();
        match (entries.next(), entries.next()) {
            (Some((kind, of)), None) => Ok(Self { kind, of }),
            _ => {
                Err("a part is a kind and what fills it, such as { text = \"{name}\" } or { image = \"this\" }".into())
            }
        }
    }
}

impl From<Part> for BTreeMap<String, String> {
    fn from(part: Part) -> Self {
        Self::from([(part.kind, part.of)])
    }
}

impl Part {
    /// Text with each `{name}` replaced by what `field` says.
    ///
    /// # Errors
    /// A field that is not known, or a brace without its other half.
    pub fn fill<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> Result<String> {
        let (mut text, mut rest) = (String::new(), self.of.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { bail!("`{}`: a brace is not closed", self.of) };
            text.push_str(before);
            text.push_str(field(name).with_context(|| format!("`{}`: there is no `{name}`", self.of))?);
            rest = after;
        }
        Ok(text + rest)
    }

    /// Names of the fields in its text.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.of.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
    }
}

impl MixedConfig {
    /// Its name in a folder.
    pub const FILE: &'static str = "mixed.toml";

    /// Reads the `mixed.toml` of a folder; `None` if there is none.
    ///
    /// # Errors
    /// The file and what is wrong in it.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(Self::FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let config: Self = toml_file::read(&path)?;
        config.check().with_context(|| path.display().to_string())?;
        Ok(Some(config))
    }

    /// The vocabulary; the tasks fit it.
    ///
    /// # Errors
    /// What is wrong, with its field.
    pub fn check(&self) -> Result<Vocab> {
        let vocab = Vocab::new(self.vocab.clone()).context("vocab")?;
        ensure!((1..=MOST_SIDE).contains(&self.side), "`side` = {}: from 1 to {MOST_SIDE} pixels", self.side);
        let seconds = self.seconds.unwrap_or(1.0);
        ensure!(seconds > 0.0 && seconds.is_finite(), "`seconds` = {seconds}: a number above 0");
        for (at, task) in self.tasks.iter().enumerate() {
            task.check(&vocab).with_context(|| format!("task[{at}] `{}`", task.name))?;
            let twice = self.tasks[..at].iter().any(|other| other.name == task.name);
            ensure!(!twice, "task[{at}] `{}`: there are two of this name", task.name);
        }
        Ok(vocab)
    }

    /// A task by its name.
    ///
    /// # Errors
    /// There is none; those there are.
    pub fn task(&self, name: &str) -> Result<&TaskConfig> {
        let known = || self.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
        let task = self.tasks.iter().find(|task| task.name == name);
        task.with_context(|| format!("this model has not learned to {name}; it has: {}", known()))
    }
}

impl TaskConfig {
    /// All its parts: of the prompt, the answer, the one that was not liked.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.prompt.iter().chain([&self.answer]).chain(&self.rejected)
    }

    /// The kind of its pictures or sounds, if it has any.
    ///
    /// # Errors
    /// It has two.
    pub fn media(&self, vocab: &Vocab) -> Result<Option<usize>> {
        let mut found = None;
        for part in self.parts() {
            let kind = vocab.kind(&part.kind)?;
            if vocab.kinds()[kind].is_media() {
                ensure!(
                    found.is_none_or(|other| other == kind),
                    "an entry has one file: media of one kind, not of two"
                );
                found = Some(kind);
            }
        }
        Ok(found)
    }

    /// How its pictures or recordings are changed.
    ///
    /// # Errors
    /// It has no media; changes that media of its kind do not have, or beyond what can be.
    pub fn changes(&self, vocab: &Vocab) -> Result<Changes> {
        let kind = self.media(vocab)?.context("`changes`: only pictures and recordings are changed")?;
        let table = self.changes.clone();
        Ok(if vocab.kinds()[kind].grid {
            let changes: jielong_image::train::Changes = table.try_into().context("`changes`")?;
            changes.check()?;
            Changes::Picture(changes)
        } else {
            let changes: jielong_audio::train::Changes = table.try_into().context("`changes`")?;
            changes.check()?;
            Changes::Sound(changes)
        })
    }

    fn check(&self, vocab: &Vocab) -> Result<()> {
        ensure!(self.weight.is_finite() && self.weight >= 0.0, "`weight` = {}: a number from 0 on", self.weight);
        ensure!((0.0..=1.0).contains(&self.drop), "`drop` = {}: a share from 0 to 1", self.drop);
        ensure!(self.variants <= MOST_VARIANTS, "`variants` = {}: from 0 to {MOST_VARIANTS}", self.variants);
        ensure!((self.variants == 0) == self.changes.is_empty(), "`variants` and `changes` need each other");
        if self.variants > 0 {
            self.changes(vocab)?;
        }
        self.sampling.check(vocab)?;
        let candidates = self.sampling.consensus.unwrap_or(1);
        let picture = vocab.kinds()[vocab.kind(&self.answer.kind)?].grid;
        ensure!(picture || candidates == 1, "`sampling.consensus`: only pictures are compared");
        ensure!(plain_file(&self.name), "`name` = \"{}\": a plain name, as files have", self.name);
        for part in self.parts() {
            let kind = &vocab.kinds()[vocab.kind(&part.kind)?];
            ensure!(
                !kind.is_media() || ["this", "other"].contains(&part.of.as_str()),
                "`{} = \"{}\"`: `this` or `other` is expected",
                part.kind,
                part.of
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CONFIG: &str = r#"
        [vocab]
        sizes = 8
        kind = [{ name = "text", text = 300 }, { name = "image", books = [20], grid = true }]
        [[task]]
        name = "draw"
        data = "emoji"
        prompt = [{ text = "{name}, {style}" }]
        answer = { image = "this" }
    "#;

    #[test]
    fn parts_are_filled_and_configs_come_back() {
        let config: MixedConfig = toml::from_str(CONFIG).unwrap();
        config.check().unwrap();
        let part = &config.task("draw").unwrap().prompt[0];
        assert_eq!(part.fields().collect::<Vec<_>>(), ["name", "style"]);
        assert_eq!(part.fill(|name| Some(if name == "name" { "cat" } else { "noto" })).unwrap(), "cat, noto");
        assert!(part.fill(|_| None).unwrap_err().to_string().contains("name"));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(MixedConfig::open(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join(MixedConfig::FILE), toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(MixedConfig::open(folder.path()).unwrap(), Some(config));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (good, bad, expected) in [
            ("{ image = \"this\" }", "{ image = \"that\" }", "this"),
            ("{ image = \"this\" }", "{ picture = \"this\" }", "picture"),
            ("{ image = \"this\" }", "{ image = \"this\", text = \"a\" }", "a part is"),
            ("data = \"emoji\"", "data = \"emoji\"\nweight = -1.0", "weight"),
            ("data = \"emoji\"", "data = \"emoji\"\ndrop = 2.0", "drop"),
            ("data = \"emoji\"", "data = \"emoji\"\nvariants = 2", "changes"),
            ("data = \"emoji\"", "data = \"emoji\"\nchanges = { flip = 0.5 }", "variants"),
            ("data = \"emoji\"", "data = \"emoji\"\nvariants = 1000\nchanges = { flip = 0.5 }", "from 0 to 64"),
            ("{ image = \"this\" }", "{ text = \"{name}\" }\nvariants = 2\nchanges = { flip = 0.5 }", "only pictures"),
            ("data = \"emoji\"", "data = \"emoji\"\nsampling = { consensus = 0 }", "from 1 to 1000"),
            ("data = \"emoji\"", "data = \"emoji\"\nsampling = { temperature = -1.0 }", "temperature"),
            ("data = \"emoji\"", "data = \"emoji\"\nsampling = { guidance = inf }", "guidance"),
            ("data = \"emoji\"", "data = \"emoji\"\nvariants = 1\nchanges = { zoom = -1.0 }", "changes.zoom"),
            ("data = \"emoji\"", "data = \"emoji\"\nvariants = 1\nchanges = { speed = 0.1 }", "speed"),
            ("{ image = \"this\" }", "{ text = \"{name}\" }\nsampling = { consensus = 2 }", "only pictures"),
            ("data = \"emoji\"", "data = \"emoji\"\nsampling = { take = \"mean\" }", "consensus"),
            ("name = \"draw\"", "name = \"../draw\"", "plain name"),
            ("sizes = 8", "", "sizes"),
            ("[vocab]", "side = 0\n[vocab]", "side"),
        ] {
            let config: Result<MixedConfig, _> = toml::from_str(&CONFIG.replace(good, bad));
            let error = match config {
                Ok(config) => format!("{:#}", config.check().unwrap_err()),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
