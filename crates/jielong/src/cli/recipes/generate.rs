//! `jielong generate --to KIND`: any mix of parts, continued by one of any kind.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args as ClapArgs, Command, Error, FromArgMatches};
use jielong::mixed::{Ask, File, Mixed};
use jielong_core::Segment;
use serde_json::json;

use super::super::image::open;
use super::super::{Global, files, interrupt, output, progress};
use super::{audio, note_stop, report};

/// Pixels of the side of pictures.
const SIDE: usize = 128;

/// Parts of a prompt, in the order in which they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(Vec<Part>);

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Image(PathBuf),
    Audio(PathBuf),
}

/// Options of parts: their names, what follows them, what they do.
const OPTIONS: [[&str; 3]; 3] = [
    [
        "text",
        "TEXT",
        "Words of the prompt, of a model of several kinds (repeatable, as are the next two; the order counts)",
    ],
    ["image", "FILE", "A picture of the prompt: PNG, JPEG, WebP or GIF"],
    ["audio", "FILE", "A recording of the prompt: WAV, FLAC, MP3 or Ogg Vorbis"],
];

impl FromArgMatches for Parts {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut parts = Self::default();
        parts.update_from_arg_matches(matches)?;
        Ok(parts)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let mut placed = Vec::new();
        for [name, ..] in OPTIONS {
            let (Some(values), Some(places)) = (matches.get_many::<String>(name), matches.indices_of(name)) else {
                continue;
            };
            for (place, value) in places.zip(values) {
                let part = match name {
                    "text" => Part::Text(value.clone()),
                    "image" => Part::Image(value.into()),
                    "audio" => Part::Audio(value.into()),
                    _ => return Err(Error::new(ErrorKind::UnknownArgument)),
                };
                placed.push((place, part));
            }
        }
        placed.sort_by_key(|(place, _)| *place);
        self.0 = placed.into_iter().map(|(_, part)| part).collect();
        Ok(())
    }
}

impl ClapArgs for Parts {
    fn augment_args(command: Command) -> Command {
        OPTIONS.iter().fold(command, |command, [name, value, help]| {
            let arg = Arg::new(*name).long(*name).value_name(*value).help(*help).action(ArgAction::Append);
            command.arg(arg.requires("to").help_heading("Several kinds"))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// What is made of the parts.
#[derive(ClapArgs)]
#[command(next_help_heading = "Several kinds")]
pub struct MixArgs {
    /// What comes next: a kind of the model's vocabulary, such as text, image or audio
    #[arg(long, value_name = "KIND")]
    pub to: Option<String>,
    #[command(flatten)]
    parts: Parts,
    /// Where it goes: a PNG or WAV file (text: default standard output)
    #[arg(short, long, value_name = "FILE", requires = "to")]
    out: Option<PathBuf>,
    /// Follow the words more closely than the model does by itself (above 1); twice the work
    #[arg(long, value_name = "G", requires = "to", default_value_t = 1.0)]
    guidance: f32,
}

/// How it is drawn.
pub struct Drawing {
    pub max_new_tokens: usize,
    pub sampling: jielong_core::SamplerConfig,
    pub json: bool,
}

impl MixArgs {
    /// Continues the parts by one segment of the kind.
    pub fn run(&self, to: &str, mixed: &Mixed, drawing: Drawing, global: &Global) -> Result<()> {
        let kind = mixed.vocab.kind(to)?;
        let media = mixed.codecs().file(kind);
        if media != File::Record && self.out.is_none() {
            bail!("--to {to} needs a file: -o FILE");
        }
        let segments: Vec<Segment> = self.parts.0.iter().map(|part| part.segment(mixed)).collect::<Result<_>>()?;
        let prompt = mixed.sequences()?.prompt(&segments)?;
        let bar = progress::counted(global, drawing.max_new_tokens, "tokens");
        let ask = Ask {
            prompt: &prompt,
            kind,
            grid: if media == File::Picture { mixed.picture_grid(kind, SIDE)? } else { Vec::new() },
            begun: Vec::new(),
            guidance: self.guidance,
            max_new_tokens: drawing.max_new_tokens,
            sampling: drawing.sampling,
            cancel: Some(interrupt::flag()),
        };
        let answer = mixed.answer(&ask, &mut |done| {
            if let Some(bar) = &bar {
                bar.set_position(done as u64);
            }
        })?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let mut object = report(mixed, &answer);
        let mut out = output::Output::new();
        match (media, &self.out) {
            (File::Picture, Some(path)) => files::write(path, &mixed.picture(&answer.segment)?.to_png()?)?,
            (File::Sound, Some(path)) => files::write(path, &mixed.sound(&answer.segment)?.to_wav()?)?,
            (_, path) => {
                let text = mixed.sequences()?.text_of(&answer.segment)?;
                match path {
                    Some(path) => files::write(path, text.as_bytes())?,
                    None if !drawing.json => out.line(&text)?,
                    None => {}
                }
                object["text"] = text.into();
            }
        }
        note_stop(std::slice::from_ref(&answer), global);
        if drawing.json {
            object["out"] = json!(self.out);
            return out.json(&object);
        }
        if let Some(path) = self.out.as_deref().filter(|_| !global.quiet) {
            eprintln!("{}", path.display());
        }
        Ok(())
    }
}

impl Part {
    fn segment(&self, mixed: &Mixed) -> Result<Segment> {
        match self {
            Self::Text(text) => mixed.sequences()?.text(mixed.kind_of(File::Record)?, text),
            Self::Image(path) => picture(path, mixed),
            Self::Audio(path) => mixed.of_sound(mixed.kind_of(File::Sound)?, &audio::recorded(path, mixed)?),
        }
    }
}

fn picture(path: &Path, mixed: &Mixed) -> Result<Segment> {
    let kind = mixed.kind_of(File::Picture)?;
    mixed.of_picture(kind, &open(path, Some(SIDE))?).with_context(|| path.display().to_string())
}
