//! What stands between the products of a layer: norm, rotation, gate.

use crate::cpu::{Cpu, Isa};
use crate::math::{exp, sin_cos_mod_pi, tanh};
use crate::matmul::columns::LANES;
use crate::shared::Disjoint;

/// Values that are one thread's work: fewer are not worth a hand-over.
const TASK: usize = 1 << 14;

/// Compiles a function for every set of instructions; the one that is made picks by its first argument.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        fn $name(isa: Isa, $($arg: $type),*) {
            #[inline(always)]
            fn portable($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                fn avx512($($arg: $type),*) {
                    portable($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) {
                    portable($($arg),*);
                }
                // SAFETY: an `Isa` above the baseline is there only if the processor has it.
                #[allow(unsafe_code)]
                match isa {
                    Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => return unsafe { avx512($($arg),*) },
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Baseline | Isa::Dot => {}
                }
            }
            let _ = isa;
            portable($($arg),*);
        }
    };
}

pub(crate) use for_each_isa;

/// Runs `work` over rows of `width` values of `out`, some rows a task.
fn by_rows(cpu: &Cpu, out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = out.len() / width.max(1);
    let size = (TASK / width.max(1)).max(1);
    let out = Disjoint::new(out);
    cpu.pool.run(rows.div_ceil(size), |task| {
        let (from, to) = (task * size, ((task + 1) * size).min(rows));
        // SAFETY: rows are of one task.
        #[allow(unsafe_code)]
        work(from, unsafe { out.slice(from * width, (to - from) * width) });
    });
}

/// `x ← x + y`
///
/// # Panics
/// If the lengths do not agree.
pub fn add(cpu: &Cpu, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "terms of a sum");
    by_rows(cpu, x, 1, |from, x| x.iter_mut().zip(&y[from..]).for_each(|(x, y)| *x += y));
}

/// `x / rms(x) · weight` for each row of `weight.len()` values (Zhang & Sennrich 2019).
///
/// # Panics
/// If the lengths do not agree.
pub fn rms_norm(cpu: &Cpu, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(weight.len()), "rows of {}", weight.len());
    by_rows(cpu, out, weight.len(), |row, out| {
        let x = &x[row * weight.len()..][..out.len()];
        norm_rows(cpu.isa(), x, weight, eps, out);
    });
}

for_each_isa! {
    fn norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mut sums = [0.0f32; LANES];
            let (runs, rest) = x.as_chunks::<LANES>();
            for run in runs {
                for lane in 0..LANES {
                    sums[lane] = run[lane].mul_add(run[lane], sums[lane]);
                }
            }
            let sum = rest.iter().fold(sums.iter().sum::<f32>(), |sum, x| x.mul_add(*x, sum));
            let factor = 1.0 / (sum / width as f32 + eps).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * factor * weight;
            }
        }
    }
}

/// [`rms_norm`] of some rows, on this thread.
///
/// # Panics
/// If the lengths do not agree.
pub fn rms_norm_rows(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(weight.len()), "rows of {}", weight.len());
    norm_rows(isa, x, weight, eps, out);
}

/// The gradients of [`rms_norm_rows`]: `dx`, and to `dweight` is added.
///
/// # Panics
/// If the lengths do not agree.
pub fn rms_norm_gradients(
    isa: Isa,
    (x, weight, eps): (&[f32], &[f32], f32),
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let width = weight.len();
    assert!(x.len() == dy.len() && x.len() == dx.len() && x.len().is_multiple_of(width), "rows of {width}");
    assert_eq!(dweight.len(), width, "a gradient for each weight");
    norm_gradients(isa, x, weight, eps, dy, dx, dweight);
}

