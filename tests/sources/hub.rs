//! The hub: what is fetched, and every way in which it can fail.

use std::fs;
use std::time::Duration;

use jielong::sources::{LocalModel, ModelKind, NoProgress, SourceError, SourceOptions, find, list, pull};

use crate::server::{COMMIT, Fault, Server, nowhere};
use crate::{Heard, files, options, sha256};

const NAME: &str = "owner/name";

/// Longer than one buffer of the transfer.
fn weights() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

fn repository(weights: &[u8]) -> Vec<(&'static str, &[u8])> {
    vec![
        ("README.md", b"---\nlicense: mit\n---\n"),
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"a\": 1}"),
        ("pytorch_model.bin", b"never"),
        ("onnx/model.safetensors", b"never"),
        ("q/small.gguf", b"GGUF"),
        ("model.safetensors", weights),
    ]
}

struct Case {
    folder: tempfile::TempDir,
    options: SourceOptions,
    server: Server,
}

impl Case {
    fn new(fault: Fault) -> Self {
        Self::with(&repository(&weights()), fault)
    }

    fn with(files: &[(&str, &[u8])], fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(files, fault);
        let mut options = options(folder.path());
        options.hub.endpoint = server.endpoint.clone();
        options.hub.stall_timeout = Duration::from_millis(400);
        Self { folder, options, server }
    }

    fn pull(&self) -> Result<LocalModel, SourceError> {
        pull(NAME, &self.options, &NoProgress)
    }

    fn error(&self) -> String {
        self.pull().unwrap_err().to_string()
    }

    fn files(&self) -> Vec<String> {
        files(&self.folder.path().join("hub"))
    }

    /// No model is found, and no blob of the weights is there.
    fn is_empty(&self) {
        assert!(find(NAME, &self.options).unwrap().is_none());
        assert!(!self.files().iter().any(|file| file.ends_with(&sha256(&weights()))), "{:?}", self.files());
    }
}

