//! `jielong eval`: how good a mixed model is, on what was held out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use indicatif::ProgressBar;
use jielong::data::Split;
use jielong::mixed::{Ask, Entry, Example, File, Material, Mixed, MixedConfig, Ngram, TaskConfig};
use jielong_core::{Model, Segment, Token};
use jielong_image::picture::{Filter, Picture};
use jielong_image::train::{compare, grid, whole};
use serde::Serialize;
use serde_json::{Value, json};

use super::image::open;
use super::recipes::MixedArgs;
use super::{Global, files, interrupt, output, progress};

/// Pixels of the side of pictures.
const SIDE: usize = 128;
/// Pixels of the side at which the nearest picture is looked for.
const SMALL: usize = 32;
/// Columns of a sheet.
const COLUMNS: usize = 16;
/// Tokens of the n-grams that sounds are compared with.
const NGRAMS: [usize; 3] = [1, 3, 5];
/// Answers of which one may be right.
const TOP: u64 = 5;

/// Score a mixed model on held-out subjects, task by task
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  jielong eval restyle\n  jielong eval restyle --limit 32 --sheet docs/restyle.png\n  \
    jielong eval describe -m runs/mini/model --json\n\n\
    Pictures: PSNR and SSIM against the held-out picture, beside what knows less (the input itself, a training picture) and the\n\
    codec's own round trip, which is the most that codes can say. Texts: letter for letter, the first that is drawn and any of five."
)]
pub struct Args {
    /// A task of the model, by its name in configs/train/mini.toml
    task: String,
    #[command(flatten)]
    model: MixedArgs,
    /// The most held-out examples, spread over all
    #[arg(long, value_name = "N", default_value_t = 128)]
    limit: usize,
    /// A sheet of all of them, a PNG file: what is given, what the model draws, what was held out
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

/// Two entries of one subject: what is given, and what is asked for.
#[derive(Clone, Copy)]
struct Case<'a> {
    other: &'a Entry,
    this: &'a Entry,
}

/// Means over all cases.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Score {
    psnr: f64,
    ssim: f64,
}

