//! Which codec or model: one that comes with the program, or a folder.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use jielong_nn::device::{Device, DeviceChoice};

use crate::sources::cache;

/// Where the weights that come with the program may be: beside it, where a package puts them, where it was built.
fn shipped() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let installed = beside.and_then(Path::parent).map(|prefix| prefix.join("share/jielong/models"));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    beside.map(|folder| folder.join("models")).into_iter().chain(installed).chain([built]).collect()
}

/// The file that says what a codec is.
pub const CONFIG: &str = "config.toml";

/// The folder of a codec or a model, which has this `file`: this folder, or that with this name that comes with the program.
///
/// # Errors
/// There is none; where it was looked for.
pub fn folder(name: &Path, file: &str) -> Result<PathBuf> {
    if name.join(file).is_file() {
        return Ok(name.to_path_buf());
    }
    let plain = name.components().count() == 1;
    let places = shipped().into_iter().filter(|_| plain);
    match places.clone().map(|place| place.join(name)).find(|folder| folder.join(file).is_file()) {
        Some(folder) => Ok(folder),
        None => {
            let looked: Vec<String> = places.map(|place| place.display().to_string()).collect();
            let looked = if plain { format!(", and there is none in {}", looked.join(", ")) } else { String::new() };
            bail!("{} is no folder with a {file}{looked}", name.display())
        }
    }
}

/// The models that come with the program: names and folders.
pub fn models() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for place in shipped() {
        for name in cache::names(&place) {
            let folder = place.join(&name);
            if folder.join("config.json").is_file() && found.iter().all(|(known, _)| *known != name) {
                found.push((name, folder));
            }
        }
    }
    found
}

/// The config and the weights of a codec in its folder.
pub fn files(folder: &Path) -> [PathBuf; 2] {
    [CONFIG, "model.safetensors"].map(|file| folder.join(file))
}

/// The config and the weights of a codec, and the device.
///
/// # Errors
/// As [`folder`]; the device.
pub fn find(codec: &Path, weights: Option<&Path>, device: DeviceChoice) -> Result<(PathBuf, PathBuf, Device)> {
    let [config, own] = files(&folder(codec, CONFIG)?);
    Ok((config, weights.map_or(own, Path::to_path_buf), device.open()?.0))
}
