//! Attention over a cache against the formula in f64, and its promises: the same bits for every number of threads, queries
//! at once, and set of instructions.

#![allow(clippy::unwrap_used)]

use jielong_kernels::{Attention, CacheType, Cpu, Gate, Isa, KvStore, attend, gated, rms_norm, rotate};
use proptest::prelude::*;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 4.0
        })
        .collect()
}

struct Case {
    kv: usize,
    dim: usize,
    attention: Attention,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    total: usize,
}

impl Case {
    fn new(kv: usize, group: usize, dim: usize, total: usize, window: Option<usize>, softcap: Option<f32>) -> Self {
        let attention = Attention { heads: kv * group, scale: 1.0 / (dim as f32).sqrt(), softcap, window };
        let of = |heads, seed| noise(total * heads * dim, seed);
        Self { kv, dim, attention, q: of(kv * group, 1), k: of(kv, 2), v: of(kv, 3), total }
    }

    /// Output of all positions, fed by `steps` at a time.
    fn run(&self, cpu: &Cpu, cells: CacheType, steps: &[usize]) -> Vec<f32> {
        let (row, kv_row) = (self.attention.heads * self.dim, self.kv * self.dim);
        let mut cache = KvStore::new(cells, self.kv, self.dim, 16);
        let mut out = vec![f32::NAN; self.total * row];
        let mut at = 0;
        for &step in steps.iter().cycle() {
            let to = (at + step).min(self.total);
            cache.grow(to);
            cache.append(at, &self.k[at * kv_row..to * kv_row], &self.v[at * kv_row..to * kv_row]);
            attend(cpu, &cache, &self.attention, &self.q[at * row..to * row], at, &mut out[at * row..to * row]);
            at = to;
            if at == self.total {
                return out;
            }
        }
        out
    }

    fn reference(&self) -> Vec<f64> {
        let Attention { heads, scale, softcap, window } = self.attention;
        let mut out = Vec::new();
        let at =
            |all: &[f32], heads: usize, t: usize, h: usize, d: usize| f64::from(all[(t * heads + h) * self.dim + d]);
        for t in 0..self.total {
            for h in 0..heads {
                let g = h / (heads / self.kv);
                let from = window.map_or(0, |w| (t + 1).saturating_sub(w));
                let scores: Vec<f64> = (from..=t)
                    .map(|s| {
                        (0..self.dim).map(|d| at(&self.q, heads, t, h, d) * at(&self.k, self.kv, s, g, d)).sum::<f64>()
                    })
                    .map(|s| s * f64::from(scale))
                    .map(|s| softcap.map_or(s, |cap| (s / f64::from(cap)).tanh() * f64::from(cap)))
                    .collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
                for d in 0..self.dim {
                    let y = (from..=t)
                        .zip(&scores)
                        .map(|(s, score)| (score - most).exp() / sum * at(&self.v, self.kv, s, g, d));
                    out.push(y.sum());
                }
            }
        }
        out
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attention_is_its_formula_however_it_is_fed(
        kv in 1usize..4, group in 1usize..6, dim in prop::sample::select(vec![4usize, 16, 20, 64, 80]),
        total in 1usize..150, window in prop::option::of(1usize..60), capped: bool,
        steps in prop::collection::vec(1usize..40, 1..4),
    ) {
        let case = Case::new(kv, group, dim, total, window, capped.then_some(5.0));
        let exact = case.reference();
        for (cells, tolerance) in [(CacheType::F32, 2e-5), (CacheType::F16, 4e-3), (CacheType::Q8, 6e-2)] {
            let expected = case.run(&Cpu::with_isa(1, Isa::Baseline).unwrap(), cells, &[total]);
            for (y, exact) in expected.iter().zip(&exact) {
                prop_assert!((f64::from(*y) - exact).abs() < tolerance, "{:?}: {} is not {}", cells, y, exact);
            }
            for isa in Isa::available() {
                let fed = case.run(&Cpu::with_isa(3, isa).unwrap(), cells, &steps);
                prop_assert_eq!(bits(&fed), bits(&expected), "{:?} {} {:?}", cells, isa, &steps);
            }
        }
    }
}

#[test]
fn a_long_cache_of_several_chunks_is_merged_in_order() {
    for window in [None, Some(700)] {
        let case = Case::new(1, 2, 16, 1700, window, None);
        let exact = case.reference();
        let all = case.run(&Cpu::new(2), CacheType::F32, &[1700]);
        assert!(all.iter().zip(&exact).all(|(y, exact)| (f64::from(*y) - exact).abs() < 2e-5));
        assert_eq!(bits(&case.run(&Cpu::new(2), CacheType::F32, &[1, 511, 1, 7])), bits(&all));
    }
}

#[test]
fn norm_rotation_and_gates_are_their_formulas_with_every_set_of_instructions() {
    let (width, rows) = (72, 700);
    let (x, weight) = (noise(width * rows, 4), noise(width, 5));
    let mut firsts: Option<[Vec<u32>; 4]> = None;
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(2, isa).unwrap();
        let mut normed = vec![0.0; x.len()];
        rms_norm(&cpu, &x, &weight, 1e-6, &mut normed);
        for (x, y) in x.chunks(width).zip(normed.chunks(width)) {
            let ms = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64 + 1e-6;
            for ((x, y), w) in x.iter().zip(y).zip(&weight) {
                assert!((f64::from(*y) - f64::from(*x) / ms.sqrt() * f64::from(*w)).abs() < 1e-5);
            }
        }
        // two heads of 36, 32 of whose values turn
        let angles = noise(rows * 16, 6);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let mut turned = x.clone();
        rotate(&cpu, &mut turned, 2, 36, &cos, &sin);
        for (row, (x, y)) in x.chunks(36).zip(turned.chunks(36)).enumerate() {
            for i in 0..16 {
                let (c, s) = (cos[row / 2 * 16 + i], sin[row / 2 * 16 + i]);
                assert!((y[i] - (x[i] * c - x[i + 16] * s)).abs() < 1e-6);
                assert!((y[i + 16] - (x[i + 16] * c + x[i] * s)).abs() < 1e-6);
            }
            assert_eq!(x[32..], y[32..]);
        }
        let gate = |gate: Gate| {
            let mut y = x.clone();
            gated(&cpu, gate, &mut y, &normed);
            for ((x, up), y) in x.iter().zip(&normed).zip(&y) {
                let x = f64::from(*x);
                let act = match gate {
                    Gate::Silu => x / (1.0 + (-x).exp()),
                    Gate::GeluTanh => {
                        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
                    }
                };
                assert!((f64::from(*y) - act * f64::from(*up)).abs() < 2e-5, "{gate:?} {x}");
            }
            y
        };
        let all = [bits(&normed), bits(&turned), bits(&gate(Gate::Silu)), bits(&gate(Gate::GeluTanh))];
        let first = firsts.get_or_insert_with(|| all.clone());
        assert!(*first == all, "{isa}");
    }
}
