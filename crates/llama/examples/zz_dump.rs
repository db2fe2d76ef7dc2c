use jielong_llama::gguf::{Gguf, Value};
use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let t = Instant::now();
    let g = Gguf::open(path.as_ref()).unwrap();
    eprintln!("open {:?}", t.elapsed());
    let t = Instant::now();
    let g2 = Gguf::open(path.as_ref()).unwrap();
    eprintln!("again {:?}; metadata {} weights {}", t.elapsed(), g2.metadata().len(), g2.weights().iter().count());
    for (k, v) in g.metadata() {
        match v {
            Value::Strings(s) => {
                let mut h = 0u64;
                let mut n = 0;
                for x in s.iter() {
                    n += x.len();
                    for b in x.bytes() {
                        h = h.wrapping_mul(31).wrapping_add(b.into());
                    }
                }
                println!("K {k} strings {} {n} {h}", s.len());
            }
            Value::Ints(s) => println!("K {k} ints {} {}", s.len(), s.iter().sum::<i64>()),
            Value::Floats(s) => {
                println!("K {k} floats {} {:.6e}", s.len(), s.iter().map(|&x| f64::from(x)).sum::<f64>())
            }
            Value::String(s) => println!("K {k} string {} {}", s.len(), s.bytes().map(u64::from).sum::<u64>()),
            Value::Int(n) => println!("K {k} int {n}"),
            Value::Float(n) => println!("K {k} float {n:.6e}"),
            Value::Bool(b) => println!("K {k} bool {}", u8::from(*b)),
            Value::Bools(b) => println!("K {k} bools {}", b.len()),
        }
    }
    let (mut total, mut secs) = (0, 0.0);
    for v in g.weights().iter() {
        let t = Instant::now();
        let f = v.to_f32().unwrap();
        secs += t.elapsed().as_secs_f64();
        total += f.len() * 4;
        let mut h = 0u32;
        for x in &f {
            h = h.wrapping_mul(31).wrapping_add(x.to_bits());
        }
        println!("T {} {:?} {} {h}", v.name(), v.shape(), v.dtype().unwrap());
    }
    eprintln!("{:.2} GB/s with rayon, fresh memory ({} MB)", total as f64 / 1e9 / secs, total / 1_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!(
        "{}",
        status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("RssAnon")).collect::<Vec<_>>().join(" ")
    );
}
