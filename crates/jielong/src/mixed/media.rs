//! Pictures and sounds as segments of a vocabulary.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jielong_audio::sound::{self, Sound};
use jielong_core::{Codec, CodecError, Codes, Kind, Segment, Vocab};
use jielong_image::picture::{Picture, Reading};
use jielong_image::train::whole;
use jielong_llama::TokenVectors;
use jielong_nn::device::Device;
use jielong_nn::train::Random;
use sha2::{Digest, Sha256};

use super::{Changes, File, MixedConfig};
use crate::codecs::{PictureCodec, SoundCodec};

/// A vocabulary with the codecs of its kinds.
pub struct Media {
    /// The ids.
    pub vocab: Vocab,
    side: usize,
    seconds: Option<f64>,
    /// Kind by kind.
    codecs: Vec<Option<MediaCodec>>,
}

/// The codec of a kind.
enum MediaCodec {
    /// Of pictures: the kinds with a grid.
    Picture(PictureCodec),
    /// Of recordings.
    Sound(SoundCodec),
}

impl MediaCodec {
    fn books(&self) -> &[u32] {
        match self {
            Self::Picture(codec) => codec.books(),
            Self::Sound(codec) => codec.books(),
        }
    }

    fn vectors(&self, book: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        match self {
            Self::Picture(codec) => codec.vectors(book),
            Self::Sound(codec) => codec.vectors(book),
        }
    }

    fn files(&self) -> &[PathBuf] {
        match self {
            Self::Picture(codec) => codec.files(),
            Self::Sound(codec) => codec.files(),
        }
    }
}

impl Media {
    /// The vocabulary of a config, and the codec of each kind that has one.
    ///
    /// # Errors
    /// As [`MixedConfig::check`]; a codec that is not there, or whose books are not the kind's.
    pub fn open(config: &MixedConfig, device: &Device) -> Result<Self> {
        let vocab = config.check()?;
        let open = |(at, kind): (usize, &Kind)| -> Result<Option<MediaCodec>> {
            let Some(name) = &kind.codec else { return Ok(None) };
            let codec = match kind.grid {
                true => PictureCodec::open(Path::new(name), None, device).map(MediaCodec::Picture),
                false => SoundCodec::open(Path::new(name), None, device).map(MediaCodec::Sound),
            };
            let codec = codec.with_context(|| format!("codec `{name}`"))?;
            let books = codec.books();
            let none = Codes { size: vec![0], grid: vec![0], books: books.len(), values: Vec::new() };
            vocab.segment(at, &none, books).with_context(|| format!("codec `{name}`"))?;
            Ok(Some(codec))
        };
        let codecs = vocab.kinds().iter().enumerate().map(open).collect::<Result<_>>()?;
        Ok(Self { vocab, side: config.side, seconds: config.seconds, codecs })
    }

    /// Pixels of the side of pictures.
    pub fn side(&self) -> usize {
        self.side
    }

    /// What is read for a kind.
    pub fn file(&self, kind: usize) -> File {
        match self.codecs.get(kind).and_then(Option::as_ref) {
            Some(MediaCodec::Picture(_)) => File::Picture,
            Some(MediaCodec::Sound(_)) => File::Sound,
            None => File::Record,
        }
    }

    /// The first kind of pictures, of sounds or of text.
    ///
    /// # Errors
    /// There is none.
    pub fn kind_of(&self, file: File) -> Result<usize> {
        let found = (0..self.vocab.kinds().len()).find(|&kind| self.file(kind) == file);
        found.with_context(|| format!("this model knows no {}", file.name()))
    }

    /// Rows and columns of codes of a picture; none of another kind.
    pub fn grid(&self, kind: usize) -> Vec<usize> {
        self.pictures(kind).map_or(Vec::new(), |codec| vec![self.side.div_ceil(codec.patch()); 2])
    }

