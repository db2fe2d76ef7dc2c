//! One file over HTTP, to the last byte: length and hash are checked, and a transfer that breaks off is continued.
//!
//! The crate `hf-hub` is used for the names in the cache, but not for transfers: version 0.5 checks neither length nor hash,
//! waits for ever on a server that stalls, and leaves the data unsynchronised. The requests are the same as Python's
//! `huggingface_hub` makes, into the same `blobs/ETAG.incomplete`, so that either continues what the other began.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread;

use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, config::RedirectAuthHeaders};

use super::aliases::Hub;
use super::package::hex;
use super::{HubSettings, SourceError};

/// Answers of the hub's API are cut off here.
const API_LIMIT: u64 = 16 << 20;
/// Redirects within the hub, as of a repository that was renamed.
const REDIRECTS: usize = 5;

/// Requests to one hub.
pub(super) struct Client<'a> {
    agent: Agent,
    direct: Agent,
    settings: &'a HubSettings,
}

/// What the hub says about a file before it is fetched.
pub(super) struct About {
    /// The name of the blob in the cache.
    pub(super) etag: String,
    /// The content's hash, which the hub tells of large files only.
    pub(super) sha256: Option<String>,
    /// The length.
    pub(super) bytes: Option<u64>,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings) -> Self {
        let agent = |redirects| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .timeout_resolve(Some(settings.connect_timeout))
                .timeout_connect(Some(settings.connect_timeout))
                .timeout_recv_response(Some(settings.stall_timeout))
                .timeout_per_read(Some(settings.stall_timeout))
                .max_redirects(redirects)
                .max_redirects_will_error(false)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .accept_encoding("identity") // lengths and ranges are those of the file itself
                .user_agent(concat!("jielong/", env!("CARGO_PKG_VERSION")));
            config.build().new_agent()
        };
        Self { agent: agent(10), direct: agent(0), settings }
    }

    /// What the hub's API says, as JSON.
    pub(super) fn json(&self, hub: &Hub, path: &str) -> Result<serde_json::Value, SourceError> {
        let url = format!("{}/api/{path}", self.settings.endpoint);
        let response = self.authorised(self.agent.get(&url)).call().map_err(|error| self.unreachable(&error))?;
        let mut response = self.accepted(hub, &url, response)?;
        let text = response.body_mut().with_config().limit(API_LIMIT).read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        let found = |error: serde_json::Error| format!("something else ({error})");
        serde_json::from_str(&text).map_err(|error| SourceError::BadAnswer {
            url,
            found: found(error),
            expected: "JSON",
        })
    }

    /// Asks for a file's hash and length. Large files are redirected to a storage, and the hub's own answer, not the
    /// storage's, has them.
    pub(super) fn about(&self, hub: &Hub, path: &str) -> Result<About, SourceError> {
        let mut url = format!("{}/{path}", self.settings.endpoint);
        for _ in 0..REDIRECTS {
            let request = self.authorised(self.direct.head(&url));
            let response = request.call().map_err(|error| self.unreachable(&error))?;
            let headers = response.headers();
            if let Some(place) = header(headers, "location").filter(|place| place.starts_with('/'))
                && response.status().is_redirection()
            {
                url = format!("{}{place}", origin(&self.settings.endpoint));
                continue;
            }
            if response.status().is_redirection() && header(headers, "x-linked-etag").is_some() {
                return About::read(&url, headers);
            }
            return About::read(&url, self.accepted(hub, &url, response)?.headers());
        }
        Err(SourceError::BadAnswer { url, found: "too many redirects".to_owned(), expected: "a file" })
    }

    /// Fetches a file to `partial`, continuing what is there. On return it has the right length and hash.
    pub(super) fn download(
        &self,
        hub: &Hub,
        path: &str,
        about: &About,
        partial: &Path,
        grown: &dyn Fn(u64),
    ) -> Result<File, SourceError> {
        let url = format!("{}/{path}", self.settings.endpoint);
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut growing = Growing::open(partial, about.bytes)?;
        let mut failed = 0;
        while !growing.ended && about.bytes != Some(growing.have) {
            let before = growing.have;
            let Err(reason) = self.go_on(hub, &url, &mut growing, about.bytes, grown)? else { continue };
            failed = if growing.have > before { 1 } else { failed + 1 };
            if failed > self.settings.retries {
                growing.file.sync_all().map_err(SourceError::io("write", partial))?;
                let (have, bytes) = (growing.have, about.bytes);
                return Err(SourceError::Interrupted { file: name, have, bytes, reason });
            }
            thread::sleep(self.settings.retry_pause);
        }
        grown(growing.have);
        if let Some(expected) = about.bytes.filter(|&expected| expected != growing.have) {
            remove(partial)?;
            return Err(SourceError::WrongLength { file: name, found: growing.have, expected });
        }
        let found = hex(growing.hash);
        if let Some(expected) = about.sha256.clone().filter(|expected| *expected != found) {
            remove(partial)?;
            return Err(SourceError::WrongHash { file: name, found, expected });
        }
        Ok(growing.file)
    }

    /// One request for the rest of the file. The inner error is one to try again after.
    fn go_on(
        &self,
        hub: &Hub,
        url: &str,
        growing: &mut Growing<'_>,
        bytes: Option<u64>,
        grown: &dyn Fn(u64),
    ) -> Result<Result<(), String>, SourceError> {
        let mut request = self.authorised(self.agent.get(url));
        if growing.have > 0 {
            request = request.header("range", format!("bytes={}-", growing.have));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match response.status().as_u16() {
            206 => {}
            416 if growing.have > 0 => return growing.restart().map(|()| Err("the rest was refused".to_owned())),
            status @ 500..=599 => return Ok(Err(format!("status {status}"))),
            _ if growing.have > 0 => growing.restart()?, // all of it, from the start
            _ => {}
        }
        let response = self.accepted(hub, url, response)?;
        growing.take(&mut response.into_body().into_reader(), bytes, grown)
    }

    fn authorised<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.settings.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> SourceError {
        SourceError::Unreachable { endpoint: self.settings.endpoint.clone(), reason: error.to_string() }
    }

    /// The response if its status is good, else what the status means. The hub answers 401 for a repository that does not
    /// exist when no token was sent, and says so in a header.
    fn accepted(&self, hub: &Hub, url: &str, response: Response<Body>) -> Result<Response<Body>, SourceError> {
        let status = response.status().as_u16();
        let code = header(response.headers(), "x-error-code").unwrap_or_default();
        let (hub, endpoint) = (Box::new(hub.clone()), self.settings.endpoint.clone());
        Err(match (status, code) {
            (200..=299, _) => return Ok(response),
            (_, "RevisionNotFound") => SourceError::Missing { status, what: "revision", hub, endpoint },
            (_, "EntryNotFound") => SourceError::NoFile { file: url.to_owned(), hub, gguf: Vec::new() },
            (404, _) | (_, "RepoNotFound") => SourceError::Missing { status, what: "model", hub, endpoint },
            (401 | 403, _) => SourceError::Gated { status, hub, endpoint, token: self.settings.token.is_some() },
            _ => {
                let message = header(response.headers(), "x-error-message").unwrap_or_default().to_owned();
                SourceError::Status { url: url.to_owned(), status, message }
            }
        })
    }
}