for_each_isa! {
    fn norm_gradients(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dweight: &mut [f32]) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, dy), dx) in rows {
            // Σ x² and Σ x · weight · dy, in sixteen sums each.
            let mut sums = [[0.0f32; LANES]; 2];
            for (at, ((x, weight), dy)) in x.iter().zip(weight).zip(dy).enumerate() {
                sums[0][at % LANES] += x * x;
                sums[1][at % LANES] += x * weight * dy;
            }
            let [square, slope] = sums.map(|sums| sums.iter().sum::<f32>() / width as f32);
            let factor = 1.0 / (square + eps).sqrt();
            let back = slope * factor * factor;
            for at in 0..width {
                dx[at] = factor * (weight[at] * dy[at] - back * x[at]);
                dweight[at] += dy[at] * x[at] * factor;
            }
        }
    }
}

/// Rotates the pairs `(i, i + half)` of each head by the angles of its position: `x` is `[t][heads][dim]`, `cos` and `sin`
/// are `[t][half]` (Su et al. 2021). Values beyond the rotated ones stay.
///
/// # Panics
/// If the lengths do not agree.
pub fn rotate(cpu: &Cpu, x: &mut [f32], heads: usize, dim: usize, cos: &[f32], sin: &[f32]) {
    let t = x.len() / (heads * dim).max(1);
    let half = cos.len() / t.max(1);
    assert!(
        x.len() == t * heads * dim && cos.len() == sin.len() && 2 * half <= dim,
        "{t} positions of {heads} × {dim}"
    );
    by_rows(cpu, x, heads * dim, |row, x| {
        let count = x.len() / (heads * dim) * half;
        rotate_rows(cpu.isa(), x, heads, dim, &cos[row * half..][..count], &sin[row * half..][..count]);
    });
}

/// [`rotate`] of some positions, on this thread.
///
/// # Panics
/// If the lengths do not agree.
pub fn rotate_positions(isa: Isa, x: &mut [f32], heads: usize, dim: usize, cos: &[f32], sin: &[f32]) {
    let t = x.len() / (heads * dim).max(1);
    let half = cos.len() / t.max(1);
    assert!(
        x.len() == t * heads * dim && cos.len() == t * half && cos.len() == sin.len() && 2 * half <= dim,
        "{t} positions of {heads} × {dim}"
    );
    rotate_rows(isa, x, heads, dim, cos, sin);
}

for_each_isa! {
    fn rotate_rows(x: &mut [f32], heads: usize, dim: usize, cos: &[f32], sin: &[f32]) {
        let half = cos.len() / (x.len() / (heads * dim));
        for ((x, cos), sin) in x.chunks_exact_mut(heads * dim).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half)) {
            for head in x.chunks_exact_mut(dim) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

/// The activation of a gated layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x · sigmoid(x)`
    Silu,
    /// GELU with the tanh approximation.
    GeluTanh,
}

/// `gate ← act(gate) · up`, value by value (Shazeer 2020).
///
/// # Panics
/// If the lengths do not agree.
pub fn gated(cpu: &Cpu, act: Gate, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up");
    by_rows(cpu, gate, 1, |from, gate| {
        let up = &up[from..][..gate.len()];
        match act {
            Gate::Silu => silu(cpu.isa(), gate, up),
            Gate::GeluTanh => gelu_tanh(cpu.isa(), gate, up),
        }
    });
}