    /// Tokens of a second of sound.
    ///
    /// # Errors
    /// The kind has no codec of sounds.
    pub fn codes_per_second(&self, kind: usize) -> Result<f64> {
        let codec = self.sounds(kind)?;
        let frames = f64::from(codec.rate()) / codec.hop() as f64;
        Ok(frames * self.vocab.kinds()[kind].frame() as f64)
    }

    /// A file as a segment: a picture as a square of [`Media::side`], a recording at the rate of the codec.
    ///
    /// # Errors
    /// The kind has no codec; the file cannot be read or coded.
    pub fn of_file(&self, kind: usize, path: &Path) -> Result<Segment> {
        self.coded(kind, path, None, None)
    }

    /// A file of a data set as a segment: as [`Media::of_file`], but changed at random, from a seed on, and recordings are cut to what is
    /// learned of them.
    pub(super) fn of_data(&self, kind: usize, path: &Path, change: Option<(&Changes, u64)>) -> Result<Segment> {
        self.coded(kind, path, self.seconds, change)
    }

    /// A file as a segment, perhaps changed; of a recording the middle, of so many seconds.
    fn coded(
        &self,
        kind: usize,
        path: &Path,
        seconds: Option<f64>,
        change: Option<(&Changes, u64)>,
    ) -> Result<Segment> {
        let about = || path.display().to_string();
        let codec = self.codec(kind)?;
        let codes = match codec {
            MediaCodec::Picture(codec) => {
                let picture = Picture::open(path, &Reading::default())?;
                let picture = match change {
                    Some((Changes::Picture(changes), seed)) => {
                        changes.apply(&picture, self.side, &mut Random::at(&[seed]))
                    }
                    _ => whole(&picture, self.side),
                };
                codec.encode(&picture.with_context(about)?)
            }
            MediaCodec::Sound(codec) => {
                let rate = Some(codec.rate());
                let mut sound = Sound::open(path, &sound::Reading { rate, ..sound::Reading::default() })?;
                ensure!(!sound.samples.is_empty(), "{}: a recording without samples", path.display());
                if let Some((Changes::Sound(changes), seed)) = change {
                    sound = changes.apply(sound, &mut Random::at(&[seed])).with_context(about)?;
                }
                if let Some(seconds) = seconds {
                    let length = (seconds * f64::from(sound.rate)).ceil().max(1.0) as usize;
                    sound.samples.drain(..sound.samples.len().saturating_sub(length) / 2);
                    sound.samples.truncate(length);
                }
                codec.encode(&sound)
            }
        };
        Ok(self.vocab.segment(kind, &codes.with_context(about)?, codec.books())?)
    }

    /// A picture as a segment, in its own size.
    ///
    /// # Errors
    /// The kind has no codec of pictures; the codec does not take it.
    pub fn of_picture(&self, kind: usize, picture: &Picture) -> Result<Segment> {
        let codec = self.pictures(kind)?;
        Ok(self.vocab.segment(kind, &codec.encode(picture)?, codec.books())?)
    }

    /// A sound as a segment, at the rate of the codec.
    ///
    /// # Errors
    /// The kind has no codec of sounds; the codec does not take it.
    pub fn of_sound(&self, kind: usize, sound: &Sound) -> Result<Segment> {
        let codec = self.sounds(kind)?;
        Ok(self.vocab.segment(kind, &codec.encode(sound)?, codec.books())?)
    }

    /// The picture of a segment: whole patches.
    ///
    /// # Errors
    /// The kind has no codec of pictures; codes of another one.
    pub fn picture(&self, segment: &Segment) -> Result<Picture> {
        let codec = self.pictures(segment.kind)?;
        let size = segment.grid.iter().map(|places| places * codec.patch()).collect();
        Ok(codec.decode(&self.vocab.codes(segment, codec.books(), size)?)?)
    }

    /// The sound of a segment: whole frames.
    ///
    /// # Errors
    /// The kind has no codec of sounds; codes of another one; none at all.
    pub fn sound(&self, segment: &Segment) -> Result<Sound> {
        let codec = self.sounds(segment.kind)?;
        ensure!(!segment.values.is_empty(), "the sound has no frame");
        let size = segment.grid.iter().map(|frames| frames * codec.hop()).collect();
        Ok(codec.decode(&self.vocab.codes(segment, codec.books(), size)?)?)
    }

