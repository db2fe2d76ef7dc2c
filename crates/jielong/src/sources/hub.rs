//! Models of the Hugging Face hub, in the cache that is shared with other programs: `blobs/` has the content, named by its
//! hash, `snapshots/COMMIT/` the files as links to it, `refs/` the commit of each branch, and `.no_exist/COMMIT/` notes files
//! that a repository does not have.
//!
//! Only text files and safetensors are fetched, never pickles. Weights come last, so that a snapshot that has them is whole.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;

use super::aliases::Hub;
use super::name::hub_id;
use super::transfer::Client;
use super::{ModelKind, Progress, SourceError, SourceOptions, cache};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const INDEX: &str = "model.safetensors.index.json";
/// What is taken besides the weights, where a repository has it.
const SMALL: [&str; 9] = [
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "README.md",
    "LICENSE",
];

/// The model, if the cache has all of it.
pub(super) fn cached(hub: &Hub, options: &SourceOptions) -> Option<(PathBuf, ModelKind)> {
    let place = Place::new(hub, options);
    let snapshot = place.snapshot(&place.commit()?);
    if let Some(file) = &hub.file {
        return Some((snapshot.join(file), ModelKind::Gguf)).filter(|(path, _)| path.is_file());
    }
    // Another program may have fetched the weights alone. Offline that is all there is.
    let noted =
        |file: &str| snapshot.join(file).is_file() || place.absent(&snapshot, file).is_some_and(|note| note.exists());
    let whole =
        snapshot.join(CONFIG).is_file() && cache::has_weights(&snapshot) && (options.offline || noted(TOKENIZER));
    whole.then_some((snapshot, ModelKind::Folder))
}

/// Fetches what the cache lacks.
pub(super) fn fetch(
    hub: &Hub,
    options: &SourceOptions,
    progress: &dyn Progress,
) -> Result<(PathBuf, ModelKind), SourceError> {
    let client = Client::new(&options.hub);
    let place = Place::new(hub, options);
    let revision = hub.revision().replace('/', "%2F");
    let answer = client.json(hub, &format!("models/{}/revision/{revision}?blobs=true", hub.repo))?;
    let repository = Repository::read(&answer).ok_or_else(|| SourceError::BadAnswer {
        url: format!("{}/api/models/{}", options.hub.endpoint, hub.repo),
        found: "JSON without commit or file list".to_owned(),
        expected: "a model's `sha` and `siblings`",
    })?;
    let fetching = Fetching { client, hub, place: &place, repository: &repository, progress };
    let snapshot = place.snapshot(&repository.commit);
    let kind = if let Some(file) = &hub.file {
        if !repository.has(file) {
            return Err(fetching.lacks(file));
        }
        fetching.all(&[file.as_str()])?;
        ModelKind::Gguf
    } else {
        fetching.folder(&snapshot)?;
        ModelKind::Folder
    };
    // Branches point to the commit only now that it is whole.
    let refer = place.reference();
    if hub.revision() != repository.commit {
        refer.parent().map_or(Ok(()), cache::make_folder)?;
        fs::write(&refer, &repository.commit).map_err(SourceError::io("write", &refer))?;
    }
    Ok((hub.file.as_ref().map_or_else(|| snapshot.clone(), |file| snapshot.join(file)), kind))
}

/// The models in the cache that can be used, with their folders.
pub(super) fn repositories(options: &SourceOptions) -> Vec<(String, PathBuf)> {
    let names = cache::names(&options.hub.cache);
    let ids = names.iter().filter_map(|name| hub_id(&name.strip_prefix("models--")?.replacen("--", "/", 1)));
    ids.filter_map(|hub| Some((hub.repo.clone(), cached(&hub, options)?.0))).collect()
}

impl Hub {
    /// Whether a name has the form of a hub id.
    pub(super) fn is_id(name: &str) -> bool {
        hub_id(name).is_some()
    }
}

/// Where a repository is in the cache.
struct Place {
    cache: Cache,
    repo: Repo,
}

impl Place {
    fn new(hub: &Hub, options: &SourceOptions) -> Self {
        let repo = Repo::with_revision(hub.repo.clone(), RepoType::Model, hub.revision().to_owned());
        Self { cache: Cache::new(options.hub.cache.clone()), repo }
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join(self.repo.folder_name())
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.repo(self.repo.clone()).pointer_path(commit)
    }

    fn reference(&self) -> PathBuf {
        self.folder().join("refs").join(self.repo.revision())
    }

    /// The lock that other programs too hold while they fetch a blob.
    fn lock(&self, etag: &str) -> PathBuf {
        self.cache.path().join(".locks").join(self.repo.folder_name()).join(format!("{etag}.lock"))
    }

    /// The commit that the revision is, as far as the cache knows.
    fn commit(&self) -> Option<String> {
        let known = fs::read_to_string(self.reference()).map(|commit| commit.trim().to_owned());
        known.ok().or_else(|| Some(self.repo.revision().to_owned())).filter(|commit| is_commit(commit))
    }

    /// The note that a snapshot's repository lacks a file.
    fn absent(&self, snapshot: &Path, file: &str) -> Option<PathBuf> {
        Some(self.folder().join(".no_exist").join(snapshot.file_name()?).join(file))
    }
}

/// What the hub says a repository has.
struct Repository {
    commit: String,
    files: Vec<(String, Option<u64>)>,
}