#[test]
fn a_model_is_fetched_once_into_the_shared_cache() {
    let mut case = Case::new(Fault::None);
    case.options.hub.token = Some("secret".to_owned());
    let heard = Heard::default();
    let model = pull(NAME, &case.options, &heard).unwrap();
    assert_eq!((model.kind, model.origin.as_str(), model.license.as_deref()), (ModelKind::Folder, "hub", Some("mit")));
    assert_eq!(model.path, case.folder.path().join("hub/models--owner--name/snapshots").join(COMMIT));
    assert_eq!(files(&model.path), ["README.md", "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read(model.path.join("model.safetensors")).unwrap(), weights());
    let blob = case.folder.path().join("hub/models--owner--name/blobs").join(sha256(&weights()));
    assert_eq!(fs::read(blob).unwrap(), weights());
    heard.check(weights().len() + 2 + 8 + 21);
    assert_eq!(case.server.count("GET /api"), 1);
    assert!(case.server.requests.lock().unwrap().iter().all(|request| request.ends_with("bearer secret")));
    assert!(!case.files().iter().any(|file| file.ends_with(".incomplete")));

    case.options.hub.endpoint = nowhere();
    for name in [NAME.to_owned(), format!("{NAME}@main"), format!("{NAME}@{COMMIT}")] {
        assert_eq!(pull(&name, &case.options, &NoProgress).unwrap().path, model.path);
    }
    let listed = list(&case.options).into_iter().find(|listed| listed.name == NAME).unwrap();
    assert_eq!((listed.cached, listed.bytes), (Some(model.path), Some(300_031)));
}

#[test]
fn one_gguf_file_of_a_repository() {
    let case = Case::new(Fault::None);
    let model = pull("owner/name:q/small.gguf", &case.options, &NoProgress).unwrap();
    assert_eq!((model.kind, fs::read(&model.path).unwrap()), (ModelKind::Gguf, b"GGUF".to_vec()));
    assert_eq!(find("owner/name:q/small.gguf", &case.options).unwrap().unwrap().path, model.path);
    let error = pull("owner/name:other.gguf", &case.options, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("no other.gguf") && error.contains("owner/name:q/small.gguf"), "{error}");
}

#[test]
fn shards_are_those_of_the_index() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let mut files_there: Vec<(&str, &[u8])> = vec![("config.json", b"{}"), ("model.safetensors.index.json", index)];
    files_there.extend([
        ("model-1.safetensors", &b"1"[..]),
        ("model-2.safetensors", b"2"),
        ("consolidated.safetensors", b"12"),
    ]);
    let case = Case::with(&files_there, Fault::None);
    let model = case.pull().unwrap();
    let expected = ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"];
    assert_eq!(files(&model.path), expected);
    fs::remove_file(model.path.join("model-2.safetensors")).unwrap();
    assert!(find(NAME, &case.options).unwrap().is_none(), "a shard is missing");

    let index = br#"{"weight_map": {"a": "../../escaped.safetensors"}}"#;
    let case = Case::with(&[("config.json", b"{}"), ("model.safetensors.index.json", index)], Fault::None);
    assert!(case.error().contains("weight_map"), "{}", case.error());
}

#[test]
fn a_cut_transfer_is_continued_where_it_broke_off() {
    let case = Case::new(Fault::Cut { times: 2, after: 100_000 });
    assert_eq!(fs::read(case.pull().unwrap().path.join("model.safetensors")).unwrap(), weights());
    let requests = case.server.requests.lock().unwrap();
    assert!(
        requests.iter().any(|request| request.starts_with("GET /storage") && request.contains("Some(200000)")),
        "{requests:?}"
    );
}

#[test]
fn what_a_failed_run_left_is_continued_by_the_next() {
    let mut case = Case::new(Fault::Cut { times: 1, after: 70_000 });
    case.options.hub.retries = 0;
    let error = case.error();
    assert!(error.contains("70000 of 300000 bytes") && error.contains("run it again"), "{error}");
    case.is_empty();
    assert!(case.files().iter().any(|file| file.ends_with(".incomplete")));
    assert_eq!(fs::read(case.pull().unwrap().path.join("model.safetensors")).unwrap(), weights());
    assert_eq!(case.server.count("GET /storage/model.safetensors HTTP/1.1 Some(70000)"), 1);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let case = Case::new(Fault::NoRange);
    let blobs = case.folder.path().join("hub/models--owner--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", sha256(&weights()))), "half").unwrap();
    assert_eq!(fs::read(case.pull().unwrap().path.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn wrong_content_and_wrong_length_are_thrown_away() {
    for (fault, words) in [
        (Fault::Content, format!("expected {}", sha256(&weights()))),
        (Fault::Longer, "has 300001 bytes, expected 300000".to_owned()),
    ] {
        let case = Case::new(fault);
        let error = case.error();
        assert!(error.contains(&words), "{error}");
        case.is_empty();
        assert!(!case.files().iter().any(|file| file.ends_with(".incomplete")), "{:?}", case.files());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let steps = ["accept the licence at", "/settings/tokens", "HF_TOKEN", "hf auth login"];
    for (fault, words) in [
        (Fault::Files(401, "GatedRepo"), &steps[..]),
        (Fault::Files(403, "GatedRepo"), &steps),
        (Fault::Files(401, ""), &steps),
        (Fault::Api(401, "RepoNotFound"), &["no model `owner/name`", "private"]),
        (Fault::Api(404, ""), &["no model `owner/name`", "private"]),
        (Fault::Api(404, "RevisionNotFound"), &["no revision `owner/name`"]),
        (Fault::Api(500, ""), &["answered 500"]),
        (Fault::Tag, &["../../../escaped", "expected a hash"]),
    ] {
        let case = Case::new(fault);
        let error = case.error();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        case.is_empty();
    }
    let mut case = Case::new(Fault::Files(403, "GatedRepo"));
    case.options.hub.token = Some("secret".to_owned());
    assert!(case.error().contains("has no access") && !case.error().contains("secret"));
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let case = Case::new(Fault::Stall);
    assert!(case.error().contains("cannot be reached: timeout"), "{}", case.error());
    let mut case = Case::new(Fault::StallAfter(50_000));
    case.options.hub.retries = 1;
    let error = case.error();
    assert!(error.contains("of 300000 bytes") && error.contains("timeout"), "{error}");
    case.is_empty();
}

#[test]
fn a_repository_without_readable_weights() {
    let case = Case::with(&[("config.json", b"{}"), ("pytorch_model.bin", b"x")], Fault::None);
    assert!(case.error().contains("no safetensors weights and no GGUF file"), "{}", case.error());
    let case = Case::with(&[("a.gguf", b"x")], Fault::None);
    assert!(case.error().contains("no config.json") && case.error().contains("owner/name:a.gguf"), "{}", case.error());
}

#[test]
fn offline_means_no_request() {
    let case = Case::new(Fault::None);
    let options = case.options.clone().offline(true);
    let error = pull(NAME, &options, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("offline") && error.contains("hub owner/name"), "{error}");
    assert!(case.server.requests.lock().unwrap().is_empty());
    case.pull().unwrap();
    assert!(pull(NAME, &options, &NoProgress).is_ok());
}
