//! Time of the codec with new weights: seconds to encode and decode a square picture, the best of three. The last line is JSON;
//! with a folder, weights, picture, codes and result are left there for another program to do the same.
//!
//! ```text
//! cargo run --release -p jielong-image --example vq_speed -- configs/codec/vq16.toml 256 [FOLDER]
//! ```

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use jielong_core::{Codec, CodecError};
use jielong_image::picture::Picture;
use jielong_image::vq::{VqCodec, VqConfig, VqModel};
use jielong_kernels::keep_memory;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    keep_memory();
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: vq_speed CONFIG PIXELS [FOLDER]";
    let config = VqConfig::open(Path::new(&arguments.next().ok_or(usage)?))?;
    let side: usize = arguments.next().ok_or(usage)?.parse()?;
    let device = Device::flex();
    device.seed(1);
    let model = VqModel::new(&config, &device);
    let codec = VqCodec::new(&config, &model, &device);
    let rgb = (0..3 * side * side).map(|i| (i * i / 7) as u8).collect();
    let picture = Picture { width: side, height: side, rgb };
    let codes = codec.encode(&picture)?;
    if let Some(folder) = arguments.next() {
        let folder = Path::new(&folder);
        model.save(&folder.join("model.safetensors"))?;
        std::fs::write(folder.join("picture.rgb"), &picture.rgb)?;
        std::fs::write(folder.join("codes.json"), format!("{:?}", codes.values))?;
        std::fs::write(folder.join("decoded.rgb"), codec.decode(&codes)?.rgb)?;
    }
    let encode = best(|| codec.encode(&picture).map(drop))?;
    let decode = best(|| codec.decode(&codes).map(drop))?;
    println!("{{\"codes\": {}, \"encode\": {encode:.4}, \"decode\": {decode:.4}}}", codes.values.len());
    Ok(())
}

fn best(run: impl Fn() -> Result<(), CodecError>) -> Result<f64, CodecError> {
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        run()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
