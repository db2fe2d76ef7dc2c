//! Pictures and sounds as segments of a vocabulary.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jielong_audio::codec::FrameCodec;
use jielong_audio::sound::{self, Sound};
use jielong_core::{Codec, Codes, Segment, Vocab};
use jielong_image::picture::{Picture, Reading};
use jielong_image::vq::VqCodec;
use jielong_nn::device::Device;
use sha2::{Digest, Sha256};

use super::File;
use crate::codecs;

/// The codec of a kind.
#[derive(Debug)]
pub enum MediaCodec {
    /// Of pictures: the kinds with a grid.
    Picture(Box<VqCodec>),
    /// Of recordings.
    Sound(Box<FrameCodec>),
}

/// The codecs of a vocabulary, kind by kind.
#[derive(Debug)]
pub struct Codecs(Vec<Option<(MediaCodec, PathBuf)>>);

impl MediaCodec {
    /// Sizes of its books.
    pub fn books(&self) -> &[u32] {
        match self {
            Self::Picture(codec) => codec.books(),
            Self::Sound(codec) => codec.books(),
        }
    }

    /// Codes of a file.
    ///
    /// # Errors
    /// The file cannot be read, or the codec does not take it.
    pub fn encode_file(&self, path: &Path) -> Result<Codes> {
        let codes = match self {
            Self::Picture(codec) => codec.encode(&Picture::open(path, &Reading::default())?),
            Self::Sound(codec) => {
                let rate = Some(codec.config().sample_rate);
                codec.encode(&Sound::open(path, &sound::Reading { rate, ..sound::Reading::default() })?)
            }
        };
        codes.with_context(|| path.display().to_string())
    }
}

impl Codecs {
    /// Opens the codec of each kind that has one.
    ///
    /// # Errors
    /// A codec that is not there, or whose books are not the kind's.
    pub fn open(vocab: &Vocab, device: &Device) -> Result<Self> {
        let open = |(at, kind): (usize, &jielong_core::Kind)| -> Result<Option<(MediaCodec, PathBuf)>> {
            let Some(name) = &kind.codec else { return Ok(None) };
            let folder = codecs::folder(Path::new(name), codecs::CONFIG)?;
            let [config, weights] = ["config.toml", "model.safetensors"].map(|file| folder.join(file));
            let codec = match kind.grid {
                true => MediaCodec::Picture(Box::new(VqCodec::open(&config, &weights, device)?)),
                false => MediaCodec::Sound(Box::new(FrameCodec::open(&config, &weights, device)?)),
            };
            let none = Codes { size: vec![0], grid: vec![0], books: codec.books().len(), values: Vec::new() };
            vocab.segment(at, &none, codec.books()).with_context(|| format!("codec `{name}`"))?;
            Ok(Some((codec, folder)))
        };
        vocab.kinds().iter().enumerate().map(open).collect::<Result<_>>().map(Self)
    }

    /// The codec of a kind.
    ///
    /// # Errors
    /// It has none.
    pub fn of(&self, vocab: &Vocab, kind: usize) -> Result<&MediaCodec> {
        let found = self.0.get(kind).and_then(Option::as_ref);
        let name = || vocab.kinds().get(kind).map_or_else(|| kind.to_string(), |kind| kind.name.clone());
        found.map(|(codec, _)| codec).with_context(|| format!("the kind `{}` has no codec", name()))
    }

    /// What is read for a kind.
    pub fn file(&self, kind: usize) -> File {
        match self.0.get(kind).and_then(Option::as_ref) {
            Some((MediaCodec::Picture(_), _)) => File::Picture,
            Some((MediaCodec::Sound(_), _)) => File::Sound,
            None => File::Record,
        }
    }

    /// Hash of the files of a kind's codec.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn hash(&self, kind: usize) -> Result<Sha256> {
        let Some((_, folder)) = self.0.get(kind).and_then(Option::as_ref) else { bail!("no codec") };
        ["config.toml", "model.safetensors"].iter().try_fold(Sha256::new(), |hash, file| {
            let path = folder.join(file);
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            Ok(hash.chain_update(bytes))
        })
    }

    /// The picture of a segment: whole patches.
    ///
    /// # Errors
    /// The kind has no codec of pictures; codes of another one.
    pub fn picture(&self, vocab: &Vocab, segment: &Segment) -> Result<Picture> {
        let MediaCodec::Picture(codec) = self.of(vocab, segment.kind)? else { bail!("this kind is no picture") };
        let size = segment.grid.iter().map(|places| places * codec.patch()).collect();
        Ok(codec.decode(&vocab.codes(segment, codec.books(), size)?)?)
    }

    /// The sound of a segment: whole frames.
    ///
    /// # Errors
    /// The kind has no codec of sounds; codes of another one; none at all.
    pub fn sound(&self, vocab: &Vocab, segment: &Segment) -> Result<Sound> {
        let MediaCodec::Sound(codec) = self.of(vocab, segment.kind)? else { bail!("this kind is no sound") };
        ensure!(!segment.values.is_empty(), "the sound has no frame");
        let size = segment.grid.iter().map(|frames| frames * codec.config().hop).collect();
        Ok(codec.decode(&vocab.codes(segment, codec.books(), size)?)?)
    }
}