/// Ways to answer, by name, and their scores.
struct Ways(Vec<(&'static str, Score)>);

pub fn run(args: Args, global: &Global) -> Result<()> {
    let mixed = args.model.open(global)?;
    let task = mixed.config.task(&args.task)?;
    ensure!(args.limit > 0, "--limit 0: at least one example is needed");
    let answer = mixed.codecs().file(mixed.vocab.kind(&task.answer.kind)?);
    if answer == File::Sound {
        return sounds(&mixed, task, &args, global);
    }
    let media = mixed.media_of(task)?;
    let entries =
        Entry::all(&task.data, media.map_or(File::Record, |kind| mixed.codecs().file(kind)), &global.sources)?;
    let cases = cases(task, &entries, args.limit);
    ensure!(!cases.is_empty(), "{} has no held-out example", task.data);
    let bar = progress::counted(global, cases.len(), "examples");
    let job = Job { args: &args, mixed: &mixed, task, entries: &entries, bar };
    let mut out = output::Output::new();
    if answer == File::Picture { job.pictures(&cases, &mut out) } else { job.texts(&cases, media, &mut out) }
}

/// How well the tokens of held-out sounds are predicted, in nats: by the model, and by n-grams.
fn sounds(mixed: &Mixed, task: &TaskConfig, args: &Args, global: &Global) -> Result<()> {
    let config = MixedConfig { vocab: mixed.config.vocab.clone(), tasks: vec![task.clone()] };
    let mut coding = None;
    let material = Material::gather(&config, &mixed.vocab, mixed.codecs(), &global.sources, &mut |_, done, count| {
        if let Some(bar) = coding.get_or_insert_with(|| progress::counted(global, count, "coded")) {
            bar.set_position(done as u64);
        }
        !interrupt::flag().load(Ordering::Relaxed)
    })?;
    if let Some(bar) = coding.flatten() {
        bar.finish_and_clear();
    }
    let corpus = material.corpus(mixed.pipeline.tokenizer()?, mixed.pipeline.model.context(), args.limit)?;
    let whole =
        |example: &Example| -> Vec<Token> { example.prompt.tokens.iter().chain(&example.answer).copied().collect() };
    let learned: Vec<Vec<u32>> = corpus.learned().map(|e| whole(e).iter().map(|token| token.0).collect()).collect();
    let ngrams: Vec<Ngram> = NGRAMS.iter().map(|n| Ngram::new(learned.iter().map(Vec::as_slice), n - 1)).collect();
    let bar = progress::counted(global, corpus.held_out().len(), "sounds");
    let (mut sums, mut count) = (vec![0.0; 1 + NGRAMS.len()], 0);
    for example in corpus.held_out() {
        ensure!(!interrupt::flag().load(Ordering::Relaxed), "stopped");
        let (tokens, given) = (whole(example), example.prompt.tokens.len());
        let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
        for (at, (loss, possible)) in mixed.losses(&tokens, given)?.into_iter().enumerate() {
            let at = given + at;
            count += 1;
            sums[0] += loss;
            for (sum, ngram) in sums[1..].iter_mut().zip(&ngrams) {
                *sum -= ngram.probability(&ids[..at], ids[at], possible).ln();
            }
        }
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    ensure!(count > 0, "{} has no held-out example", task.data);
    let perplexity: Vec<f64> = sums.iter().map(|sum| (sum / f64::from(count)).exp()).collect();
    let names = std::iter::once("the model".to_owned()).chain(NGRAMS.iter().map(|n| format!("{n}-grams")));
    let rows: Vec<(String, f64)> = names.zip(perplexity).collect();
    let mut out = output::Output::new();
    if args.model.json {
        let ways: Vec<Value> = rows.iter().map(|(way, value)| json!({ "way": way, "perplexity": value })).collect();
        return out.json(&json!({ "examples": corpus.held_out().len(), "tokens": count, "ways": ways }));
    }
    let head = format!("{} held-out sounds, {count} tokens", corpus.held_out().len());
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(way, value)| vec![way, format!("{value:.1}")]).collect();
    out.table(&[&head, "perplexity of a token"], &rows)
}

/// Held-out cases, spread over all.
fn cases<'a>(task: &TaskConfig, entries: &'a [Entry], limit: usize) -> Vec<Case<'a>> {
    let held_out = entries.iter().filter(|entry| entry.split == Split::HeldOut);
    let mut all: Vec<Case> = Vec::new();
    if task.parts().any(|part| part.of == "other") {
        let mut subjects: HashMap<&str, Vec<&Entry>> = HashMap::new();
        held_out.clone().for_each(|entry| subjects.entry(&entry.subject).or_default().push(entry));
        for this in held_out {
            let others = subjects[this.subject.as_str()].iter().filter(|other| other.file != this.file);
            all.extend(others.map(|other| Case { other, this }));
        }
    } else {
        all.extend(held_out.map(|this| Case { other: this, this }));
    }
    let count = limit.min(all.len());
    (0..count).map(|index| all[index * all.len() / count]).collect()
}

fn picture(entry: &Entry) -> Result<Picture> {
    let path = entry.file.as_deref().context("an entry without a picture")?;
    open(path, Some(SIDE))
}

/// A model on its way through the cases.
struct Job<'a> {
    args: &'a Args,
    mixed: &'a Mixed,
    task: &'a TaskConfig,
    entries: &'a [Entry],
    bar: Option<ProgressBar>,
}

