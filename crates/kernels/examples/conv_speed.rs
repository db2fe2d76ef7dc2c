//! Speed of convolutions and their gradients on one thread, in GFLOP/s, the best of some.
//!
//! ```text
//! cargo run --release -p jielong-kernels --example conv_speed [-- bf16]
//! ```

use std::time::Instant;

use jielong_kernels::{Along, Conv2d, Factors, Isa};

fn main() {
    let isa = Isa::best();
    let factors = if std::env::args().any(|argument| argument == "bf16") { Factors::Bf16 } else { Factors::F32 };
    println!("channels    places  kernel  forward  input  weight");
    for (inputs, outputs, side, kernel, pictures) in [
        (128, 128, 256, 3, 1),
        (512, 512, 16, 3, 1),
        (128, 128, 16, 3, 8),
        (48, 72, 32, 3, 4),
        (72, 72, 32, 3, 4),
        (144, 144, 32, 3, 4),
        (144, 144, 16, 3, 4),
        (144, 144, 8, 3, 4),
        (144, 144, 8, 1, 4),
        (256, 256, 16, 3, 2),
        (1024, 256, 16, 1, 4),
    ] {
        let padding = (kernel / 2, kernel / 2);
        let conv = Conv2d {
            inputs,
            outputs,
            height: side,
            width: side,
            along: [Along { kernel, stride: 1, padding, dilation: 1 }; 2],
        };
        let [before, after] = conv.sizes();
        let values = |count: usize| (0..count).map(|i| (i % 17) as f32 / 17.0).collect::<Vec<f32>>();
        let (x, weight, bias) = (values(pictures * before), values(conv.weights()), values(outputs));
        let (mut y, dy) = (values(pictures * after), values(pictures * after));
        let (mut dx, mut dweight, mut dbias) = (x.clone(), weight.clone(), bias.clone());
        let flops = 2.0 * (conv.weights() * side * side * pictures) as f64;
        let best = |run: &mut dyn FnMut()| {
            let mut seconds = f64::INFINITY;
            for _ in 0..9 {
                let start = Instant::now();
                run();
                seconds = seconds.min(start.elapsed().as_secs_f64());
            }
            flops / seconds / 1e9
        };
        let forward = best(&mut || conv.forward(isa, factors, &weight).apply(&x, Some(&bias), 0..outputs, &mut y));
        let input = best(&mut || conv.backward(isa, factors, &weight).apply(&dy, None, 0..inputs, &mut dx));
        let of_weight = best(&mut || conv.weight_gradient(isa, factors, &x, &dy, &mut dweight, &mut dbias));
        println!("{inputs:4}→{outputs:<4} {side:3}×{side:<3} {kernel:5} {forward:9.1} {input:8.1} {of_weight:7.1}");
    }
}