impl About {
    fn read(url: &str, headers: &HeaderMap) -> Result<Self, SourceError> {
        let either = |linked, own| header(headers, linked).or_else(|| header(headers, own));
        let etag = either("x-linked-etag", "etag").unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        if !(8..=128).contains(&etag.len()) || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let found = format!("the ETag `{etag}`");
            return Err(SourceError::BadAnswer { url: url.to_owned(), found, expected: "a hash as ETag" });
        }
        let is_sha256 = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(Self {
            sha256: is_sha256.then(|| etag.to_ascii_lowercase()),
            bytes: either("x-linked-size", "content-length").and_then(|bytes| bytes.parse().ok()),
            etag,
        })
    }
}

/// A file on its way, with the hash of what is there.
struct Growing<'a> {
    path: &'a Path,
    file: File,
    hash: Sha256,
    have: u64,
    /// Whether the server closed the last answer properly.
    ended: bool,
}

impl<'a> Growing<'a> {
    fn open(path: &'a Path, bytes: Option<u64>) -> Result<Self, SourceError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(SourceError::io("open", path))?;
        let mut growing = Self { path, file, hash: Sha256::new(), have: 0, ended: false };
        let copied = std::io::copy(&mut growing.file, &mut growing.hash);
        growing.have = copied.map_err(SourceError::io("read", path))?;
        // Without a length, what is there cannot be told from the whole.
        if bytes.is_none_or(|bytes| growing.have > bytes) {
            growing.restart()?;
        }
        Ok(growing)
    }

    fn restart(&mut self) -> Result<(), SourceError> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(SourceError::io("shorten", self.path))?;
        (self.hash, self.have) = (Sha256::new(), 0);
        Ok(())
    }

    /// Takes what comes, at most one byte more than the file should have.
    fn take(
        &mut self,
        reader: &mut dyn Read,
        bytes: Option<u64>,
        grown: &dyn Fn(u64),
    ) -> Result<Result<(), String>, SourceError> {
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let new = buffer.get(..read).unwrap_or_default();
            self.file.write_all(new).map_err(SourceError::io("write", self.path))?;
            self.hash.update(new);
            self.have += read as u64;
            grown(self.have);
            if bytes.is_some_and(|bytes| self.have > bytes) {
                break;
            }
        }
        if bytes.is_some_and(|bytes| self.have < bytes) {
            return Ok(Err("the connection was closed".to_owned()));
        }
        self.ended = true;
        Ok(Ok(()))
    }
}

fn remove(path: &Path) -> Result<(), SourceError> {
    std::fs::remove_file(path).map_err(SourceError::io("remove", path))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    url.get(..end).unwrap_or(url)
}
