//! Examples of all tasks, packed into rows.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use jielong_core::{Segment, Token};
use jielong_llama::train::{Pair, Row, Rows};
use jielong_nn::train::{Random, TaskError};
use jielong_text::Tokenizer;

use super::{Entry, Example, File, Media, MixedConfig, Part, Sequences, TaskConfig};
use crate::data::Split;
use crate::sources::SourceOptions;

/// How often a row is tried to be filled with another example that may be shorter.
const TRIES: usize = 8;

/// Entries of the tasks, with the codes of their media.
pub struct Material<'a> {
    config: &'a MixedConfig,
    media: &'a Media,
    tasks: Vec<Rc<Coded>>,
}

/// Entries, and the segment of each if they are media.
#[derive(Debug)]
struct Coded {
    entries: Vec<Entry>,
    segments: Vec<Segment>,
}

/// What a model learns from: rows of examples, drawn by the weights of the tasks.
#[derive(Debug)]
pub struct Corpus {
    tasks: Vec<Examples>,
    /// Weights of the tasks so far.
    reach: Vec<f64>,
    held_out: Vec<Example>,
    kinds: Vec<(String, Range<u32>)>,
}

/// Examples of one task.
#[derive(Debug)]
struct Examples {
    name: String,
    drop: f64,
    learned: Vec<Example>,
    held_out: usize,
    left_out: usize,
}

impl<'a> Material<'a> {
    /// Opens all data, and codes what is media. `tell` is told of what, how many are done and of how many, and stops it by `false`.
    ///
    /// # Errors
    /// Data that is not there; files that cannot be coded; an interruption, after which what was done is kept.
    pub fn gather(
        config: &'a MixedConfig,
        media: &'a Media,
        sources: &SourceOptions,
        tell: &mut dyn FnMut(&str, usize, usize) -> bool,
    ) -> Result<Self> {
        let mut known: HashMap<(&str, Option<usize>), Rc<Coded>> = HashMap::new();
        let mut tasks = Vec::new();
        for task in &config.tasks {
            let kind = task.media(&media.vocab).with_context(|| format!("task `{}`", task.name))?;
            let key = (task.data.as_str(), kind);
            let coded = match known.get(&key) {
                Some(coded) => Rc::clone(coded),
                None => {
                    let file = kind.map_or(File::Record, |kind| media.file(kind));
                    let entries = Entry::all(&task.data, file, sources)?;
                    let mut segments = Vec::new();
                    if let Some(kind) = kind {
                        let files: Vec<PathBuf> = entries.iter().filter_map(|entry| entry.file.clone()).collect();
                        let mut told = |done| tell(&task.data, done, files.len());
                        segments = media.of_files(kind, &files, &sources.cache, &mut told)?;
                    }
                    Rc::new(Coded { entries, segments })
                }
            };
            known.insert(key, Rc::clone(&coded));
            tasks.push(coded);
        }
        Ok(Self { config, media, tasks })
    }

    /// All texts that may be learned from: what a tokenizer learns from.
    ///
    /// # Errors
    /// A part that names a field which entries do not have.
    pub fn texts(&self) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        let kind = &self.media.vocab.kinds()[0];
        for (task, coded) in self.config.tasks.iter().zip(&self.tasks) {
            for part in task.parts().filter(|part| kind.text && part.kind == kind.name) {
                for entry in coded.entries.iter().filter(|entry| entry.split == Split::Train) {
                    texts.push(part.fill(|name| entry.fields.get(name).map(String::as_str))?);
                }
            }
        }
        Ok(texts)
    }

    /// All examples of at most `length` tokens; of each task up to `scored` that are held out, spread over all.
    ///
    /// # Errors
    /// A part that names a field which entries do not have; a task without examples.
    pub fn corpus(&self, tokenizer: &Tokenizer, length: usize, scored: usize) -> Result<Corpus> {
        let sequences = Sequences { vocab: &self.media.vocab, tokenizer };
        let (mut tasks, mut held_out, mut reach) = (Vec::new(), Vec::new(), Vec::new());
        for (task, coded) in self.config.tasks.iter().zip(&self.tasks) {
            let about = || format!("task `{}`", task.name);
            let mut found =
                Examples { name: task.name.clone(), drop: task.drop, learned: vec![], held_out: 0, left_out: 0 };
            let mut scores = Vec::new();
            for (split, example) in coded.examples(task, &sequences).with_context(about)? {
                match (example.len() <= length, split) {
                    (false, _) => found.left_out += 1,
                    (true, Split::Train) => found.learned.push(example),
                    (true, Split::HeldOut) => scores.push(example),
                }
            }
            if found.learned.is_empty() {
                bail!("task `{}`: no example fits a row of {length} tokens; {} are longer", task.name, found.left_out);
            }
            let step = scores.len().div_ceil(scored.max(1)).max(1);
            held_out.extend(scores.into_iter().step_by(step));
            found.held_out = held_out.len() - tasks.iter().map(|task: &Examples| task.held_out).sum::<usize>();
            reach.push(reach.last().copied().unwrap_or(0.0) + task.weight);
            tasks.push(found);
        }
        ensure!(reach.last().is_some_and(|sum| *sum > 0.0), "no task has a `weight` above 0");
        let span = |kind: &jielong_core::Kind| {
            let (first, last) = (kind.books.first(), kind.books.last());
            first.zip(last).map(|(first, last)| (kind.name.clone(), first.start..last.end))
        };
        Ok(Corpus { tasks, reach, held_out, kinds: self.media.vocab.kinds().iter().filter_map(span).collect() })
    }
}