    /// The codes of a place where nothing was said: of a picture those of white, else the first.
    ///
    /// # Errors
    /// The codec fails.
    pub fn blank(&self, kind: usize) -> Result<Vec<u32>> {
        let frame = self.vocab.kinds()[kind].frame();
        let Ok(codec) = self.pictures(kind) else { return Ok(vec![0; frame]) };
        let white = Picture::filled(codec.patch(), codec.patch(), [255; 3]).context("a patch of no size")?;
        Ok(codec.encode(&white)?.values)
    }

    /// Where the tokens of media lie: the vectors of the codes that they are. Where a code is several tokens, each has the mean of the
    /// vectors of all codes that it is part of.
    ///
    /// # Errors
    /// The codec fails.
    pub fn token_vectors(&self) -> Result<Vec<TokenVectors>> {
        let mut all = Vec::new();
        for (at, kind) in self.vocab.kinds().iter().enumerate() {
            let Some(codec) = &self.codecs[at] else { continue };
            let books = codec.books();
            if kind.frame() == books.len() {
                for (index, book) in kind.books.iter().enumerate() {
                    all.push(TokenVectors { first: book.start, vectors: codec.vectors(index)? });
                }
                continue;
            }
            let vectors = codec.vectors(0)?;
            let codes =
                Codes { size: Vec::new(), grid: vec![vectors.len()], books: 1, values: (0..books[0]).collect() };
            let digits = self.vocab.segment(at, &codes, books)?.values;
            for (index, book) in kind.books.iter().enumerate() {
                let mut means = vec![vec![0.0; vectors[0].len()]; book.len()];
                for (vector, digits) in vectors.iter().zip(digits.chunks_exact(kind.frame())) {
                    let mean = means[digits[index] as usize].iter_mut();
                    mean.zip(vector).for_each(|(sum, value)| *sum += value * book.len() as f32 / vectors.len() as f32);
                }
                all.push(TokenVectors { first: book.start, vectors: means });
            }
        }
        Ok(all)
    }

    /// Pixels of a segment's picture times three, or samples of its sound: the numbers that it stands for.
    ///
    /// # Errors
    /// The kind has no codec.
    pub fn dimensions(&self, segment: &Segment) -> Result<usize> {
        let places: usize = segment.grid.iter().product();
        Ok(places
            * match self.codec(segment.kind)? {
                MediaCodec::Picture(codec) => 3 * codec.patch() * codec.patch(),
                MediaCodec::Sound(codec) => codec.hop(),
            })
    }

    /// Hash of all that the codes of a data set's files depend on besides the files.
    pub(super) fn hash(&self, kind: usize) -> Result<Sha256> {
        let (codec, name) = (self.codec(kind)?, self.vocab.kinds()[kind].codec.as_deref().unwrap_or_default());
        let how = format!("{name} {} {:?}", self.side, self.seconds);
        codec.files().iter().try_fold(Sha256::new().chain_update(how), |hash, path| {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            Ok(hash.chain_update(bytes))
        })
    }

    fn codec(&self, kind: usize) -> Result<&MediaCodec> {
        let found = self.codecs.get(kind).and_then(Option::as_ref);
        let name = || self.vocab.kinds().get(kind).map_or_else(|| kind.to_string(), |kind| kind.name.clone());
        found.with_context(|| format!("the kind `{}` has no codec", name()))
    }

    fn pictures(&self, kind: usize) -> Result<&PictureCodec> {
        let MediaCodec::Picture(codec) = self.codec(kind)? else { bail!("this kind is no picture") };
        Ok(codec)
    }

    fn sounds(&self, kind: usize) -> Result<&SoundCodec> {
        let MediaCodec::Sound(codec) = self.codec(kind)? else { bail!("this kind is no sound") };
        Ok(codec)
    }
}
