//! `jielong audio`: recordings as codes and back, and how good a codec is.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args as ClapArgs, Subcommand};
use jielong::codecs::SoundCodec;
use jielong::data::Sounds;
use jielong_audio::sound::{Reading, Sound};
use jielong_audio::train::{Measures, Score, score};
use jielong_core::{Codec, CodecError, Codes};
use jielong_kernels::keep_memory;
use jielong_nn::device::DeviceChoice;
use jielong_nn::train::spread;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::image::Part;
use super::{Global, files, output, progress, recipes, spectrogram};

/// Sound: go on with a recording, say, write down; and as codes: encode, decode and measure a codec
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  jielong audio go-on hello.wav --seconds 5 -o longer.wav\n  jielong audio roundtrip hello.wav -o both\n  jielong audio eval prompts\n  \
    jielong audio encode hello.wav -o codes.json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The codec.
#[derive(ClapArgs)]
struct CodecArgs {
    /// `speech` (one token a 20 ms frame), `speech-4` (four), a folder with config.toml and model.safetensors, as
    /// `jielong train` makes it, or `mulaw`, which has a token of 8 bits a sample
    #[arg(short, long, value_name = "CODEC", default_value = "speech")]
    codec: PathBuf,
    /// Other weights than the folder's: safetensors, or a file of torch.save
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Subcommand)]
enum Command {
    /// Turn a recording into codes, as JSON
    Encode {
        #[command(flatten)]
        codec: CodecArgs,
        /// The recording: WAV, FLAC, MP3 or Ogg Vorbis, of any rate
        recording: PathBuf,
        /// Where the codes go (default: standard output)
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Turn codes into a recording
    Decode {
        #[command(flatten)]
        codec: CodecArgs,
        /// The codes, as `encode` writes them
        codes: PathBuf,
        /// The recording, a WAV file
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Turn a recording into codes and back, and say what was lost
    Roundtrip {
        #[command(flatten)]
        codec: CodecArgs,
        /// The recording: WAV, FLAC, MP3 or Ogg Vorbis, of any rate
        recording: PathBuf,
        /// Beginning of the names of three files: NAME-original.wav, NAME-decoded.wav and NAME.png, both spectrograms
        #[arg(short, long, value_name = "NAME")]
        out: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Recipe(Box<recipes::audio::Recipe>),
    /// Play a recording, or what a codec makes of codes
    Play {
        #[command(flatten)]
        codec: CodecArgs,
        /// The recording: WAV, FLAC, MP3 or Ogg Vorbis; or codes, as `encode` writes them
        file: PathBuf,
        /// The program that plays WAV files (default: pw-play, paplay, aplay, afplay or ffplay, the first that is there)
        #[arg(long, value_name = "PROGRAM", env = "JIELONG_PLAYER")]
        player: Option<PathBuf>,
    },
    /// Score a codec on recordings: STOI, PESQ, SI-SDR, mel distance, how many codes are used
    Eval {
        #[command(flatten)]
        codec: CodecArgs,
        /// A data set (see `jielong data list`), or a folder of recordings
        data: String,
        /// Which of its recordings
        #[arg(long, value_enum, default_value_t = Part::HeldOut)]
        split: Part,
        /// The most recordings, spread over all
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A recording as codes, in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coded {
    /// Codes of each book.
    books: Vec<u32>,
    /// Samples a second.
    rate: u32,
    /// Samples.
    samples: usize,
    /// The codes of each frame, one of each book.
    codes: Vec<Vec<u32>>,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    keep_memory();
    match args.command {
        Command::Recipe(recipe) => recipes::audio::run(&recipe, global),
        Command::Encode { codec, recording, out } => encode(&codec, &recording, out.as_deref()),
        Command::Decode { codec, codes, out } => decode(&codec, &codes, &out),
        Command::Roundtrip { codec, recording, out, json } => roundtrip(&codec, &recording, out.as_deref(), json),
        Command::Play { codec, file, player } => play(&codec, &file, player.as_deref()),
        Command::Eval { codec, data, split, limit, json } => {
            eval(&codec, &chosen(&data, split, limit, global)?, json, global)
        }
    }
}

impl CodecArgs {
    fn open(&self) -> Result<SoundCodec> {
        SoundCodec::open(&self.codec, self.weights.as_deref(), &self.device.open()?.0)
    }
}

pub fn open(path: &Path, codec: &SoundCodec) -> Result<Sound> {
    let sound = Sound::open(path, &Reading { rate: Some(codec.rate()), ..Reading::default() })?;
    ensure!(!sound.samples.is_empty(), "{}: a recording without samples", path.display());
    Ok(sound)
}

fn encode(codec: &CodecArgs, recording: &Path, out: Option<&Path>) -> Result<()> {
    let codec = codec.open()?;
    let codes = codec.encode(&open(recording, &codec)?)?;
    let &[samples] = &codes.size[..] else { bail!("codes of no recording") };
    let coded = Coded {
        books: codec.books().to_vec(),
        rate: codec.rate(),
        samples,
        codes: codes.values.chunks_exact(codes.books).map(<[u32]>::to_vec).collect(),
    };
    let text = serde_json::to_string(&coded)? + "\n";
    match out {
        Some(path) => files::write(path, text.as_bytes()),
        None => output::Output::new().print(&text),
    }
}

fn decode(codec: &CodecArgs, path: &Path, out: &Path) -> Result<()> {
    files::write(out, &decoded(codec, path)?.to_wav()?)
}

/// The recording of codes in a file.
fn decoded(codec: &CodecArgs, path: &Path) -> Result<Sound> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Coded { books, rate, samples, codes } =
        serde_json::from_str(&text).with_context(|| format!("{} holds no codes", path.display()))?;
    let codec = codec.open()?;
    let (own, own_rate) = (codec.books(), codec.rate());
    ensure!(
        own == books && own_rate == rate,
        "{}: codes of books of {books:?} at {rate} samples a second; this codec has {own:?} at {own_rate}",
        path.display(),
    );
    if let Some(frame) = codes.iter().position(|codes| codes.len() != books.len()) {
        bail!("{}: frame {frame} has {} codes, expected {}", path.display(), codes[frame].len(), books.len());
    }
    let codes = Codes { size: vec![samples], grid: vec![codes.len()], books: books.len(), values: codes.concat() };
    codec.decode(&codes).with_context(|| path.display().to_string())
}

/// Programs that play a WAV file, with what they need before its name.
const PLAYERS: [(&str, &[&str]); 5] = [
    ("pw-play", &[]),
    ("paplay", &[]),
    ("aplay", &["-q"]),
    ("afplay", &[]),
    ("ffplay", &["-v", "error", "-nodisp", "-autoexit"]),
];

fn play(codec: &CodecArgs, path: &Path, player: Option<&Path>) -> Result<()> {
    let json = path.extension().is_some_and(|ending| ending == "json");
    let sound = if json { decoded(codec, path)? } else { Sound::open(path, &Reading::default())? };
    let mut file = tempfile::Builder::new().suffix(".wav").tempfile()?;
    file.write_all(&sound.to_wav()?)?;
    let players: Vec<(&Path, &[&str])> = match player {
        Some(player) => vec![(player, &[])],
        None => PLAYERS.iter().map(|(name, arguments)| (Path::new(*name), *arguments)).collect(),
    };
    for (player, arguments) in &players {
        let name = player.display();
        match std::process::Command::new(player).args(*arguments).arg(file.path()).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => bail!("{name} could not play ({status}); `--player` names another program"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => bail!("{name} cannot be started: {error}"),
        }
    }
    let names: Vec<String> = players.iter().map(|(player, _)| player.display().to_string()).collect();
    bail!(
        "nothing here plays sound ({} are not there); install one of them, or name a program with `--player`",
        names.join(", ")
    )
}

fn roundtrip(codec: &CodecArgs, path: &Path, out: Option<&Path>, json: bool) -> Result<()> {
    let codec = codec.open()?;
    let sound = open(path, &codec)?;
    let (mut back, mut frames) = (None, 0);
    let one = std::iter::once(Ok::<_, CodecError>(sound.clone()));
    let found = score(&codec, one, Measures::All, |_, decoded| back = Some(decoded.clone()))?;
    frames += sound.samples.len().div_ceil(codec.hop());
    let back = back.context("no recording")?;
    if let Some(out) = out {
        let named = |ending: &str| {
            let mut name = out.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        files::write(&named("-original.wav"), &sound.to_wav()?)?;
        files::write(&named("-decoded.wav"), &back.to_wav()?)?;
        files::write(&named(".png"), &spectrogram::draw(&[&sound, &back])?.to_png()?)?;
    }
    let mut output = output::Output::new();
    if json {
        let mut line = report(&codec, &found);
        line["frames"] = frames.into();
        return output.json(&line);
    }
    let tokens = frames * codec.books().len();
    output.line(&format!("{:.2} s, {tokens} tokens, {:.2} kbit/s", sound.seconds(), rate(&codec) / 1000.0))?;
    output.table(&["", ""], &rows(&found))
}

/// Bits a second.
fn rate(codec: &SoundCodec) -> f64 {
    let bits = codec.bits();
    bits * f64::from(codec.rate()) / codec.hop() as f64
}

/// Files of a data set or folder, spread over all where there are more than `limit`.
pub fn chosen(data: &str, part: Part, limit: Option<usize>, global: &Global) -> Result<Vec<PathBuf>> {
    let sounds = Sounds::open(data, &global.sources)?;
    let all: Vec<PathBuf> = sounds.entries.iter().filter(|e| part.has(e.split)).map(|e| e.path.clone()).collect();
    let chosen: Vec<PathBuf> = spread(&all, limit.unwrap_or(all.len())).cloned().collect();
    ensure!(!chosen.is_empty(), "{data} has no such recordings");
    Ok(chosen)
}

fn eval(codec: &CodecArgs, recordings: &[PathBuf], json: bool, global: &Global) -> Result<()> {
    let codec = codec.open()?;
    let bar = progress::counted(global, recordings.len(), "recordings");
    let opened = recordings.iter().map(|path| {
        if let Some(bar) = &bar {
            bar.inc(1);
        }
        open(path, &codec).map_err(Failed)
    });
    let found = score(&codec, opened, Measures::All, |_, _| {}).map_err(|Failed(error)| error)?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let mut output = output::Output::new();
    if json {
        return output.json(&report(&codec, &found));
    }
    let used = found.counts.iter().flatten().filter(|count| **count > 0).count();
    let all: usize = found.counts.iter().map(Vec::len).sum();
    let mut table = vec![vec!["recordings".into(), format!("{} of {:.1} min", found.recordings, found.seconds / 60.0)]];
    table.extend(rows(&found));
    table.push(vec!["codes used".into(), format!("{used} of {all} ({:.1} %)", 100.0 * found.usage())]);
    table.push(vec!["perplexity".into(), format!("{:.0}", found.perplexity())]);
    table.push(vec!["kbit/s".into(), format!("{:.2}", rate(&codec) / 1000.0)]);
    output.table(&["", ""], &table)
}

/// The metrics; behind a mean, of how many recordings it is, where that is not all.
fn rows(found: &Score) -> Vec<Vec<String>> {
    let row = |name: &str, (mean, count): (f64, usize), unit: &str| {
        let of = if count == found.recordings { String::new() } else { format!(" (of {count})") };
        vec![name.to_owned(), if count == 0 { "–".into() } else { format!("{mean:.3}{unit}{of}") }]
    };
    vec![
        row("STOI", found.stoi, ""),
        row("ESTOI", found.estoi, ""),
        row("PESQ-WB", found.pesq, ""),
        row("SI-SDR", found.si_sdr, " dB"),
        row("mel distance", found.mel, ""),
    ]
}

fn report(codec: &SoundCodec, found: &Score) -> serde_json::Value {
    let mean = |(mean, count): (f64, usize)| json!({ "mean": (count > 0).then_some(mean), "recordings": count });
    json!({
        "recordings": found.recordings, "seconds": found.seconds, "stoi": mean(found.stoi), "estoi": mean(found.estoi),
        "pesq_wb": mean(found.pesq), "si_sdr": mean(found.si_sdr), "mel_distance": mean(found.mel),
        "usage": found.usage(), "perplexity": found.perplexity(), "books": codec.books(),
        "bits_per_second": rate(codec),
    })
}

/// What failed while recordings were scored.
struct Failed(anyhow::Error);

impl From<CodecError> for Failed {
    fn from(error: CodecError) -> Self {
        Self(error.into())
    }
}
