//! Pictures: PSNR and SSIM beside what knows less, and beside what codes can say.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jielong::data::Split;
use jielong::mixed::{Entry, File, TaskConfig};
use jielong_image::picture::{Filter, Picture};
use jielong_image::train::{compare, grid};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::{files, image, output};
use super::{Case, Job};

/// Pixels of the side at which the nearest picture is looked for.
const SMALL: usize = 32;
/// Columns of a sheet.
const COLUMNS: usize = 16;

/// Means over all cases.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Score {
    psnr: f64,
    ssim: f64,
}

/// What a task gives to draw from.
#[derive(Clone, Copy, PartialEq)]
enum Given {
    /// The subject in another style.
    Other,
    /// The upper half.
    Half,
    /// Words.
    Name,
}

impl Given {
    fn of(task: &TaskConfig) -> Self {
        match &task.prompt[..] {
            [] => Self::Half,
            parts if parts.iter().any(|part| part.of == "other") => Self::Other,
            _ => Self::Name,
        }
    }

    /// The ways to answer that are compared.
    fn ways(self) -> &'static [&'static str] {
        match self {
            Self::Other => &["the model", "the input", "the nearest training pair", "the codec's round trip"],
            Self::Half => &["the model", "the upper half, mirrored", "the codec's round trip"],
            Self::Name => &["the model", "the training name most alike", "the codec's round trip"],
        }
    }
}