impl Job<'_> {
    fn step(&self) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        ensure!(!interrupt::flag().load(Ordering::Relaxed), "stopped");
        Ok(())
    }

    /// The answer to a case: drawn as the task says, with a seed that is the number of the case.
    fn answer(&self, case: Case, given: Option<&Segment>, begun: &[u32], seed: u64) -> Result<Segment> {
        let field = |name: &str| case.this.fields.get(name).map(String::as_str);
        let (prompt, kind) = self.mixed.prompt(self.task, field, given)?;
        let sampling = self.args.model.sampling(self.task);
        let picture = self.mixed.codecs().file(kind) == File::Picture;
        let grid = if picture { self.mixed.picture_grid(kind, SIDE)? } else { Vec::new() };
        let ask = Ask {
            prompt: &prompt,
            kind,
            grid,
            begun: begun.to_vec(),
            guidance: sampling.guidance.unwrap_or(1.0),
            max_new_tokens: SIDE * SIDE,
            sampling: sampling.sampler(Some(seed)),
            cancel: None,
        };
        Ok(self.mixed.answer(&ask, &mut |_| {})?.segment)
    }

    fn pictures(&self, cases: &[Case], out: &mut output::Output) -> Result<()> {
        let (given_other, begun_half) =
            (self.task.prompt.iter().any(|part| part.of == "other"), self.task.prompt.is_empty());
        let kind = self.mixed.kind_of(File::Picture)?;
        let nearest = Nearest::new(self.entries, if given_other { cases } else { &[] })?;
        let names: &[&'static str] = match (given_other, begun_half) {
            (true, _) => &["the model", "the input", "the nearest training pair", "the codec's round trip"],
            (_, true) => &["the model", "the upper half, mirrored", "the codec's round trip"],
            _ => &["the model", "the training name most alike", "the codec's round trip"],
        };
        let (mut sums, mut stacks) = (vec![Score::default(); names.len()], Vec::new());
        for (case, seed) in cases.iter().zip(0..) {
            self.step()?;
            let (this, other) = (picture(case.this)?, picture(case.other)?);
            let given = self.mixed.of_picture(kind, &other)?;
            let coded = self.mixed.of_picture(kind, &this)?;
            let frame = self.mixed.vocab.kinds()[kind].frame();
            let half = if begun_half { coded.grid[0] / 2 * coded.grid[1] * frame } else { 0 };
            let drawn = self.mixed.picture(&self.answer(*case, Some(&given), &coded.values[..half], seed)?)?;
            let round_trip = self.mixed.picture(&coded)?;
            let ways = match (given_other, begun_half) {
                (true, _) => vec![drawn.clone(), other.clone(), nearest.pair(*case)?, round_trip],
                (_, true) => vec![drawn.clone(), mirrored(&this)?, round_trip],
                _ => vec![drawn.clone(), alike(self.entries, case.this)?, round_trip],
            };
            let scored = |picture: &Picture| -> Result<Picture> {
                // What was given is not scored.
                if begun_half { Ok(picture.crop(0, SIDE / 2, SIDE, SIDE - SIDE / 2)?) } else { Ok(picture.clone()) }
            };
            let truth = scored(&this)?;
            for (sum, way) in sums.iter_mut().zip(&ways) {
                let [psnr, ssim] = compare(&truth, &scored(way)?)?;
                *sum = Score { psnr: sum.psnr + psnr, ssim: sum.ssim + ssim };
            }
            if self.args.sheet.is_some() {
                let first = if given_other { other } else { ways[1].clone() };
                stacks.push(vec![first, drawn, this]);
            }
        }
        let count = cases.len() as f64;
        let mean = |sum: &Score| Score { psnr: sum.psnr / count, ssim: sum.ssim / count };
        let ways = Ways(names.iter().copied().zip(sums.iter().map(mean)).collect());
        if let Some(path) = &self.args.sheet {
            let sheet = grid(&stacks, COLUMNS).context("no example")?;
            files::write(path, &sheet.to_png()?).context("--sheet")?;
        }
        self.finish();
        ways.print(cases.len(), self.args.model.json, out)
    }

    fn texts(&self, cases: &[Case], media: Option<usize>, out: &mut output::Output) -> Result<()> {
        let sequences = self.mixed.sequences()?;
        let (mut first, mut any, mut rows) = (0, 0, Vec::new());
        for case in cases {
            self.step()?;
            let given = media.zip(case.this.file.as_deref()).map(|(kind, path)| self.mixed.of_file(kind, path));
            let given = given.transpose()?;
            let right = self.task.answer.fill(|name| case.this.fields.get(name).map(String::as_str))?;
            let mut said = Vec::new();
            for seed in 0..TOP {
                said.push(sequences.text_of(&self.answer(*case, given.as_ref(), &[], seed)?)?);
            }
            first += usize::from(said.first() == Some(&right));
            any += usize::from(said.contains(&right));
            rows.push(json!({ "right": right, "said": said }));
        }
        self.finish();
        let share = |count: usize| count as f64 / cases.len() as f64;
        if self.args.model.json {
            return out.json(&json!({
                "examples": cases.len(), "first": share(first), "any_of": TOP, "any": share(any), "answers": rows,
            }));
        }
        let percent = |count: usize| format!("{:.1} %", 100.0 * share(count));
        let any_of = format!("any of {TOP} that are drawn");
        out.table(
            &[&format!("{} held-out examples", cases.len()), "exactly right"],
            &[vec!["the first that is drawn".into(), percent(first)], vec![any_of, percent(any)]],
        )
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Ways {
    fn print(&self, count: usize, json: bool, out: &mut output::Output) -> Result<()> {
        let (Some((_, model)), Some((_, most))) = (self.0.first(), self.0.last()) else { bail!("nothing to compare") };
        // Of what lies between the best that knows less and the most that codes can say.
        let least = &self.0[1..self.0.len() - 1];
        let best = |of: fn(&Score) -> f64| least.iter().map(|(_, score)| of(score)).fold(f64::NEG_INFINITY, f64::max);
        let closed = |of: fn(&Score) -> f64| (of(model) - best(of)) / (of(most) - best(of));
        let [psnr, ssim] = [closed(|score| score.psnr), closed(|score| score.ssim)];
        if json {
            let ways: Vec<Value> = self.0.iter().map(|(name, score)| json!({ "way": name, "score": score })).collect();
            return out.json(&json!({ "examples": count, "ways": ways, "gap_closed": { "psnr": psnr, "ssim": ssim } }));
        }
        let row = |(name, score): &(&'static str, Score)| {
            vec![(*name).to_owned(), format!("{:.2} dB", score.psnr), format!("{:.4}", score.ssim)]
        };
        let mut rows: Vec<Vec<String>> = self.0.iter().map(row).collect();
        rows.push(vec![
            "of the gap, closed".into(),
            format!("{:.0} %", 100.0 * psnr),
            format!("{:.0} %", 100.0 * ssim),
        ]);
        out.table(&[&format!("{count} held-out examples"), "PSNR", "SSIM"], &rows)
    }
}

/// The upper half, and below it its mirror image.
fn mirrored(picture: &Picture) -> Result<Picture> {
    let mut copy = picture.clone();
    let row = 3 * picture.width;
    for y in picture.height / 2..picture.height {
        let from = (picture.height - 1 - y) * row;
        copy.rgb[y * row..(y + 1) * row].copy_from_slice(&picture.rgb[from..from + row]);
    }
    Ok(copy)
}

/// The training picture of this style whose name shares most words, by the share of all words of both.
fn alike(entries: &[Entry], entry: &Entry) -> Result<Picture> {
    let words = |entry: &Entry| -> Vec<String> {
        let name = entry.fields.get("name").map(String::as_str).unwrap_or_default().to_lowercase();
        name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let own = words(entry);
    let share = |other: &Entry| {
        let other = words(other);
        let common = own.iter().filter(|word| other.contains(word)).count();
        common as f64 / (own.len() + other.len() - common).max(1) as f64
    };
    let train = entries
        .iter()
        .filter(|other| other.split == Split::Train && other.fields.get("style") == entry.fields.get("style"));
    picture(train.max_by(|a, b| share(a).total_cmp(&share(b))).context("no training picture of this style")?)
}

/// Training pictures, small, by style.
struct Nearest<'a> {
    entries: &'a [Entry],
    small: HashMap<&'a Path, Vec<u8>>,
}

impl<'a> Nearest<'a> {
    /// Of the styles that the cases give.
    fn new(entries: &'a [Entry], cases: &[Case]) -> Result<Self> {
        let styles: Vec<_> = cases.iter().map(|case| case.other.fields.get("style")).collect();
        let wanted = entries.iter().filter(|e| e.split == Split::Train && styles.contains(&e.fields.get("style")));
        let small = wanted
            .filter_map(|entry| Some((entry.file.as_deref()?, entry)))
            .map(|(path, entry)| Ok((path, small(&picture(entry)?)?)));
        Ok(Self { entries, small: small.collect::<Result<_>>()? })
    }

    /// The training picture in the style that is asked for, of the subject whose picture in the given style is nearest to what is
    /// given.
    fn pair(&self, case: Case) -> Result<Picture> {
        let style = |entry: &Entry| entry.fields.get("style").cloned();
        let (from, to) = (style(case.other), style(case.this));
        let train = || self.entries.iter().filter(|entry| entry.split == Split::Train);
        let answers: HashMap<&str, &Entry> =
            train().filter(|entry| style(entry) == to).map(|entry| (entry.subject.as_str(), entry)).collect();
        let given = small(&picture(case.other)?)?;
        let distance = |entry: &Entry| -> Option<u64> {
            let other = self.small.get(entry.file.as_deref()?)?;
            Some(given.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum())
        };
        let known = train().filter(|entry| style(entry) == from && answers.contains_key(entry.subject.as_str()));
        let nearest = known.filter_map(|entry| Some((distance(entry)?, entry))).min_by_key(|(distance, _)| *distance);
        let (_, nearest) = nearest.context("no training pair of these styles")?;
        picture(answers[nearest.subject.as_str()])
    }
}

fn small(picture: &Picture) -> Result<Vec<u8>> {
    Ok(whole(picture, SIDE)?.resize(SMALL, SMALL, Filter::Area)?.rgb)
}
