//! `jielong image restyle|draw|finish|describe`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args as ClapArgs, Subcommand};
use jielong::mixed::{Answer, Ask, File, Mixed};
use jielong_core::Segment;
use jielong_image::picture::Picture;
use jielong_image::train::{grid, whole};
use serde_json::{Value, json};

use super::super::image::open;
use super::super::{Global, files, output};
use super::{MixedArgs, note_stop, report};

/// Most tokens of a name.
const WORDS: usize = 48;
/// Characters that a drawing is wide in a terminal.
const SHOWN: usize = 32;
/// Columns of a sheet of candidates.
const COLUMNS: usize = 4;

#[derive(Subcommand)]
pub enum Recipe {
    /// Draw a picture again, in another style
    Restyle {
        /// The picture: PNG, JPEG, WebP or GIF
        picture: PathBuf,
        /// The style: noto, twemoji, fluent-flat or fluent-3d with `mini`
        #[arg(short, long)]
        style: String,
        #[command(flatten)]
        drawn: Drawn,
    },
    /// Draw what a few words say
    Draw {
        /// The words, such as "grinning cat"
        name: String,
        /// The style: noto, twemoji, fluent-flat or fluent-3d with `mini`
        #[arg(short, long, default_value = "noto")]
        style: String,
        #[command(flatten)]
        drawn: Drawn,
    },
    /// Go on with the upper part of a picture
    Finish {
        /// The picture; one that is wider than high is the upper part of a square
        picture: PathBuf,
        /// Share of a square picture that is kept
        #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
        keep: f64,
        #[command(flatten)]
        drawn: Drawn,
    },
    /// Say what a picture shows
    Describe {
        /// The picture: PNG, JPEG, WebP or GIF
        picture: PathBuf,
        /// Several answers
        #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
        candidates: usize,
        #[command(flatten)]
        model: MixedArgs,
    },
}

/// Where drawings go.
#[derive(ClapArgs)]
pub struct Drawn {
    /// The drawing, a PNG file
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Several drawings, on one sheet
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    candidates: usize,
    #[command(flatten)]
    model: MixedArgs,
}

pub fn run(recipe: &Recipe, global: &Global) -> Result<()> {
    match recipe {
        Recipe::Restyle { picture, style, drawn } => {
            let mixed = drawn.model.open(global)?;
            let given = given(&mixed, picture)?;
            drawn.draw(&mixed, "restyle", (&[("style", style)], Some(&given)), Vec::new(), global)
        }
        Recipe::Draw { name, style, drawn } => {
            let mixed = drawn.model.open(global)?;
            drawn.draw(&mixed, "draw", (&[("name", name), ("style", style)], None), Vec::new(), global)
        }
        Recipe::Finish { picture, keep, drawn } => {
            ensure!((0.0..=1.0).contains(keep), "--keep {keep}: a share from 0 to 1 is expected");
            let mixed = drawn.model.open(global)?;
            let (picture, kept) = upper(picture, *keep, mixed.media.side())?;
            let given = mixed.media.of_picture(mixed.media.kind_of(File::Picture)?, &picture)?;
            let frame = mixed.media.vocab.kinds()[given.kind].frame();
            let rows = (given.grid[0] as f64 * kept).round() as usize;
            let begun = given.values[..rows * given.grid[1] * frame].to_vec();
            drawn.draw(&mixed, "finish", (&[], None), begun, global)
        }
        Recipe::Describe { picture, candidates, model } => describe(picture, *candidates, model, global),
    }
}

/// A picture that is given to the model.
fn given(mixed: &Mixed, path: &Path) -> Result<Segment> {
    mixed.media.of_file(mixed.media.kind_of(File::Picture)?, path)
}

/// A picture as a square of this side, and the share of it that is kept from above.
fn upper(path: &Path, keep: f64, side: usize) -> Result<(Picture, f64)> {
    let picture = open(path, None)?;
    let Picture { width, height, .. } = picture;
    if width <= height {
        return Ok((whole(&picture, side)?, keep));
    }
    let mut square = Picture::filled(width, width, [255; 3]).with_context(|| path.display().to_string())?;
    square.rgb[..picture.rgb.len()].copy_from_slice(&picture.rgb);
    let square = whole(&square, side).with_context(|| path.display().to_string())?;
    Ok((square, height as f64 / width as f64))
}

impl Drawn {
    fn draw(
        &self,
        mixed: &Mixed,
        task: &str,
        (fields, given): (&[(&str, &str)], Option<&Segment>),
        begun: Vec<u32>,
        global: &Global,
    ) -> Result<()> {
        let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let ask = Ask { begun, ..mixed.ask_task(mixed.config.task(task)?, field, given)? };
        let answers = self.model.answers(mixed, ask, self.candidates, global)?;
        let pictures: Vec<Picture> = answers.iter().map(|a| mixed.media.picture(&a.segment)).collect::<Result<_>>()?;
        let sheet = sheet(&pictures)?;
        files::write(&self.out, &sheet.to_png()?)?;
        note_stop(&answers, global);
        let mut out = output::Output::new();
        if self.model.json {
            let all: Vec<Value> = answers.iter().map(|answer| report(mixed, answer)).collect();
            return out.json(&json!({ "out": self.out, "answers": all }));
        }
        if !global.quiet {
            out.picture(&sheet, SHOWN * sheet.width / pictures[0].width)?;
            eprintln!("{}", self.out.display());
        }
        Ok(())
    }
}

/// One picture, or several in rows.
fn sheet(pictures: &[Picture]) -> Result<Picture> {
    match pictures {
        [one] => Ok(one.clone()),
        many => {
            grid(&many.iter().map(|one| vec![one.clone()]).collect::<Vec<_>>(), COLUMNS).context("no picture was drawn")
        }
    }
}

fn describe(path: &Path, candidates: usize, model: &MixedArgs, global: &Global) -> Result<()> {
    let mixed = model.open(global)?;
    let ask = mixed.ask_task(mixed.config.task("describe")?, |_| None, Some(&given(&mixed, path)?))?;
    let answers = model.answers(&mixed, Ask { max_new_tokens: WORDS, ..ask }, candidates, global)?;
    let texts = texts(&mixed, &answers)?;
    let mut out = output::Output::new();
    if model.json {
        let all = answers.iter().zip(&texts).map(|(answer, text)| {
            let mut report = report(&mixed, answer);
            report["text"] = text.as_str().into();
            report
        });
        return out.json(&json!({ "answers": all.collect::<Vec<Value>>() }));
    }
    texts.iter().try_for_each(|text| out.line(text))
}

fn texts(mixed: &Mixed, answers: &[Answer]) -> Result<Vec<String>> {
    let sequences = mixed.sequences()?;
    answers.iter().map(|answer| sequences.text_of(&answer.segment)).collect()
}
