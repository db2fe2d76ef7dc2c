//! Time of the codec with new weights: seconds to encode and decode a square picture, the best of three.
//!
//! ```text
//! cargo run --release -p jielong-image --example vq_speed -- configs/codec/vq16.toml 256
//! ```

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use jielong_core::{Codec, CodecError};
use jielong_image::picture::Picture;
use jielong_image::vq::{VqCodec, VqConfig, VqModel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: vq_speed CONFIG PIXELS";
    let config = VqConfig::open(Path::new(&arguments.next().ok_or(usage)?))?;
    let side: usize = arguments.next().ok_or(usage)?.parse()?;
    let device = Device::flex();
    let codec = VqCodec::new(&config, &VqModel::new(&config, &device), &device);
    let rgb = (0..3 * side * side).map(|i| (i * i / 7) as u8).collect();
    let picture = Picture { width: side, height: side, rgb };
    let codes = codec.encode(&picture)?;
    println!("{side}×{side} pixels, {} codes", codes.values.len());
    best("encode", || codec.encode(&picture).map(drop))?;
    best("decode", || codec.decode(&codes).map(drop))?;
    Ok(())
}

fn best(what: &str, run: impl Fn() -> Result<(), CodecError>) -> Result<(), CodecError> {
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        run()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    println!("{what}: {seconds:.2} s");
    Ok(())
}
