//! How many times faster than it sounds a codec encodes and decodes: `codec_speed FOLDER [THREADS] [SECONDS] [DECODED]`, on the
//! CPU.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use jielong_audio::codec::FrameCodec;
use jielong_audio::sound::Sound;
use jielong_core::Codec;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    jielong_kernels::keep_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().ok_or("usage: codec_speed FOLDER [THREADS] [SECONDS] [DECODED]")?);
    let number = |index: usize, or: usize| arguments.get(index).map_or(Ok(or), |text| text.parse());
    let (threads, seconds) = (number(1, 1)?, number(2, 10)?);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let [toml, json, weights] = ["config.toml", "config.json", "model.safetensors"].map(|name| folder.join(name));
    let config = if toml.is_file() { toml } else { json };
    let codec = FrameCodec::open(&config, &weights, &Device::flex())?;
    let rate = codec.config().sample_rate;
    let wave = |n: u32| 0.3 * (n as f32 * 0.05).sin() * (n as f32 * 0.0007).sin();
    let sound = Sound { rate, samples: (0..rate * seconds as u32).map(wave).collect() };
    let codes = codec.encode(&sound)?;
    codec.decode(&codes)?;
    let (mut encode, mut decode) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..7 {
        let start = Instant::now();
        std::hint::black_box(codec.encode(&sound)?);
        encode = encode.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        std::hint::black_box(codec.decode(&codes)?);
        decode = decode.min(start.elapsed().as_secs_f64());
    }
    let times = |time: f64| seconds as f64 / time;
    println!(
        "{threads} threads, {seconds} s: encode {:.0}, decode {:.0} times real time",
        times(encode),
        times(decode)
    );
    if let Some(path) = arguments.get(3) {
        let samples: Vec<u8> = codec.decode(&codes)?.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        std::fs::write(path, samples)?;
    }
    Ok(())
}
