//! `jielong audio go-on|say|write`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args as ClapArgs, Subcommand};
use jielong::mixed::{Ask, File, Mixed};
use serde_json::json;

use super::super::{Global, files, output};
use super::{MixedArgs, note_stop, report};

/// Most tokens of what is written down.
const WORDS: usize = 96;

#[derive(Subcommand)]
pub enum Recipe {
    /// Go on with a recording
    GoOn {
        /// The recording: WAV, FLAC, MP3 or Ogg Vorbis, of any rate
        recording: PathBuf,
        /// At most so many seconds more
        #[arg(long, value_name = "S", default_value_t = 5.0)]
        seconds: f64,
        #[command(flatten)]
        heard: Heard,
    },
    /// Say a text
    Say {
        /// The text
        text: String,
        /// The voice, by the name that the data has for it
        #[arg(long, value_name = "VOICE", default_value = "en-us")]
        voice: String,
        /// At most so many seconds
        #[arg(long, value_name = "S", default_value_t = 8.0)]
        seconds: f64,
        #[command(flatten)]
        heard: Heard,
    },
    /// Write down what is said
    Write {
        /// The recording: WAV, FLAC, MP3 or Ogg Vorbis, of any rate
        recording: PathBuf,
        #[command(flatten)]
        model: MixedArgs,
    },
}

/// Where sounds go.
#[derive(ClapArgs)]
pub struct Heard {
    /// The recording, a WAV file
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    model: MixedArgs,
}

pub fn run(recipe: &Recipe, global: &Global) -> Result<()> {
    match recipe {
        Recipe::GoOn { recording, seconds, heard } => {
            let mixed = heard.model.open(global)?;
            let given = mixed.media.of_file(mixed.media.kind_of(File::Sound)?, recording)?;
            heard.make(&mixed, ("go-on", &[]), given.values, *seconds, global)
        }
        Recipe::Say { text, voice, seconds, heard } => {
            let mixed = heard.model.open(global)?;
            heard.make(&mixed, ("say", &[("text", text), ("voice", voice)]), Vec::new(), *seconds, global)
        }
        Recipe::Write { recording, model } => write(recording, model, global),
    }
}

impl Heard {
    fn make(
        &self,
        mixed: &Mixed,
        (name, fields): (&str, &[(&str, &str)]),
        begun: Vec<u32>,
        seconds: f64,
        global: &Global,
    ) -> Result<()> {
        ensure!(seconds > 0.0 && seconds.is_finite(), "--seconds {seconds}: a number above 0 is expected");
        let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let ask = mixed.ask_task(mixed.config.task(name)?, field, None)?;
        let codes = (seconds * mixed.media.codes_per_second(ask.kind)?).ceil() as usize;
        let ask = Ask { begun, max_new_tokens: codes + 1, ..ask };
        let answers = self.model.answers(mixed, ask, 1, global)?;
        let answer = answers.first().context("no answer")?;
        let sound = mixed.media.sound(&answer.segment)?;
        files::write(&self.out, &sound.to_wav()?)?;
        note_stop(&answers, global);
        if self.model.json {
            let mut object = report(mixed, answer);
            object["out"] = json!(self.out);
            object["seconds"] = sound.seconds().into();
            return output::Output::new().json(&object);
        }
        if !global.quiet {
            eprintln!("{}: {:.1} s", self.out.display(), sound.seconds());
        }
        Ok(())
    }
}

fn write(path: &Path, model: &MixedArgs, global: &Global) -> Result<()> {
    let mixed = model.open(global)?;
    let given = mixed.media.of_file(mixed.media.kind_of(File::Sound)?, path)?;
    let ask = mixed.ask_task(mixed.config.task("write")?, |_| None, Some(&given))?;
    let answers = model.answers(&mixed, Ask { max_new_tokens: WORDS, ..ask }, 1, global)?;
    let answer = answers.first().context("no answer")?;
    let text = mixed.sequences()?.text_of(&answer.segment)?;
    let mut out = output::Output::new();
    if model.json {
        let mut object = report(&mixed, answer);
        object["text"] = text.into();
        return out.json(&object);
    }
    out.line(&text)
}
