//! Pictures and sound to learn from: data sets that `datasets/*.toml` describe, and folders of anyone's own.
//!
//! A [`Recipe`] says which packages or texts a data set is made of, with licences and hashes, and how; [`fetch`] makes it, a
//! folder below the cache with an `index.json`. Of a data set every subject, prompt or text is either for training or held
//! out, by a hash of what it is at bottom, so that neither a skin tone of a held-out hand nor a held-out prompt in another
//! language is ever learned from, and so that the halves never move.

mod deb;
mod drawings;
mod error;
mod folder;
mod g722;
mod icons;
mod picture_recipe;
mod pictures;
mod recipe;
mod recordings;
mod sound_recipe;
mod sounds;
mod speech;
mod subject;
mod unpack;

use std::path::PathBuf;

use crate::files;
use crate::sources::{Progress, SourceOptions, cache, cache::names};

pub use error::DataError;
pub use picture_recipe::{Bases, Form, Names, PictureRecipe, Style};
pub use pictures::{Entry, Pictures};
pub use recipe::{Content, Part, Recipe};
pub use sound_recipe::{RecordedVoice, RecordingRecipe, SpeechRecipe, SpokenVoice};
pub use sounds::{Recording, Sounds, is_recording};
pub use subject::{Split, base, normal, number, split};

/// Begins the names of folders that are being made; those of killed processes are swept away by the next.
const WORK: &str = ".partial-";

/// The recipes that come with the program.
///
/// # Errors
/// None in a tested build.
pub fn recipes() -> Result<Vec<Recipe>, DataError> {
    const ALL: [(&str, &str); 4] = [
        (include_str!("../../../../datasets/digits.toml"), "datasets/digits.toml"),
        (include_str!("../../../../datasets/emoji.toml"), "datasets/emoji.toml"),
        (include_str!("../../../../datasets/prompts.toml"), "datasets/prompts.toml"),
        (include_str!("../../../../datasets/speech.toml"), "datasets/speech.toml"),
    ];
    ALL.iter().map(|(text, file)| Recipe::parse(text, file)).collect()
}

/// The recipe of a data set.
///
/// # Errors
/// There is none.
pub fn recipe(name: &str) -> Result<Recipe, DataError> {
    let mut all = recipes()?;
    match all.iter().position(|recipe| recipe.name == name) {
        Some(index) => Ok(all.swap_remove(index)),
        None => Err(DataError::Unknown {
            name: name.to_owned(),
            known: all.into_iter().map(|recipe| recipe.name).collect(),
        }),
    }
}

/// The folder of a data set that was made by this recipe, if it is on this machine.
#[must_use]
pub fn find(recipe: &Recipe, options: &SourceOptions) -> Option<PathBuf> {
    let folder = folder(recipe, options);
    folder::made_by(&folder).is_some_and(|hash| hash == recipe.hash).then_some(folder)
}

/// The folder of a data set; fetches and makes it if it is not there, or was made by another recipe.
///
/// # Errors
/// Offline and not here; npm, apt-get, espeak-ng, a hash, the content of a package, the disk. Then nothing is left, and what was there stays.
pub fn fetch(recipe: &Recipe, options: &SourceOptions, progress: &dyn Progress) -> Result<PathBuf, DataError> {
    if let Some(folder) = find(recipe, options) {
        return Ok(folder);
    }
    let packages = recipe.packages();
    if options.offline && !packages.is_empty() {
        let packages = packages.into_iter().map(|(package, _)| package).collect();
        return Err(DataError::Offline { name: recipe.name.clone(), packages });
    }
    let target = folder(recipe, options);
    let all = options.cache.join("data");
    let _lock = cache::lock(&all.join(format!(".{}.lock", recipe.name)), progress)?;
    if let Some(folder) = find(recipe, options) {
        return Ok(folder); // another process was quicker
    }
    let prefix = format!("{WORK}{}-", recipe.name);
    for name in names(&all).iter().filter(|name| name.starts_with(&prefix)) {
        std::fs::remove_dir_all(all.join(name)).map_err(error::io("remove the left-over folder", &all.join(name)))?;
    }
    let work = tempfile::Builder::new().prefix(&prefix).tempdir_in(&all);
    let work = work.map_err(error::io("make a folder in", &all))?;
    let with = (options, progress);
    let made = match &recipe.content {
        Content::Pictures(pictures) => drawings::make(recipe, pictures, work.path(), with)?,
        Content::Recordings(recordings) => recordings::make(recipe, recordings, work.path(), with)?,
        Content::Speech(speech) => speech::make(recipe, speech, work.path(), with)?,
    };
    files::place(&made, &target, work.path()).map_err(error::io("rename to", &target))?;
    Ok(target)
}

fn folder(recipe: &Recipe, options: &SourceOptions) -> PathBuf {
    options.cache.join("data").join(&recipe.name)
}
