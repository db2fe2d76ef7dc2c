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

use super::codes::View;
use super::{Entry, Example, File, Media, MixedConfig, Part, Sequences, TaskConfig};
use crate::data::{Split, number};
use crate::sources::SourceOptions;

/// How often a row is tried to be filled with another example that may be shorter.
const TRIES: usize = 8;

/// Entries of the tasks, with the codes of their media.
pub struct Material<'a> {
    config: &'a MixedConfig,
    media: &'a Media,
    tasks: Vec<Rc<Coded>>,
}

/// Entries, and if they are media the segment of each: as it is, then changed at random in several ways, only what is learned from.
#[derive(Debug)]
struct Coded {
    entries: Vec<Entry>,
    views: Vec<Vec<Option<Segment>>>,
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
        let mut tasks: Vec<Rc<Coded>> = Vec::new();
        for (at, task) in config.tasks.iter().enumerate() {
            let about = || format!("task `{}`", task.name);
            let kind = task.media(&media.vocab).with_context(about)?;
            let key = |task: &'a TaskConfig| (&task.data, task.media(&media.vocab).ok(), task.variants, &task.changes);
            let coded = match config.tasks[..at].iter().position(|other| key(other) == key(task)) {
                Some(same) => Rc::clone(&tasks[same]),
                None => Rc::new(Coded::of(task, kind, media, sources, tell)?),
            };
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
    /// The entries of a task, with the codes of what is media of this kind.
    fn of(
        task: &TaskConfig,
        kind: Option<usize>,
        media: &Media,
        sources: &SourceOptions,
        tell: &mut dyn FnMut(&str, usize, usize) -> bool,
    ) -> Result<Self> {
        let entries = Entry::all(&task.data, kind.map_or(File::Record, |kind| media.file(kind)), sources)?;
        let Some(kind) = kind else { return Ok(Self { entries, views: vec![Vec::new()] }) };
        let files = |entries: &[&Entry]| -> Vec<PathBuf> { entries.iter().filter_map(|e| e.file.clone()).collect() };
        let changes = task.changes(&media.vocab)?;
        let mut views = Vec::new();
        for variant in 0..=task.variants {
            let used: Vec<bool> = entries.iter().map(|entry| variant == 0 || entry.split == Split::Train).collect();
            let seen: Vec<&Entry> =
                entries.iter().zip(&used).filter_map(|(entry, used)| used.then_some(entry)).collect();
            let seed = |entry: &&Entry| Random::at(&[variant as u64, number(&entry.subject)]).bits();
            let view = View { changes: &changes, seeds: seen.iter().map(seed).collect() };
            let (files, view) = (files(&seen), (variant > 0).then_some(&view));
            let mut told = |done| tell(&task.data, variant * entries.len() + done, (1 + task.variants) * entries.len());
            let mut segments = media.of_files(kind, (&files, view), &sources.cache, &mut told)?.into_iter();
            views.push(used.into_iter().map(|used| if used { segments.next() } else { None }).collect());
        }
        Ok(Self { entries, views })
    }

    /// The examples of a task: in each view one of each entry, or of each pair of entries of one subject if the task has an `other`.
    fn examples(&self, task: &TaskConfig, sequences: &Sequences) -> Result<Vec<(Split, Example)>> {
        let paired = task.parts().any(|part| part.of == "other");
        let mut subjects: HashMap<&str, Vec<usize>> = HashMap::new();
        if paired {
            self.entries.iter().enumerate().for_each(|(at, e)| subjects.entry(&e.subject).or_default().push(at));
        }
        let mut examples = Vec::new();
        for (view, (this, entry)) in
            self.views.iter().flat_map(|view| self.entries.iter().enumerate().map(move |e| (view, e)))
        {
            if view.get(this).is_some_and(Option::is_none) {
                continue; // held out: it is not changed
            }
            let others = match paired {
                true => subjects[entry.subject.as_str()].iter().copied().filter(|&other| other != this).collect(),
                false => vec![this],
            };
            for other in others {
                let segment = |part: &Part| {
                    let kind = sequences.vocab.kind(&part.kind)?;
                    match view.get(if part.of == "other" { other } else { this }).and_then(Option::as_ref) {
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

    /// The examples that are scored, task by task.
    pub fn held_out_by_task(&self) -> impl Iterator<Item = &[Example]> {
        let mut rest = self.held_out();
        self.tasks.iter().map(move |task| {
            let (first, others) = rest.split_at(task.held_out);
            rest = others;
            first
        })
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
