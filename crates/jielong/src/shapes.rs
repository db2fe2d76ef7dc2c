//! Published shapes by name: `configs/shapes.toml`.

use anyhow::{Result, bail};
use jielong_llama::Config;

/// The config of a published shape.
///
/// # Errors
/// A shape that is not there, with those that are.
pub fn published(name: &str) -> Result<Config> {
    let shapes: toml::Table = toml::from_str(include_str!("../../../configs/shapes.toml"))?;
    let Some(config) = shapes.get(name) else {
        bail!("no shape is called `{name}`; there are {}", shapes.keys().cloned().collect::<Vec<_>>().join(", "));
    };
    Ok(Config::from_hf(serde_json::to_string(config)?.as_bytes())?)
}
