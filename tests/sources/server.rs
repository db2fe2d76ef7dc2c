//! A server that answers as the hub does, or fails in one given way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::sha256;

/// The commit of the one revision.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The first answers with content from the storage break off: so many of them, after so many bytes.
    Cut {
        times: usize,
        after: usize,
    },
    /// The storage has other content of the same length.
    Content,
    /// The storage has another byte at the end.
    Longer,
    /// Files are answered with this status and error code.
    Files(u16, &'static str),
    /// The API is answered so.
    Api(u16, &'static str),
    /// Nothing is answered at all.
    Stall,
    /// The storage sends the weights so far and then nothing more, with the connection open.
    StallAfter(usize),
    /// The storage does not know ranges.
    NoRange,
    /// The tag of a file leaves the cache folder.
    Tag,
}

pub struct Server {
    pub endpoint: String,
    pub requests: Arc<Mutex<Vec<String>>>,
}

/// An address at which nothing listens.
pub fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

impl Server {
    /// Serves one repository, `owner/name`, until the process ends.
    pub fn start(files: &[(&str, &[u8])], fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let state = Arc::new(State {
            endpoint: endpoint.clone(),
            files,
            fault,
            cuts: Mutex::new(0),
            requests: requests.clone(),
        });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                thread::spawn(move || state.answer(stream));
            }
        });
        Self { endpoint, requests }
    }

    /// How many requests began so.
    pub fn count(&self, start: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.starts_with(start)).count()
    }
}

struct State {
    endpoint: String,
    files: BTreeMap<String, Vec<u8>>,
    fault: Fault,
    cuts: Mutex<usize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl State {
    fn answer(&self, stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
        let header = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let range =
            header("range: bytes=").and_then(|range| range.strip_suffix('-')).map(|start| start.parse().unwrap());
        let token = header("authorization:").unwrap_or("-");
        self.requests.lock().unwrap().push(format!("{request} {range:?} {token}"));
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        if self.fault == Fault::Stall {
            return hold(stream);
        }
        let resolve = format!("/owner/name/resolve/{COMMIT}/");
        if path.starts_with("/api/models/owner/name/revision/main") {
            match self.fault {
                Fault::Api(status, code) => refuse(stream, status, code),
                _ => send(stream, "200 OK", "", self.api().as_bytes()),
            }
        } else if let Some(name) = path.strip_prefix(&resolve) {
            self.resolve(stream, method, name);
        } else if let Some(name) = path.strip_prefix("/storage/") {
            self.storage(stream, name, range);
        } else {
            refuse(stream, 404, "RepoNotFound");
        }
    }

    fn api(&self) -> String {
        let files =
            self.files.iter().map(|(name, bytes)| format!(r#"{{"rfilename":"{name}","size":{}}}"#, bytes.len()));
        format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.collect::<Vec<_>>().join(","))
    }

    /// Small files are sent at once, weights are redirected to the storage.
    fn resolve(&self, stream: TcpStream, method: &str, name: &str) {
        let Some(bytes) = self.files.get(name) else { return refuse(stream, 404, "EntryNotFound") };
        let hash = sha256(bytes);
        if let Fault::Files(status, code) = self.fault {
            refuse(stream, status, code);
        } else if self.fault == Fault::Tag {
            send(stream, "200 OK", "ETag: \"../../../escaped\"\r\n", bytes);
        } else if name.ends_with(".safetensors") || name.ends_with(".gguf") {
            let (endpoint, length) = (&self.endpoint, bytes.len());
            let headers = format!(
                "Location: {endpoint}/storage/{name}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {length}\r\n"
            );
            send(stream, "302 Found", &headers, b"");
        } else if method == "HEAD" {
            head(stream, &format!("ETag: \"{}\"\r\nContent-Length: {}\r\n", &hash[..40], bytes.len()));
        } else {
            send(stream, "200 OK", "", bytes);
        }
    }

    fn storage(&self, mut stream: TcpStream, name: &str, range: Option<usize>) {
        let mut bytes = self.files[name].clone();
        match self.fault {
            Fault::Content => bytes[0] ^= 1,
            Fault::Longer => bytes.push(0),
            _ => {}
        }
        let start = range.filter(|_| self.fault != Fault::NoRange);
        let rest = &bytes[start.unwrap_or(0)..];
        let status = if start.is_some() { "206 Partial Content" } else { "200 OK" };
        let part = match self.fault {
            Fault::Cut { times, after }
                if {
                    let mut cuts = self.cuts.lock().unwrap();
                    *cuts += 1;
                    *cuts <= times
                } =>
            {
                after.min(rest.len())
            }
            Fault::StallAfter(after) => after.saturating_sub(start.unwrap_or(0)),
            _ => return send(stream, status, "", rest),
        };
        head_of(&mut stream, status, &format!("Content-Length: {}\r\n", rest.len()));
        stream.write_all(&rest[..part]).unwrap();
        if let Fault::StallAfter(_) = self.fault {
            hold(stream);
        }
    }
}

/// Keeps the connection open until the other side gives up.
fn hold(stream: TcpStream) {
    let _ = std::io::copy(&mut &stream, &mut std::io::sink());
}

fn refuse(stream: TcpStream, status: u16, code: &str) {
    send(stream, &format!("{status} No"), &format!("X-Error-Code: {code}\r\n"), b"no");
}

fn head(mut stream: TcpStream, headers: &str) {
    head_of(&mut stream, "200 OK", headers);
}

fn send(mut stream: TcpStream, status: &str, headers: &str, body: &[u8]) {
    head_of(&mut stream, status, &format!("{headers}Content-Length: {}\r\n", body.len()));
    let _ = stream.write_all(body); // the other side may have heard enough, as after HEAD
}

fn head_of(stream: &mut TcpStream, status: &str, headers: &str) {
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
}