/// Ways to answer, by name, and their scores.
struct Ways(Vec<(&'static str, Score)>);

pub fn score(job: &Job, cases: &[Case], out: &mut output::Output) -> Result<()> {
    let what = Given::of(job.task);
    let (kind, side) = (job.mixed.media.kind_of(File::Picture)?, job.mixed.media.side());
    let nearest = Nearest::new(job.entries, if what == Given::Other { cases } else { &[] }, side)?;
    let names = what.ways();
    let (mut sums, mut stacks) = (vec![Score::default(); names.len()], Vec::new());
    let (mut bits, mut dimensions) = (0.0, 0);
    for (case, seed) in cases.iter().zip(0..) {
        job.step()?;
        let (this, other) = (picture(case.this, side)?, picture(case.other, side)?);
        let given = job.mixed.media.of_picture(kind, &other)?;
        let coded = job.mixed.media.of_picture(kind, &this)?;
        let frame = job.mixed.media.vocab.kinds()[kind].frame();
        let half = if what == Given::Half { coded.grid[0] / 2 * coded.grid[1] * frame } else { 0 };
        let ask = job.ask(*case, Some(&given))?;
        bits += job.bits(&ask, &coded)?;
        dimensions += job.mixed.media.dimensions(&coded)?;
        let drawn = job.mixed.media.picture(&job.answer(&ask, &coded.values[..half], seed)?)?;
        let round_trip = job.mixed.media.picture(&coded)?;
        let ways = match what {
            Given::Other => vec![drawn.clone(), other, nearest.pair(*case)?, round_trip],
            Given::Half => vec![drawn.clone(), mirrored(&this)?, round_trip],
            Given::Name => vec![drawn.clone(), alike(job.entries, case.this, side)?, round_trip],
        };
        let scored = |picture: &Picture| -> Result<Picture> {
            // What was given is not scored.
            match what {
                Given::Half => Ok(picture.crop(0, side / 2, side, side - side / 2)?),
                Given::Other | Given::Name => Ok(picture.clone()),
            }
        };
        let truth = scored(&this)?;
        for (sum, way) in sums.iter_mut().zip(&ways) {
            let [psnr, ssim] = compare(&truth, &scored(way)?)?;
            *sum = Score { psnr: sum.psnr + psnr, ssim: sum.ssim + ssim };
        }
        if job.args.sheet.is_some() {
            stacks.push(vec![ways[1].clone(), drawn, this]);
        }
    }
    let count = cases.len() as f64;
    let mean = |sum: &Score| Score { psnr: sum.psnr / count, ssim: sum.ssim / count };
    let ways = Ways(names.iter().copied().zip(sums.iter().map(mean)).collect());
    if let Some(path) = &job.args.sheet {
        let sheet = grid(&stacks, COLUMNS).context("no example")?;
        files::write(path, &sheet.to_png()?).context("--sheet")?;
    }
    job.finish();
    ways.print(cases.len(), bits / dimensions as f64, job.args.model.json, out)
}

impl Ways {
    fn print(&self, count: usize, bits: f64, json: bool, out: &mut output::Output) -> Result<()> {
        let (Some((_, model)), Some((_, most))) = (self.0.first(), self.0.last()) else { bail!("nothing to compare") };
        // Of what lies between the best that knows less and the most that codes can say.
        let least = &self.0[1..self.0.len() - 1];
        let best = |of: fn(&Score) -> f64| least.iter().map(|(_, score)| of(score)).fold(f64::NEG_INFINITY, f64::max);
        let closed = |of: fn(&Score) -> f64| (of(model) - best(of)) / (of(most) - best(of));
        let [psnr, ssim] = [closed(|score| score.psnr), closed(|score| score.ssim)];
        if json {
            let ways: Vec<Value> = self.0.iter().map(|(name, score)| json!({ "way": name, "score": score })).collect();
            return out.json(&json!({
                "examples": count, "ways": ways, "gap_closed": { "psnr": psnr, "ssim": ssim },
                "bits_per_dimension": bits,
            }));
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
        out.table(&[&format!("{count} held-out examples"), "PSNR", "SSIM"], &rows)?;
        out.line(&format!("the model says their codes in {bits:.4} bits per dimension (three of each pixel)"))
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
fn alike(entries: &[Entry], entry: &Entry, side: usize) -> Result<Picture> {
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
    let most = train.max_by(|a, b| share(a).total_cmp(&share(b)));
    picture(most.context("no training picture of this style")?, side)
}

/// Training pictures, small, by style.
struct Nearest<'a> {
    entries: &'a [Entry],
    side: usize,
    small: HashMap<&'a Path, Vec<u8>>,
}

impl<'a> Nearest<'a> {
    /// Of the styles that the cases give.
    fn new(entries: &'a [Entry], cases: &[Case], side: usize) -> Result<Self> {
        let styles: Vec<_> = cases.iter().map(|case| case.other.fields.get("style")).collect();
        let wanted = entries.iter().filter(|e| e.split == Split::Train && styles.contains(&e.fields.get("style")));
        let small = wanted
            .filter_map(|entry| Some((entry.file.as_deref()?, entry)))
            .map(|(path, entry)| Ok((path, small(&picture(entry, side)?)?)));
        Ok(Self { entries, side, small: small.collect::<Result<_>>()? })
    }

    /// The training picture in the style that is asked for, of the subject whose picture in the given style is nearest to what is
    /// given.
    fn pair(&self, case: Case) -> Result<Picture> {
        let style = |entry: &Entry| entry.fields.get("style").cloned();
        let (from, to) = (style(case.other), style(case.this));
        let train = || self.entries.iter().filter(|entry| entry.split == Split::Train);
        let answers: HashMap<&str, &Entry> =
            train().filter(|entry| style(entry) == to).map(|entry| (entry.subject.as_str(), entry)).collect();
        let given = small(&picture(case.other, self.side)?)?;
        let distance = |entry: &Entry| -> Option<u64> {
            let other = self.small.get(entry.file.as_deref()?)?;
            Some(given.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum())
        };
        let known = train().filter(|entry| style(entry) == from && answers.contains_key(entry.subject.as_str()));
        let nearest = known.filter_map(|entry| Some((distance(entry)?, entry))).min_by_key(|(distance, _)| *distance);
        let (_, nearest) = nearest.context("no training pair of these styles")?;
        picture(answers[nearest.subject.as_str()], self.side)
    }
}

fn small(picture: &Picture) -> Result<Vec<u8>> {
    Ok(picture.resize(SMALL, SMALL, Filter::Area)?.rgb)
}

/// The picture of an entry, a square of this side.
fn picture(entry: &Entry, side: usize) -> Result<Picture> {
    image::open(entry.file.as_deref().context("an entry without a picture")?, Some(side))
}
