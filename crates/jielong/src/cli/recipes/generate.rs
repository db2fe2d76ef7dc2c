//! `jielong generate --to KIND`: any mix of parts, continued by one of any kind.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args as ClapArgs, Command, Error, FromArgMatches};
use jielong::mixed::{Ask, File, Mixed};
use jielong_core::Segment;
use serde_json::json;

use super::super::model_args::ModelArgs;
use super::super::sampling::SamplingArgs;
use super::super::{Global, files, output};
use super::{Decoding, answers, drawn, note_stop, open, report};

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
    #[command(flatten)]
    decoding: Decoding,
}

/// How it is drawn.
pub struct Drawing<'a> {
    pub model: &'a ModelArgs,
    pub sampling: &'a SamplingArgs,
    pub max_new_tokens: usize,
    pub json: bool,
}

impl MixArgs {
    /// Continues the parts by one segment of the kind.
    pub fn run(&self, to: &str, drawing: &Drawing, global: &Global) -> Result<()> {
        let mixed = &open(drawing.model, global)?;
        let kind = mixed.media.vocab.kind(to)?;
        let file = mixed.media.file(kind);
        if file != File::Record && self.out.is_none() {
            bail!("--to {to} needs a file: -o FILE");
        }
        let segments: Vec<Segment> = self.parts.0.iter().map(|part| part.segment(mixed)).collect::<Result<_>>()?;
        let ask =
            drawn(mixed, mixed.ask(mixed.sequences()?.prompt(&segments)?, kind), drawing.sampling, self.decoding)?;
        // A picture is always whole.
        let max_new_tokens = if file == File::Picture { ask.max_new_tokens } else { drawing.max_new_tokens };
        let answers = answers(mixed, Ask { max_new_tokens, ..ask }, 1, global)?;
        let answer = answers.first().context("no answer")?;
        let mut object = report(mixed, answer);
        let mut out = output::Output::new();
        match (file, &self.out) {
            (File::Picture, Some(path)) => files::write(path, &mixed.media.picture(&answer.segment)?.to_png()?)?,
            (File::Sound, Some(path)) => files::write(path, &mixed.media.sound(&answer.segment)?.to_wav()?)?,
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
        note_stop(&answers, global);
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
            Self::Text(text) => mixed.sequences()?.text(mixed.media.kind_of(File::Record)?, text),
            Self::Image(path) => mixed.media.of_file(mixed.media.kind_of(File::Picture)?, path),
            Self::Audio(path) => mixed.media.of_file(mixed.media.kind_of(File::Sound)?, path),
        }
    }
}
