//! Which codec or model: one that comes with the program, or a folder; and codecs behind one face.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jielong_audio::codec::FrameCodec;
use jielong_audio::mulaw::MuLaw;
use jielong_audio::sound::Sound;
use jielong_core::{Codec, CodecError, Codes};
use jielong_image::picture::Picture;
use jielong_image::pixel::{Palette, Raw};
use jielong_image::vq::VqCodec;
use jielong_nn::device::Device;

use crate::sources::cache;

/// Where the weights that come with the program may be: beside it, where a package puts them, where it was built.
fn shipped() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let installed = beside.and_then(Path::parent).map(|prefix| prefix.join("share/jielong/models"));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    beside.map(|folder| folder.join("models")).into_iter().chain(installed).chain([built]).collect()
}

/// The file that says what a learned codec is.
const CONFIG: &str = "config.toml";
/// Its weights.
const WEIGHTS: &str = "model.safetensors";
/// The file of a codec of pixels: its colours.
pub const PALETTE: &str = "palette.json";

/// A codec for pictures, whichever it is.
pub struct PictureCodec {
    codec: Box<dyn Codec<Media = Picture> + Send + Sync>,
    patch: usize,
    files: Vec<PathBuf>,
}

/// A codec for sounds, whichever it is.
pub struct SoundCodec {
    codec: Box<dyn Codec<Media = Sound> + Send + Sync>,
    rate: u32,
    hop: usize,
    files: Vec<PathBuf>,
}

impl PictureCodec {
    /// Opens a codec: `rgb`, pixels as they are; the name of one that comes with the program; a folder with `palette.json`, for
    /// pixels of its colours, or with `config.toml` and `model.safetensors`, of which other `weights` can be given.
    ///
    /// # Errors
    /// As [`folder`]; what is wrong in the files.
    pub fn open(name: &Path, weights: Option<&Path>, device: &Device) -> Result<Self> {
        if name == Path::new("rgb") {
            return Ok(Self { codec: Box::new(Raw), patch: 1, files: Vec::new() });
        }
        if let Ok(folder) = folder(name, PALETTE) {
            let path = folder.join(PALETTE);
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let codec = Box::new(Palette::from_json(&path.display().to_string(), &text)?);
            return Ok(Self { codec, patch: 1, files: vec![path] });
        }
        let files = learned(name, weights)?;
        let codec = VqCodec::open(&files[0], &files[1], device)?;
        Ok(Self { patch: codec.patch(), codec: Box::new(codec), files: files.into() })
    }

    /// Pixels of the side of a place.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// What the codes depend on; nothing of a codec that is built in.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl SoundCodec {
    /// Opens a codec: `mulaw`, samples as they are, in 8 bits; the name of one that comes with the program; a folder with
    /// `config.toml` and `model.safetensors`, of which other `weights` can be given.
    ///
    /// # Errors
    /// As [`folder`]; what is wrong in the files.
    pub fn open(name: &Path, weights: Option<&Path>, device: &Device) -> Result<Self> {
        if name == Path::new("mulaw") {
            let codec = MuLaw::default();
            return Ok(Self { rate: codec.rate, codec: Box::new(codec), hop: 1, files: Vec::new() });
        }
        let files = learned(name, weights)?;
        let codec = FrameCodec::open(&files[0], &files[1], device)?;
        let (rate, hop) = (codec.config().sample_rate, codec.config().hop);
        Ok(Self { codec: Box::new(codec), rate, hop, files: files.into() })
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples of a place.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// What the codes depend on; nothing of a codec that is built in.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl Codec for PictureCodec {
    type Media = Picture;

    fn books(&self) -> &[u32] {
        self.codec.books()
    }

    fn vectors(&self, book: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        self.codec.vectors(book)
    }

    fn encode(&self, picture: &Picture) -> Result<Codes, CodecError> {
        self.codec.encode(picture)
    }

    fn decode(&self, codes: &Codes) -> Result<Picture, CodecError> {
        self.codec.decode(codes)
    }
}

impl Codec for SoundCodec {
    type Media = Sound;

    fn books(&self) -> &[u32] {
        self.codec.books()
    }

    fn vectors(&self, book: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        self.codec.vectors(book)
    }

    fn encode(&self, sound: &Sound) -> Result<Codes, CodecError> {
        self.codec.encode(sound)
    }

    fn decode(&self, codes: &Codes) -> Result<Sound, CodecError> {
        self.codec.decode(codes)
    }
}

/// The config and the weights of a learned codec.
///
/// # Errors
/// As [`folder`].
pub fn learned(name: &Path, weights: Option<&Path>) -> Result<[PathBuf; 2]> {
    let folder = folder(name, CONFIG)?;
    Ok([folder.join(CONFIG), weights.map_or_else(|| folder.join(WEIGHTS), Path::to_path_buf)])
}

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
