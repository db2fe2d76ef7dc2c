//! From texts to a folder of speech: espeak-ng reads each in each voice of its language, `VOICE/LANGUAGE-NUMBER.wav`, and
//! `index.json` has the texts.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jielong_audio::sound::{Reading, Sound};
use rayon::prelude::*;

use super::sound_recipe::{SpeechRecipe, SpokenVoice};
use super::sounds::{Index, IndexEntry};
use super::{DataError, Recipe, error, folder};
use crate::sources::{Progress, SourceOptions};

/// Samples a second that are written; espeak-ng makes 22050.
const RATE: u32 = 16_000;
/// The longest sound that is taken, in seconds.
const SECONDS: f64 = 120.0;
/// Texts that are read between two looks at the time.
const AT_ONCE: usize = 32;

/// Makes the data set in a folder below `work`, and gives that folder.
pub(super) fn make(
    recipe: &Recipe,
    speech: &SpeechRecipe,
    work: &Path,
    (options, progress): (&SourceOptions, &dyn Progress),
) -> Result<PathBuf, DataError> {
    let program = version(options)?;
    let out = work.join("made");
    let mut entries = Vec::new();
    for voice in &speech.voices {
        folder::make(&out.join(&voice.name))?;
        let texts = speech.texts(&voice.language);
        progress.count(&voice.name, texts.len() as u64);
        let numbered: Vec<_> = texts.iter().enumerate().collect();
        for some in numbered.chunks(AT_ONCE) {
            let made = some.par_iter().map(|&(number, text)| {
                let id = format!("{}/{}-{number:04}", voice.name, voice.language);
                let sound = say(voice, text, &work.join(format!("{}-{number}.wav", voice.name)), options)?;
                let wav = sound.to_wav().map_err(|source| DataError::Unwritable { name: id.clone(), source })?;
                folder::write(&out.join(format!("{id}.wav")), &wav)?;
                let (language, seconds) = (voice.language.clone(), sound.seconds());
                // A text is in one half in all voices.
                Ok(IndexEntry { id, language, text: text.clone(), split: recipe.split(text), seconds })
            });
            let made = made.collect::<Result<Vec<_>, DataError>>().inspect_err(|_| progress.finish())?;
            entries.extend(made);
            progress.advance(some.last().map_or(0, |&(number, _)| number as u64 + 1));
        }
        progress.finish();
    }
    let (name, recipe) = (recipe.name.clone(), recipe.hash.clone());
    let index = Index { name, recipe, rate: RATE, voices: speech.parts(&program), entries };
    folder::write(&out.join("index.json"), index.to_json().as_bytes())?;
    Ok(out)
}

/// Name and version of the program, on which every sample depends.
fn version(options: &SourceOptions) -> Result<String, DataError> {
    let output = run(Command::new(&options.espeak).arg("--version"), options)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // `eSpeak NG text-to-speech: 1.51  Data at: /usr/lib/…`
    let version = said.split("text-to-speech:").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(format!("espeak-ng {}", version.unwrap_or_else(|| said.lines().next().unwrap_or_default().trim())))
}

/// Lets the program write a text as a WAV file, and reads that.
fn say(voice: &SpokenVoice, text: &str, file: &Path, options: &SourceOptions) -> Result<Sound, DataError> {
    let mut command = Command::new(&options.espeak);
    // The text is UTF-8; no pause comes after it.
    command.args(["-b", "1", "-z", "-v", &voice.voice]).args(["-s", &voice.speed.to_string()]);
    command.args(["-p", &voice.pitch.to_string()]).arg("-w").arg(file).arg("--").arg(text);
    let output = run(&mut command, options)?;
    let failed = |message: String| DataError::EspeakFailed {
        voice: voice.voice.clone(),
        text: text.to_owned(),
        status: output.status.to_string(),
        message,
    };
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    if !output.status.success() || !file.is_file() {
        return Err(failed(if said.is_empty() { "it said nothing".to_owned() } else { said }));
    }
    let sound = Sound::open(file, &Reading { rate: Some(RATE), seconds: SECONDS })?;
    std::fs::remove_file(file).map_err(error::io("remove", file))?;
    if sound.samples.iter().all(|&sample| sample == 0.0) {
        return Err(failed("all is silent".to_owned()));
    }
    Ok(sound)
}

fn run(command: &mut Command, options: &SourceOptions) -> Result<Output, DataError> {
    command.stdin(std::process::Stdio::null()).output().map_err(|error| DataError::NoEspeak {
        command: options.espeak.to_string_lossy().into_owned(),
        reason: error.to_string(),
    })
}