impl Repository {
    fn read(answer: &Value) -> Option<Self> {
        let commit = answer.get("sha")?.as_str().filter(|commit| is_commit(commit))?.to_owned();
        let files = answer.get("siblings")?.as_array()?.iter();
        let files = files.filter_map(|file| {
            Some((file.get("rfilename")?.as_str()?.to_owned(), file.get("size").and_then(Value::as_u64)))
        });
        Some(Self { commit, files: files.collect() })
    }

    fn has(&self, file: &str) -> bool {
        self.files.iter().any(|(name, _)| name == file)
    }

    fn ending(&self, end: &str) -> Vec<String> {
        self.files.iter().map(|(name, _)| name.clone()).filter(|name| name.ends_with(end)).collect()
    }

    fn bytes(&self, file: &str) -> Option<u64> {
        self.files.iter().find(|(name, _)| name == file)?.1
    }
}

/// A repository being fetched.
struct Fetching<'a> {
    client: Client<'a>,
    hub: &'a Hub,
    place: &'a Place,
    repository: &'a Repository,
    progress: &'a dyn Progress,
}

impl Fetching<'_> {
    /// The text files, then the weights.
    fn folder(&self, snapshot: &Path) -> Result<(), SourceError> {
        let (small, lacking): (Vec<&str>, Vec<&str>) = SMALL.into_iter().partition(|file| self.repository.has(file));
        if !self.repository.has(CONFIG) {
            return Err(self.lacks(CONFIG));
        }
        let weights = self.weights(snapshot)?;
        for note in lacking.into_iter().filter_map(|file| self.place.absent(snapshot, file)) {
            note.parent().map_or(Ok(()), cache::make_folder)?;
            fs::write(&note, "").map_err(SourceError::io("write", &note))?;
        }
        self.all(&small.into_iter().chain(weights.iter().map(String::as_str)).collect::<Vec<_>>())
    }

    /// The names of the weight files: `model.safetensors`, or those of the index, or whatever safetensors there are.
    fn weights(&self, snapshot: &Path) -> Result<Vec<String>, SourceError> {
        const ONE: &str = "model.safetensors";
        if self.repository.has(ONE) {
            return Ok(vec![ONE.to_owned()]);
        }
        if self.repository.has(INDEX) {
            self.one(INDEX, &|_| {})?;
            let path = snapshot.join(INDEX);
            let text = fs::read_to_string(&path).map_err(SourceError::io("read", &path))?;
            let found = || "no list of safetensors files".to_owned();
            let expected = "an index whose `weight_map` names files beside it";
            return cache::shards(&text).ok_or_else(|| SourceError::NotAModel { path, found: found(), expected });
        }
        let mut weights = self.repository.ending(".safetensors");
        weights.retain(|name| cache::plain_file(name));
        if weights.is_empty() { Err(self.lacks("safetensors weights")) } else { Ok(weights) }
    }

    fn lacks(&self, file: &str) -> SourceError {
        SourceError::NoFile {
            file: file.to_owned(),
            hub: Box::new(self.hub.clone()),
            gguf: self.repository.ending(".gguf"),
        }
    }

    fn all(&self, files: &[&str]) -> Result<(), SourceError> {
        let bytes = files.iter().map(|file| self.repository.bytes(file)).sum();
        self.progress.start(&self.hub.to_string(), bytes);
        let mut before = 0;
        let fetched = files.iter().try_for_each(|file| {
            before += self.one(file, &|bytes| self.progress.advance(before + bytes))?;
            self.progress.advance(before);
            Ok(())
        });
        self.progress.finish();
        fetched
    }

    /// One file, if the snapshot lacks it; its length.
    fn one(&self, file: &str, grown: &dyn Fn(u64)) -> Result<u64, SourceError> {
        let link = self.place.snapshot(&self.repository.commit).join(file);
        if let Ok(about) = fs::metadata(&link) {
            return Ok(about.len());
        }
        let url = format!("{}/resolve/{}/{file}", self.hub.repo, self.repository.commit);
        let mut about = self.client.about(self.hub, &url)?;
        about.bytes = about.bytes.or(self.repository.bytes(file));
        let blobs = self.place.folder().join("blobs");
        cache::make_folder(&blobs)?;
        let blob = blobs.join(&about.etag);
        let _lock = cache::lock(&self.place.lock(&about.etag), self.progress)?;
        if !blob.is_file() {
            let partial = blobs.join(format!("{}.incomplete", about.etag));
            let content = self.client.download(self.hub, &url, &about, &partial, grown)?;
            cache::settle(&content, &partial, &blob)?;
        }
        link.parent().map_or(Ok(()), cache::make_folder)?;
        point(&link, &blob, 2 + file.matches('/').count(), &about.etag)?;
        fs::metadata(&blob).map(|about| about.len()).map_err(SourceError::io("read", &blob))
    }
}

/// Makes the link in the snapshot, `up` folders below the repository's; a copy where there are no links.
fn point(link: &Path, blob: &Path, up: usize, etag: &str) -> Result<(), SourceError> {
    let _ = fs::remove_file(link); // a link that leads nowhere any more
    #[cfg(unix)]
    {
        let _ = blob;
        std::os::unix::fs::symlink(format!("{}blobs/{etag}", "../".repeat(up)), link)
            .map_err(SourceError::io("link", link))
    }
    #[cfg(not(unix))]
    {
        let _ = (up, etag);
        fs::copy(blob, link).map(|_| ()).map_err(SourceError::io("write", link))
    }
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
