//! `jielong image`: pictures as codes and back, and how good a codec is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use jielong::codecs::{self, PictureCodec};
use jielong::data::{Pictures, Split};
use jielong_core::{Codec, Codes};
use jielong_image::picture::{Picture, Reading};
use jielong_image::pixel::{Colours, Learning, Palette};
use jielong_image::plot::bars;
use jielong_image::train::{ScoreError, compare, grid, score, whole};
use jielong_image::vq::VqCodec;
use jielong_kernels::keep_memory;
use jielong_nn::device::DeviceChoice;
use jielong_nn::train::spread;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Global, files, output, progress, recipes};

/// Pictures: restyle, draw, finish, describe; and as codes: encode, decode, measure and look at a codec
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  jielong image restyle smile.png --style twemoji -o out.png\n  \
    jielong image draw \"grinning cat\" --style noto -n 4 -o cats.png\n  \
    jielong image roundtrip smile.png -o both.png\n  jielong image eval emoji")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The codec.
#[derive(ClapArgs)]
struct CodecArgs {
    /// `emoji`, a folder with config.toml and model.safetensors, as `jielong train` makes it, or one of pixels: `rgb`, or a folder
    /// with palette.json, as `jielong image palette` makes it
    #[arg(short, long, value_name = "CODEC", default_value = "emoji")]
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
    /// Turn a picture into codes, as JSON
    Encode {
        #[command(flatten)]
        codec: CodecArgs,
        /// The picture: PNG, JPEG, WebP or GIF
        picture: PathBuf,
        /// Where the codes go (default: standard output)
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Make the picture a square of this many pixels first
        #[arg(long, value_name = "N")]
        size: Option<usize>,
    },
    /// Turn codes into a picture
    Decode {
        #[command(flatten)]
        codec: CodecArgs,
        /// The codes, as `encode` writes them
        codes: PathBuf,
        /// The picture, a PNG file
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Turn a picture into codes and back, and say what was lost
    Roundtrip {
        #[command(flatten)]
        codec: CodecArgs,
        /// The picture: PNG, JPEG, WebP or GIF
        picture: PathBuf,
        /// The picture above what came back, a PNG file
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Make the picture a square of this many pixels first
        #[arg(long, value_name = "N")]
        size: Option<usize>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Score a codec on pictures: PSNR, SSIM, how many codes are used
    Eval {
        #[command(flatten)]
        codec: CodecArgs,
        /// A data set (see `jielong data list`), or a folder of pictures
        data: String,
        /// Which of its pictures
        #[arg(long, value_enum, default_value_t = Part::HeldOut)]
        split: Part,
        /// The most pictures, spread over all
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Pixels of the side of the squares that are made of them
        #[arg(long, value_name = "N", default_value_t = 128)]
        size: usize,
        /// How often each code is used, the most used first, a PNG file
        #[arg(long, value_name = "FILE")]
        histogram: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Recipe(Box<recipes::image::Recipe>),
    /// Learn the colours of a codec of pixels from a data set: k-means, as Image GPT does
    Palette {
        /// A data set (see `jielong data list`), or a folder of pictures
        data: String,
        /// The folder of the codec; palette.json in it
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
        /// How many colours
        #[arg(long, value_name = "N", default_value_t = Learning::default().colours)]
        colours: usize,
        /// The most training pictures, spread over all
        #[arg(long, value_name = "N", default_value_t = 1024)]
        limit: usize,
        /// Make the pictures squares of this many pixels first
        #[arg(long, value_name = "N")]
        size: Option<usize>,
    },
    /// Draw what each code looks like
    Codebook {
        #[command(flatten)]
        codec: CodecArgs,
        /// The drawing, a PNG file
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Train,
    HeldOut,
    All,
}

impl Part {
    pub fn has(self, split: Split) -> bool {
        match self {
            Self::Train => split == Split::Train,
            Self::HeldOut => split == Split::HeldOut,
            Self::All => true,
        }
    }
}

/// A picture as codes, in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coded {
    /// Codes of the book.
    book: u32,
    /// Rows and columns of pixels.
    size: [usize; 2],
    /// Rows and columns of codes.
    grid: [usize; 2],
    /// The codes, row after row.
    codes: Vec<u32>,
}

pub fn run(args: Args, global: &Global) -> Result<()> {
    keep_memory();
    match args.command {
        Command::Recipe(recipe) => recipes::image::run(&recipe, global),
        Command::Encode { codec, picture, out, size } => encode(&codec, &picture, out.as_deref(), size),
        Command::Decode { codec, codes, out } => decode(&codec, &codes, &out),
        Command::Roundtrip { codec, picture, out, size, json } => {
            roundtrip(&codec, &picture, out.as_deref(), size, json)
        }
        Command::Eval { codec, data, split, limit, size, histogram, json } => {
            let pictures = chosen(&data, split, limit, global)?;
            eval(&codec, &pictures, size, (histogram.as_deref(), json), global)
        }
        Command::Palette { data, out, colours, limit, size } => {
            let pictures = chosen(&data, Part::Train, Some(limit), global)?;
            palette(&pictures, size, colours, &out, global)
        }
        Command::Codebook { codec, out } => codebook(&codec, &out),
    }
}

impl CodecArgs {
    fn open(&self) -> Result<PictureCodec> {
        PictureCodec::open(&self.codec, self.weights.as_deref(), &self.device.open()?.0)
    }
}

pub fn open(path: &Path, size: Option<usize>) -> Result<Picture> {
    let picture = Picture::open(path, &Reading::default())?;
    size.map_or(Ok(picture.clone()), |size| Ok(whole(&picture, size)?))
}

fn encode(codec: &CodecArgs, picture: &Path, out: Option<&Path>, size: Option<usize>) -> Result<()> {
    let picture = open(picture, size)?;
    let codec = codec.open()?;
    let codes = codec.encode(&picture)?;
    let (&[height, width], &[rows, columns]) = (&codes.size[..], &codes.grid[..]) else { bail!("codes of no picture") };
    let &[book] = codec.books() else {
        bail!("{} codes a place have no file; a PNG file holds as much", codec.books().len())
    };
    let coded = Coded { book, size: [height, width], grid: [rows, columns], codes: codes.values };
    let text = serde_json::to_string(&coded)? + "\n";
    match out {
        Some(path) => files::write(path, text.as_bytes()),
        None => output::Output::new().print(&text),
    }
}

fn decode(codec: &CodecArgs, path: &Path, out: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Coded { book, size, grid, codes } =
        serde_json::from_str(&text).with_context(|| format!("{} holds no codes", path.display()))?;
    let codec = codec.open()?;
    ensure!(
        codec.books() == [book],
        "{}: codes of a book of {book}; this codec has {:?}",
        path.display(),
        codec.books()
    );
    let codes = Codes { size: size.to_vec(), grid: grid.to_vec(), books: 1, values: codes };
    let picture = codec.decode(&codes).with_context(|| path.display().to_string())?;
    files::write(out, &picture.to_png()?)
}

fn roundtrip(codec: &CodecArgs, path: &Path, out: Option<&Path>, size: Option<usize>, json: bool) -> Result<()> {
    let picture = open(path, size)?;
    let codec = codec.open()?;
    let codes = codec.encode(&picture)?;
    let back = codec.decode(&codes)?;
    let [psnr, ssim] = compare(&picture, &back)?;
    let bits = codec.bits() * codes.grid.iter().product::<usize>() as f64;
    let per_pixel = bits / (picture.width * picture.height) as f64;
    if let Some(path) = out {
        let sheet = grid(&[vec![picture.clone(), back]], 1).context("no picture")?;
        files::write(path, &sheet.to_png()?)?;
    }
    let mut output = output::Output::new();
    if json {
        return output.json(&json!({
            "psnr": psnr, "ssim": ssim, "codes": codes.values.len(), "bits": bits, "bits_per_pixel": per_pixel,
            "width": picture.width, "height": picture.height,
        }));
    }
    let Picture { width, height, .. } = picture;
    output.line(&format!("{width}×{height} pixels, {} codes, {per_pixel:.4} bits per pixel", codes.values.len()))?;
    output.line(&format!("PSNR {psnr:.2} dB, SSIM {ssim:.4}"))?;
    output.flush()
}

/// Files of a data set or folder, spread over all where there are more than `limit`.
pub fn chosen(data: &str, part: Part, limit: Option<usize>, global: &Global) -> Result<Vec<PathBuf>> {
    let pictures = Pictures::open(data, &global.sources)?;
    let all: Vec<PathBuf> = pictures.entries.iter().filter(|e| part.has(e.split)).map(|e| e.path.clone()).collect();
    let chosen: Vec<PathBuf> = spread(&all, limit.unwrap_or(all.len())).cloned().collect();
    ensure!(!chosen.is_empty(), "{data} has no such pictures");
    Ok(chosen)
}

fn eval(
    codec: &CodecArgs,
    pictures: &[PathBuf],
    size: usize,
    (histogram, json): (Option<&Path>, bool),
    global: &Global,
) -> Result<()> {
    let codec = codec.open()?;
    let bar = progress::counted(global, pictures.len(), "pictures");
    let opened = pictures.iter().map(|path| -> Result<Picture> {
        if let Some(bar) = &bar {
            bar.inc(1);
        }
        open(path, Some(size))
    });
    let opened = opened.map(|picture| picture.map_err(Failed));
    let found = score(&codec, opened, |_, _| {}).map_err(|Failed(error)| error)?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if let Some(path) = histogram {
        let mut counts: Vec<f64> = found.counts.iter().map(|&count| count as f64).collect();
        counts.sort_by(|a, b| b.total_cmp(a));
        files::write(path, &bars("uses of each code: the most used first", &counts).to_png()?)?;
    }
    let per_pixel = codec.bits() / (codec.patch() * codec.patch()) as f64;
    let mut output = output::Output::new();
    if json {
        return output.json(&json!({
            "pictures": found.pictures, "size": size, "psnr": found.psnr, "ssim": found.ssim,
            "usage": found.usage(), "perplexity": found.perplexity(), "codes": found.counts.len(),
            "bits_per_pixel": per_pixel,
        }));
    }
    let used = found.counts.iter().filter(|count| **count > 0).count();
    output.table(
        &["", ""],
        &[
            vec!["pictures".into(), format!("{} of {size}×{size} pixels", found.pictures)],
            vec!["PSNR".into(), format!("{:.2} dB", found.psnr)],
            vec!["SSIM".into(), format!("{:.4}", found.ssim)],
            vec!["codes used".into(), format!("{used} of {} ({:.1} %)", found.counts.len(), 100.0 * found.usage())],
            vec!["perplexity".into(), format!("{:.0}", found.perplexity())],
            vec!["bits per pixel".into(), format!("{per_pixel:.4}")],
        ],
    )
}

fn palette(pictures: &[PathBuf], size: Option<usize>, wanted: usize, out: &Path, global: &Global) -> Result<()> {
    let bar = progress::counted(global, pictures.len(), "pictures");
    let mut colours = Colours::default();
    for path in pictures {
        colours.add(&open(path, size)?);
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let palette = Palette::learn(&colours, &Learning { colours: wanted, ..Learning::default() })?;
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    files::write(&out.join(codecs::PALETTE), palette.to_json().as_bytes())
}

fn codebook(codec: &CodecArgs, out: &Path) -> Result<()> {
    let [config, weights] = codecs::learned(&codec.codec, codec.weights.as_deref())?;
    let looks = VqCodec::open(&config, &weights, &codec.device.open()?.0)?.looks()?;
    let columns = (looks.len() as f64).sqrt().ceil() as usize;
    let side = looks.first().map_or(1, |look| look.width);
    let (step, rows) = (side + 1, looks.len().div_ceil(columns.max(1)));
    let mut sheet = Picture::filled(columns * step + 1, rows * step + 1, [255; 3]).context("a codec without codes")?;
    for (index, look) in looks.iter().enumerate() {
        let (x, y) = (1 + index % columns * step, 1 + index / columns * step);
        for (row, pixels) in look.rgb.chunks_exact(3 * side).enumerate() {
            let at = 3 * ((y + row) * sheet.width + x);
            sheet.rgb[at..at + pixels.len()].copy_from_slice(pixels);
        }
    }
    files::write(out, &sheet.to_png()?)
}

/// What failed while pictures were scored.
struct Failed(anyhow::Error);

impl From<ScoreError> for Failed {
    fn from(error: ScoreError) -> Self {
        Self(error.into())
    }
}
