//! The user's configuration file, `config.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jielong_core::SamplerConfig;
use serde::Deserialize;

use super::cache::config_file;
use super::error::{SourceError, toml_error};

/// What the user wants unless the command line says otherwise. All keys may be left out.
///
/// ```toml
/// model = "qwen3:0.6b"
/// context = 4096
///
/// [sampling]
/// temperature = 0.7
/// top_p = 0.9
///
/// [aliases]
/// mine = "~/models/mine"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserConfig {
    /// The model, by any name.
    pub model: Option<String>,
    /// `cpu`, `cuda`, `cuda:1`, …
    pub device: Option<String>,
    /// The type that is computed with, such as `f32` or `bf16`.
    pub dtype: Option<String>,
    /// Positions of the cache.
    pub context: Option<usize>,
    /// Threads to compute with.
    pub threads: Option<usize>,
    /// Never use the network.
    pub offline: Option<bool>,
    /// The sampler.
    pub sampling: Option<SamplerConfig>,
    /// Names of the user's own, and what they stand for: a folder, a GGUF file, an alias or a hub id.
    pub aliases: BTreeMap<String, String>,
}

impl UserConfig {
    /// Reads a file, or the default one ([`config_file`]), which may be missing.
    ///
    /// # Errors
    /// A named file that is missing, a file that cannot be read, text that is not TOML, an unknown key, a value of the
    /// wrong type; with file, line and column.
    pub fn load(path: Option<&Path>) -> Result<Self, SourceError> {
        let Some(file) = path.map(Path::to_owned).or_else(config_file) else {
            return Ok(Self::default());
        };
        match fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map_err(|error| toml_error(&file, &text, &error)),
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(SourceError::io("read the configuration", &file)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn load(text: &str) -> Result<UserConfig, SourceError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, text).unwrap();
        UserConfig::load(Some(&file))
    }

    #[test]
    fn all_keys_are_read_and_may_be_left_out() {
        assert_eq!(load("").unwrap(), UserConfig::default());
        let text = "model = \"a\"\ndevice = \"cpu\"\ndtype = \"f32\"\ncontext = 512\nthreads = 4\noffline = true\n\
             [sampling]\ntemperature = 0.5\ntop_k = 40\n[aliases]\nb = \"owner/name\"\n";
        let config = load(text).unwrap();
        assert_eq!(config.sampling.as_ref().unwrap().temperature, 0.5);
        assert_eq!(config.sampling.unwrap().top_k, Some(40));
        assert_eq!((config.context, config.offline), (Some(512), Some(true)));
        assert_eq!(config.aliases["b"], "owner/name");
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, line, key) in [
            ("model = \"a\"\nmodle = \"b\"\n", 2, "modle"),
            ("\n\ncontext = \"many\"\n", 3, "context"),
            ("[sampling]\ntemprature = 1.0\n", 2, "temprature"),
            ("threads = -1\n", 1, "threads"),
            ("model = \"a\"\nx", 2, "x"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(&format!("config.toml:{line}:")) && error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = UserConfig::load(Some(Path::new("/no/such/config.toml"))).unwrap_err().to_string();
        assert!(error.contains("/no/such/config.toml"), "{error}");
    }
}