impl Coded {
    /// The examples of a task: one of each entry, or of each pair of entries of one subject if the task has an `other`.
    fn examples(&self, task: &TaskConfig, sequences: &Sequences) -> Result<Vec<(Split, Example)>> {
        let paired = task.parts().any(|part| part.of == "other");
        let mut subjects: HashMap<&str, Vec<usize>> = HashMap::new();
        if paired {
            self.entries.iter().enumerate().for_each(|(at, e)| subjects.entry(&e.subject).or_default().push(at));
        }
        let mut examples = Vec::new();
        for (this, entry) in self.entries.iter().enumerate() {
            let others = match paired {
                true => subjects[entry.subject.as_str()].iter().copied().filter(|&other| other != this).collect(),
                false => vec![this],
            };
            for other in others {
                let segment = |part: &Part| {
                    let kind = sequences.vocab.kind(&part.kind)?;
                    match self.segments.get(if part.of == "other" { other } else { this }) {
                        Some(segment) if segment.kind == kind => Ok(segment.clone()),
                        _ => sequences.text(kind, &part.fill(|name| entry.fields.get(name).map(String::as_str))?),
                    }
                };
                let prompt = task.prompt.iter().map(segment).collect::<Result<Vec<Segment>>>()?;
                let answer = segment(&task.answer)?;
                let rejected = task.rejected.as_ref().map(segment).transpose()?;
                if prompt.iter().chain([&answer]).chain(&rejected).any(|part| part.values.is_empty()) {
                    continue; // an entry without words
                }
                examples.push((entry.split, sequences.example(&prompt, &answer, rejected.as_ref())?));
            }
        }
        Ok(examples)
    }
}

impl Corpus {
    /// What there is, task by task, in words.
    pub fn summary(&self) -> String {
        let task = |task: &Examples| {
            let long = if task.left_out > 0 { format!(", {} too long", task.left_out) } else { String::new() };
            format!("{} {}+{}{long}", task.name, task.learned.len(), task.held_out)
        };
        format!("examples to learn from + held out: {}", self.tasks.iter().map(task).collect::<Vec<_>>().join("; "))
    }

    /// Pairs of answers, to learn from and held out; examples without another answer are left out.
    pub fn pairs(&self) -> [Vec<Pair>; 2] {
        let pair = |example: &Example| {
            let row = |answer: &[Token]| {
                let mut row = Row::default();
                push(&mut row, &[&example.prompt.tokens, answer].concat(), example.prompt.tokens.len());
                row
            };
            Some(Pair { chosen: row(&example.answer), rejected: row(example.rejected.as_ref()?) })
        };
        [self.learned().filter_map(pair).collect(), self.held_out.iter().filter_map(pair).collect()]
    }

    /// All examples that are learned from.
    pub fn learned(&self) -> impl Iterator<Item = &Example> {
        self.tasks.iter().flat_map(|task| &task.learned)
    }

    /// The examples that are scored.
    pub fn held_out(&self) -> &[Example] {
        &self.held_out
    }

    /// An example by the weights of the tasks, with or without its texts.
    fn draw(&self, random: &mut Random) -> (Vec<Token>, usize) {
        let at = random.between(0.0, self.reach.last().copied().unwrap_or(0.0));
        let task = self.reach.iter().position(|reach| at < *reach).unwrap_or(0);
        let Examples { learned, drop, .. } = &self.tasks[task];
        let example = &learned[random.below(learned.len())];
        let dropped = random.unit() < *drop;
        let mut tokens = if dropped { example.prompt.without_texts() } else { example.prompt.tokens.clone() };
        let prompt = tokens.len();
        tokens.extend(&example.answer);
        (tokens, prompt)
    }
}

/// Adds a sequence of which what follows the prompt counts.
fn push(row: &mut Row, tokens: &[Token], prompt: usize) {
    let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
    let weights: Vec<f32> = (0..tokens.len()).map(|at| if at < prompt { 0.0 } else { 1.0 }).collect();
    row.push(&ids, &weights);
}

impl Rows for Corpus {
    fn items(&self) -> usize {
        self.tasks.iter().map(|task| task.learned.len()).sum()
    }

    fn row(&self, seed: u64, index: usize, length: usize) -> Result<Row, TaskError> {
        let mut random = Random::at(&[seed, index as u64]);
        let mut row = Row::default();
        let mut tries = 0;
        while tries < TRIES {
            let (tokens, prompt) = self.draw(&mut random);
            match row.tokens.len() + tokens.len() <= length {
                true => push(&mut row, &tokens, prompt),
                false => tries += 1,
            }
        }
        Ok(row)
    }

    fn held_out(&self, length: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for example in &self.held_out {
            if rows.last().is_none_or(|row| row.tokens.len() + example.len() > length) {
                rows.push(Row::default());
            }
            if let Some(row) = rows.last_mut() {
                push(row, &example.tokens(), example.prompt.tokens.len());
            }
        }
        rows
    }

    fn kinds(&self) -> &[(String, Range<u32>)] {
        &self.kinds
    }
}
