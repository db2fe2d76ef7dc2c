//! From Debian packages to a folder of recordings: `VOICE/PROMPT.wav`, and `index.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jielong_audio::sound::Sound;
use rayon::prelude::*;

use super::sound_recipe::{RecordedVoice, RecordingRecipe};
use super::sounds::{Index, IndexEntry};
use super::{DataError, Recipe, folder, g722, unpack};
use crate::sources::cache::plain_file;
use crate::sources::{DebPackage, Progress, SourceOptions, deb};

/// Recordings that are made between two looks at the time.
const AT_ONCE: usize = 64;

/// Makes the data set in a folder below `work`, and gives that folder. All packages are fetched before any is opened.
pub(super) fn make(
    recipe: &Recipe,
    recordings: &RecordingRecipe,
    work: &Path,
    (options, progress): (&SourceOptions, &dyn Progress),
) -> Result<PathBuf, DataError> {
    let fetch = |(index, package): (usize, &DebPackage)| {
        Ok(deb::fetch(package, &work.join(format!("package-{index}")), options, progress)?)
    };
    let packages = recordings.packages().enumerate().map(fetch).collect::<Result<Vec<_>, DataError>>()?;
    let out = work.join("made");
    let mut entries = Vec::new();
    for (voice, package) in recordings.voices.iter().zip(&packages) {
        folder::make(&out.join(&voice.name))?;
        let prompts: Vec<_> = prompts(recordings, voice, package)?.into_iter().collect();
        progress.count(&voice.title, prompts.len() as u64);
        for (chunk, some) in prompts.chunks(AT_ONCE).enumerate() {
            let made = some.par_iter().map(|(prompt, coded)| recording(recipe, voice, (prompt, coded), &out));
            let made = made.collect::<Result<Vec<_>, _>>().inspect_err(|_| progress.finish())?;
            entries.extend(made);
            progress.advance((chunk * AT_ONCE + some.len()) as u64);
        }
        progress.finish();
    }
    let (name, recipe) = (recipe.name.clone(), recipe.hash.clone());
    let index = Index { name, recipe, rate: g722::RATE, voices: recordings.parts(), entries };
    folder::write(&out.join("index.json"), index.to_json().as_bytes())?;
    Ok(out)
}

/// A speaker's recordings, still coded, by the names of the prompts: the path below the folder, with `-` for `/`.
fn prompts(
    recordings: &RecordingRecipe,
    voice: &RecordedVoice,
    file: &Path,
) -> Result<BTreeMap<String, Vec<u8>>, DataError> {
    let prompt = |path: &str| {
        let path = path.strip_prefix(voice.folder.as_str())?.strip_prefix('/')?.strip_suffix(voice.ending.as_str())?;
        let left_out = recordings.without.iter().any(|start| path.starts_with(start.as_str()));
        Some(path.replace('/', "-")).filter(|name| !left_out && plain_file(name))
    };
    let package = voice.package.to_string();
    let wrong = |member: &str, why: &str| DataError::Package {
        package: package.clone(),
        member: member.to_owned(),
        why: why.to_owned(),
    };
    let mut prompts = BTreeMap::new();
    for (path, bytes) in unpack::deb(file, &package, &|path| prompt(path).is_some())? {
        let Some(name) = prompt(&path).filter(|_| !bytes.is_empty()) else { continue };
        if prompts.insert(name, bytes).is_some() {
            return Err(wrong(&path, "two prompts have the same name"));
        }
    }
    match prompts.is_empty() {
        true => Err(wrong(&voice.folder, &format!("no file in it ends with {}", voice.ending))),
        false => Ok(prompts),
    }
}

/// Decodes and writes one recording.
fn recording(
    recipe: &Recipe,
    voice: &RecordedVoice,
    (prompt, coded): (&str, &[u8]),
    out: &Path,
) -> Result<IndexEntry, DataError> {
    let id = format!("{}/{prompt}", voice.name);
    let samples = g722::decode(coded).into_iter().map(|sample| f32::from(sample) / 32768.0).collect();
    let sound = Sound { rate: g722::RATE, samples };
    let wav = sound.to_wav().map_err(|source| DataError::Unwritable { name: id.clone(), source })?;
    folder::write(&out.join(format!("{id}.wav")), &wav)?;
    let (language, seconds) = (voice.language.clone(), sound.seconds());
    // A prompt is in one half in all languages. What is said is not in the packages.
    Ok(IndexEntry { id, language, text: String::new(), split: recipe.split(prompt), seconds })
}
