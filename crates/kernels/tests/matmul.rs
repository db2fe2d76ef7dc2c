//! Products with packed weights: every set of instructions against the portable code, bit for bit, and against the
//! expanded weights in f64.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use half::{bf16, f16};
use jielong_kernels::{Cpu, Dtype, Isa, Matrix, Rows, dequantize, matmul};
use proptest::prelude::*;

/// A generator of bytes that needs no library.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Random weights: any bits in the integers, scales of a usual size.
fn weights(dtype: Dtype, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let mut next = noise(seed);
    let mut bytes: Vec<u8> = (0..dtype.bytes(rows * columns).unwrap()).map(|_| next() as u8).collect();
    let mut unit = || (next() >> 40) as f32 / (1 << 24) as f32 - 0.5;
    let halves: &[usize] = match dtype {
        Dtype::F32 => {
            bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|b| *b = unit().to_le_bytes());
            return bytes;
        }
        Dtype::F16 => {
            bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|b| *b = f16::from_f32(unit()).to_le_bytes());
            return bytes;
        }
        Dtype::BF16 => {
            bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|b| *b = bf16::from_f32(unit()).to_le_bytes());
            return bytes;
        }
        Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => &[0],
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4_K | Dtype::Q5_K => &[0, 2],
        Dtype::Q6_K => &[208],
    };
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for &at in halves {
            block[at..at + 2].copy_from_slice(&f16::from_f32(unit() * 0.1).to_le_bytes());
        }
    }
    bytes
}

fn inputs(len: usize, seed: u64) -> Vec<f32> {
    let mut next = noise(seed);
    (0..len)
        .map(|_| ((next() >> 40) as f32 / (1 << 24) as f32 - 0.5) * if next().is_multiple_of(50) { 30.0 } else { 1.0 })
        .collect()
}

fn product(cpu: &Cpu, matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    matmul(cpu, x, &[matrix]).remove(0)
}

/// `x · Wᵀ` in f64, the sum of the absolute products, and that of the absolute weights.
fn reference(matrix: &Matrix, x: &[f32]) -> Vec<[f64; 3]> {
    let [rows, columns] = matrix.shape();
    let mut w = vec![vec![0.0; columns]; rows];
    w.iter_mut().enumerate().for_each(|(i, row)| matrix.row(i, row).unwrap());
    let dot = |w: &[f32], x: &[f32]| {
        w.iter()
            .zip(x)
            .map(|(&w, &x)| (f64::from(w), f64::from(w) * f64::from(x)))
            .fold([0.0; 3], |[sum, size, weight], (w, p)| [sum + p, size + p.abs(), weight + w.abs()])
    };
    x.chunks_exact(columns).flat_map(|x| w.iter().map(move |w| dot(w, x))).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_instructions_and_numbers_of_threads_give_the_same_bits(
        kind in 0usize..11, rows in 1usize..70, blocks in prop_oneof![4 => 1usize..5, 1 => 31usize..66], n in prop_oneof![3 => 1usize..12, 1 => 12usize..220],
        tail in 0usize..40, seed: u64, shift in 0usize..8,
    ) {
        let dtype = Dtype::ALL[kind];
        let columns = if dtype.block_len() == 1 { blocks * 32 + tail } else { (blocks * dtype.block_len()).min(9 * 256) };
        // at any alignment: a mapped file promises none
        let mut bytes = vec![0; shift];
        bytes.extend(weights(dtype, rows, columns, seed));
        let matrix = Matrix::new(dtype, [rows, columns], Rows::AsStored, Bytes::from(bytes).slice(shift..)).unwrap();
        let x = inputs(n * columns, seed ^ 1);
        let expected = product(&Cpu::with_isa(1, Isa::Baseline).unwrap(), &matrix, &x);
        for isa in Isa::available() {
            let together = product(&Cpu::with_isa(3, isa).unwrap(), &matrix, &x);
            let cpu = Cpu::with_isa(1, isa).unwrap();
            let turned = matrix.clone().turned(&cpu);
            prop_assert_eq!(bits(&product(&cpu, &turned, &x)), bits(&together), "{} {}: turned", dtype, isa);
            let mut row = [vec![0.0; columns], vec![0.0; columns]];
            matrix.row(rows - 1, &mut row[0]).unwrap();
            turned.row(rows - 1, &mut row[1]).unwrap();
            prop_assert_eq!(bits(&row[0]), bits(&row[1]), "{} {}: a row turned back", dtype, isa);
            let single: Vec<f32> = x.chunks_exact(columns).flat_map(|x| product(&cpu, &matrix, x)).collect();
            prop_assert_eq!(bits(&together), bits(&single), "{} {}: one by one", dtype, isa);
            if dtype != Dtype::BF16 || isa < Isa::Avx512Bf16 {
                prop_assert_eq!(bits(&together), bits(&expected), "{} {}", dtype, isa);
            }
            for ((y, [exact, size, weight]), i) in together.iter().zip(reference(&matrix, &x)).zip(0..) {
                let most = x[i / rows * columns..][..columns].iter().fold(0f64, |m, &v| m.max(f64::from(v.abs())));
                // Inputs are rounded to the 8 bits of bf16, or to 16 bits of the largest, or not at all; sums are f32.
                let bound = 1e-6 + 1e-5 * size + match dtype {
                    Dtype::F32 | Dtype::F16 => 0.0,
                    Dtype::BF16 if isa >= Isa::Avx512Bf16 => size / 256.0,
                    Dtype::BF16 => 0.0,
                    _ => weight * most * 0.5 / 32639.0,
                };
                prop_assert!((f64::from(*y) - exact).abs() <= bound, "{} {}: {} is not {} ± {}", dtype, isa, y, exact, bound);
            }
        }
    }
}