for_each_isa! {
    fn silu(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

/// `gate ← gate · sigmoid(gate) · up`, on this thread.
///
/// # Panics
/// If the lengths do not agree.
pub fn silu_gated(isa: Isa, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up");
    silu(isa, gate, up);
}

/// The gradients of [`silu_gated`]: `gate` and `up` become them.
///
/// # Panics
/// If the lengths do not agree.
pub fn silu_gated_gradients(isa: Isa, gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
    assert!(gate.len() == up.len() && gate.len() == dy.len(), "gate, up and a gradient");
    silu_gradients(isa, gate, up, dy);
}

for_each_isa! {
    fn silu_gradients(gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
        for ((gate, up), dy) in gate.iter_mut().zip(up).zip(dy) {
            let (x, share) = (*gate, 1.0 / (1.0 + exp(-*gate)));
            *gate = dy * *up * share * (x * (1.0 - share) + 1.0);
            *up = dy * x * share;
        }
    }
}

/// `erf(x / √2)` and `exp(−x² / 2)`: Abramowitz & Stegun (1964), 7.1.26, whose error is below 1.5e-7.
#[inline(always)]
fn erf_of(x: f32) -> [f32; 2] {
    const A: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let (z, bell) = (x.abs() * std::f32::consts::FRAC_1_SQRT_2, exp(-0.5 * x * x));
    let t = 1.0 / (0.327_591_1 * z + 1.0);
    let sum = A.iter().fold(0.0, |sum, a| (sum * t) + a);
    [(1.0 - sum * t * bell).copysign(x), bell]
}

/// GELU: `x ← x · Φ(x)` (Hendrycks & Gimpel 2016), on this thread.
pub fn gelu(isa: Isa, x: &mut [f32]) {
    gelu_values(isa, x);
}

/// The gradient of [`gelu`]: `x` becomes it.
///
/// # Panics
/// If the lengths do not agree.
pub fn gelu_gradients(isa: Isa, x: &mut [f32], dy: &[f32]) {
    assert_eq!(x.len(), dy.len(), "a gradient for each value");
    gelu_slopes(isa, x, dy);
}

for_each_isa! {
    fn gelu_values(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x *= 0.5 * (1.0 + erf_of(*x)[0]);
        }
    }
}

for_each_isa! {
    fn gelu_slopes(x: &mut [f32], dy: &[f32]) {
        const DENSITY: f32 = 0.398_942_3; // 1 / √(2π)
        for (x, dy) in x.iter_mut().zip(dy) {
            let [erf, bell] = erf_of(*x);
            *x = dy * (0.5 * (1.0 + erf) + *x * bell * DENSITY);
        }
    }
}

/// What keeps the division of [`snake`] finite, as in Descript's code.
const SNAKE_EPS: f32 = 1e-9;

/// `x ← x + sin²(αx) / α` (Ziyin et al. 2020, *Neural networks fail to learn periodic functions and how to fix it*), on this
/// thread.
pub fn snake(isa: Isa, x: &mut [f32], alpha: f32) {
    snake_values(isa, x, alpha);
}

/// The gradients of [`snake`]: `x` becomes that of `x`, and `dy` the parts of that of `α`, which are to be added up.
///
/// # Panics
/// If the lengths do not agree.
pub fn snake_gradients(isa: Isa, x: &mut [f32], dy: &mut [f32], alpha: f32) {
    assert_eq!(x.len(), dy.len(), "a gradient for each value");
    snake_slopes(isa, x, dy, alpha);
}

for_each_isa! {
    fn snake_values(x: &mut [f32], alpha: f32) {
        let inverse = 1.0 / (alpha + SNAKE_EPS);
        for x in x.iter_mut() {
            let [sin, _] = sin_cos_mod_pi(alpha * *x);
            *x = (sin * sin).mul_add(inverse, *x);
        }
    }
}

for_each_isa! {
    fn snake_slopes(x: &mut [f32], dy: &mut [f32], alpha: f32) {
        let inverse = 1.0 / (alpha + SNAKE_EPS);
        for (x, dy) in x.iter_mut().zip(dy.iter_mut()) {
            let [sin, cos] = sin_cos_mod_pi(alpha * *x);
            let double = 2.0 * sin * cos;
            let slope = *dy * (1.0 + double * alpha * inverse);
            *dy *= inverse * (double * *x - sin * sin * inverse);
            *x = slope;
        }
    }
}

for_each_isa! {
    fn gelu_tanh(gate: &mut [f32], up: &[f32]) {
        const SQRT_2_OVER_PI: f32 = 0.797_884_6;
        for (gate, up) in gate.iter_mut().zip(up) {
            let x = *gate;
            let inner = SQRT_2_OVER_PI * (0.044_715 * x * x).mul_add(x, x);
            *gate = 0.5 * x * (1.0 + tanh(inner)) * up;
        }
    }
}
