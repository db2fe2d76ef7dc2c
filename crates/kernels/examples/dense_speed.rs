//! Speed of products of two matrices, packing apart, the best of some, on as many threads as `RAYON_NUM_THREADS` says.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release -p jielong-kernels --example dense_speed
//! ```

use std::time::Instant;

use jielong_kernels::dense::{Lies, Operand, Packed, Side, factors, multiply};
use jielong_kernels::{Factors, Isa};

fn main() {
    let ways = Isa::available().into_iter().flat_map(|isa| [(isa, Factors::F32), (isa, Factors::Bf16)]);
    for (isa, kind) in ways.filter(|&(isa, kind)| factors(isa, kind) == Some(kind)) {
        println!(
            "{isa}, {kind:?}: rows × inner × columns: packing left along, right across, right along, left across, GB/s read; \
             product, GFLOP/s"
        );
        for [rows, inner, columns] in
            [[1280, 192, 512], [1280, 512, 192], [512, 1280, 192], [1280, 384, 6060], [6060, 1280, 384]]
        {
            let values = |count: usize| (0..count).map(|i| (i % 17) as f32 / 17.0).collect::<Vec<f32>>();
            let (a, b) = (values(rows * inner), values(inner * columns));
            let best = |work: &mut dyn FnMut()| {
                (0..9).fold(f64::INFINITY, |best, _| {
                    let start = Instant::now();
                    work();
                    best.min(start.elapsed().as_secs_f64())
                })
            };
            let ways = [
                (Side::Left, Lies::Along),
                (Side::Right, Lies::Across),
                (Side::Right, Lies::Along),
                (Side::Left, Lies::Across),
            ];
            let packs = ways.map(|(side, lies)| {
                let time = best(&mut || drop(Packed::new(isa, kind, side, Operand::new(&a, rows, lies))));
                (4 * a.len()) as f64 / time / 1e9
            });
            let left = Packed::new(isa, kind, Side::Left, Operand::new(&a, rows, Lies::Along));
            let right = Packed::new(isa, kind, Side::Right, Operand::new(&b, columns, Lies::Across));
            let time = best(&mut || drop(multiply(&left, &right)));
            let rate = 2.0 * (rows * inner * columns) as f64 / time / 1e9;
            let [along, across, right, left] = packs;
            println!("{rows:5} {inner:5} {columns:5}   {along:6.1} {across:6.1} {right:6.1} {left:6.1}   {rate:8.0}");
        }
    }
}