#[test]
fn many_columns_and_several_matrices_at_once() {
    let (columns, n) = (256, 300);
    let x = inputs(n * columns, 5);
    let of = |dtype, rows: usize, order| {
        Matrix::new(dtype, [rows, columns], order, weights(dtype, rows, columns, rows as u64).into()).unwrap()
    };
    let matrices = [
        of(Dtype::Q4_K, 48, Rows::AsStored),
        of(Dtype::Q6_K, 17, Rows::AsStored),
        of(Dtype::F16, 33, Rows::AsStored),
        of(Dtype::BF16, 40, Rows::AsStored),
        of(Dtype::Q8_0, 64, Rows::Interleaved { head: 16 }),
    ];
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(2, isa).unwrap();
        let outs = matmul(&cpu, &x, &matrices.each_ref());
        for (matrix, out) in matrices.iter().zip(&outs) {
            for (column, x) in x.chunks_exact(columns).enumerate().step_by(37) {
                let one = product(&cpu, matrix, x);
                assert_eq!(bits(&one), bits(&out[column * matrix.shape()[0]..][..matrix.shape()[0]]), "{isa}");
            }
        }
    }
}

#[test]
fn interleaved_rows_are_those_of_halves() {
    let order = Rows::Interleaved { head: 4 };
    assert_eq!((0..8).map(|i| order.stored(i)).collect::<Vec<_>>(), [0, 2, 1, 3, 4, 6, 5, 7]);
}

#[test]
fn what_is_not_finite_stays_so() {
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(1, isa).unwrap();
        for dtype in Dtype::ALL {
            let columns = dtype.block_len().max(48);
            let columns = columns.next_multiple_of(dtype.block_len());
            let matrix =
                Matrix::new(dtype, [20, columns], Rows::AsStored, weights(dtype, 20, columns, 3).into()).unwrap();
            for n in [2, 40] {
                let mut x = inputs(n * columns, 4);
                x[columns / 2] = f32::NAN;
                let y = product(&cpu, &matrix, &x);
                assert!(y[..20].iter().all(|y| y.is_nan()), "{dtype} {isa}");
                assert!(y[20..].iter().all(|y| y.is_finite()), "{dtype} {isa}");
            }
        }
    }
}

#[test]
fn every_half_precision_scale_gives_the_same_bits_or_nan() {
    // infinite and NaN scales, denormal ones, zero of both signs
    for scale in [0x7c00u16, 0xfc00, 0x7e00, 0x0001, 0x8001, 0x0000, 0x8000, 0x7bff] {
        let mut bytes = weights(Dtype::Q4_0, 16, 64, 8);
        bytes[0..2].copy_from_slice(&scale.to_le_bytes());
        let matrix = Matrix::new(Dtype::Q4_0, [16, 64], Rows::AsStored, bytes.into()).unwrap();
        let x = inputs(40 * 64, 9);
        let expected = product(&Cpu::with_isa(1, Isa::Baseline).unwrap(), &matrix, &x);
        for isa in Isa::available() {
            let y = product(&Cpu::with_isa(1, isa).unwrap(), &matrix, &x);
            for (y, expected) in y.iter().zip(&expected) {
                assert!(y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan()), "{scale:04x} {isa}");
            }
        }
    }
}

#[test]
fn a_matrix_of_the_wrong_length_is_refused() {
    let new = |dtype, shape, len: usize| Matrix::new(dtype, shape, Rows::AsStored, Bytes::from(vec![0; len]));
    assert!(new(Dtype::Q4_0, [2, 64], 72).is_ok());
    assert!(new(Dtype::Q4_0, [2, 64], 71).is_err());
    assert!(new(Dtype::Q4_0, [2, 65], 72).is_err());
    assert!(new(Dtype::Q4_K, [usize::MAX, 256], 144).is_err());
    assert!(new(Dtype::F32, [0, 4], 0).is_err());
    let mut out = [0.0; 3];
    assert!(dequantize(Dtype::F32, &[0; 8], &mut out).is_err());
}
