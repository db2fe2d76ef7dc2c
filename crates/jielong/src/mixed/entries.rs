//! What a task learns from: entries of a data set, whatever they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::data::{Pictures, Sounds, Split, split};
use crate::sources::SourceOptions;

/// Share of the records of a file that is held out.
const HELD_OUT: f64 = 0.125;

/// Something to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the parts of a task may name: of a picture `name` and `style`; of a recording `text`, `voice` and `language`; of a record
    /// its own fields.
    pub fields: BTreeMap<String, String>,
    /// Entries of one subject are the `other` of each other.
    pub subject: String,
    /// The picture or recording.
    pub file: Option<PathBuf>,
    /// What it may be used for.
    pub split: Split,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// Pictures.
    Picture,
    /// Recordings.
    Sound,
    /// Records of text: a `.jsonl` file, an object of strings on each line; or a FASTA file, with the fields `id` and `sequence`.
    Record,
}

impl File {
    /// Its name in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Picture => "pictures",
            Self::Sound => "sounds",
            Self::Record => "text",
        }
    }
}

impl Entry {
    /// All entries of a data set by its name, or of a folder or file, in an order that stays the same.
    ///
    /// # Errors
    /// As [`Pictures::open`] and [`Sounds::open`]; a file of records with what is wrong, by line.
    pub fn all(data: &str, file: File, options: &SourceOptions) -> Result<Vec<Self>> {
        match file {
            File::Picture => Ok(Pictures::open(data, options)?.entries.into_iter().map(Self::picture).collect()),
            File::Sound => Ok(Sounds::open(data, options)?.entries.into_iter().map(Self::sound).collect()),
            File::Record => records(Path::new(data)),
        }
    }

    fn picture(entry: crate::data::Entry) -> Self {
        let fields = [("name", entry.text), ("style", entry.style)];
        Self { fields: named(fields), subject: entry.subject, file: Some(entry.path), split: entry.split }
    }

    fn sound(entry: crate::data::Recording) -> Self {
        let fields = [("text", entry.text), ("voice", entry.voice), ("language", entry.language)];
        Self { fields: named(fields), subject: entry.prompt, file: Some(entry.path), split: entry.split }
    }

    fn record(fields: BTreeMap<String, String>) -> Self {
        let subject = fields.values().cloned().collect::<Vec<_>>().join("\n");
        Self { split: split(&subject, HELD_OUT), fields, subject, file: None }
    }
}

fn named<const N: usize>(fields: [(&str, String); N]) -> BTreeMap<String, String> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn records(path: &Path) -> Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let records = if text.starts_with(['>', ';']) { fasta(&text) } else { lines(&text) };
    let entries = records.with_context(|| path.display().to_string())?;
    ensure!(!entries.is_empty(), "{}: there is no record", path.display());
    Ok(entries.into_iter().map(Entry::record).collect())
}

/// JSON lines.
fn lines(text: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let record = |(at, line): (usize, &str)| -> Result<BTreeMap<String, String>> {
        let at = at + 1;
        let object: BTreeMap<String, Value> = serde_json::from_str(line).with_context(|| format!("line {at}"))?;
        let field = |(name, value): (String, Value)| match value {
            Value::String(value) => Ok((name, value)),
            other => bail!("line {at}: `{name}` is {other}, a string is expected"),
        };
        object.into_iter().map(field).collect()
    };
    lines.map(record).collect()
}

/// FASTA (Pearson & Lipman 1988): a line with `>` and an id before each sequence, which may take several lines.
fn fasta(text: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let mut records: Vec<[String; 2]> = Vec::new();
    for (at, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.starts_with(';')) {
        match (line.strip_prefix('>'), records.last_mut()) {
            (Some(id), _) => records.push([id.split_whitespace().next().unwrap_or_default().into(), String::new()]),
            (None, Some([_, sequence])) => sequence.push_str(line.trim_end_matches('*')),
            (None, None) if line.is_empty() => {}
            (None, None) => bail!("line {}: a sequence before the first `>`", at + 1),
        }
    }
    Ok(records.into_iter().map(|[id, sequence]| named([("id", id), ("sequence", sequence)])).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(content: &str) -> Result<Vec<Entry>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, content).unwrap();
        records(&path)
    }

    #[test]
    fn records_are_lines_of_json_or_fasta() {
        let entries = of("{\"q\": \"1+1\", \"a\": \"2\"}\n\n{\"q\": \"x\", \"a\": \"\"}\n").unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].fields, named([("a", "2".into()), ("q", "1+1".into())]));
        let entries = of("; a remark\n>one first\nMKV\nLA*\n\n>two\nGG\n").unwrap();
        let found: Vec<[&str; 2]> = entries.iter().map(|e| [&*e.fields["id"], &*e.fields["sequence"]]).collect();
        assert_eq!(found, [["one", "MKVLA"], ["two", "GG"]]);
    }

    #[test]
    fn what_is_wrong_is_named_by_line() {
        for (content, expected) in [
            ("", "no record"),
            ("{\"a\": 1}", "line 1: `a` is 1"),
            ("{\"a\": \"b\"}\nnot", "line 2"),
            ("; only\nMKV\n", "line 2"),
        ] {
            let error = format!("{:#}", of(content).unwrap_err());
            assert!(error.contains(expected), "{content:?}: {error}");
        }
    }
}
