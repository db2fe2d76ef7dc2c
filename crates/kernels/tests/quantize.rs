//! Packing: the bytes of GGML's reference (`scripts/make_quantize_oracle.py`), error bounds, and any values at all.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_kernels::{Dtype, KernelError, dequantize, quantize};
use proptest::prelude::*;
use safetensors::SafeTensors;

fn packed(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let mut out = vec![0xa5; dtype.bytes(values.len()).unwrap()];
    quantize(dtype, values, &mut out).unwrap();
    out
}

fn expanded(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, bytes, &mut out).unwrap();
    out
}

fn quantised() -> impl Iterator<Item = Dtype> {
    Dtype::ALL.into_iter().filter(|dtype| dtype.block_len() > 1)
}

/// Where a block keeps codes: all bits 0 there make every code the first, all bits 1 the last.
fn codes(dtype: Dtype) -> std::ops::Range<usize> {
    match dtype {
        Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => 2..dtype.block_bytes(),
        Dtype::Q4_1 | Dtype::Q5_1 => 4..dtype.block_bytes(),
        Dtype::Q4_K | Dtype::Q5_K => 16..dtype.block_bytes(),
        Dtype::Q6_K => 0..192,
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => 0..0,
    }
}

/// For each value of a block, what the first and the last code mean.
fn ends(dtype: Dtype, block: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let (first, last) = if dtype == Dtype::Q8_0 { (-127i8 as u8, 127) } else { (0, 0xff) };
    let [first, last] = [first, last].map(|code| {
        let mut block = block.to_vec();
        block[codes(dtype)].fill(code);
        expanded(dtype, &block)
    });
    (first, last)
}

fn steps(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q4_K => 15.0,
        Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q5_K => 31.0,
        Dtype::Q6_K => 63.0,
        _ => 254.0,
    }
}

fn peak(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |peak, v| v.abs().max(peak))
}

/// The range of a run with zero in it.
fn span(run: &[f32]) -> f32 {
    run.iter().fold(0.0, |high: f32, v| v.max(high)) - run.iter().fold(0.0, |low: f32, v| v.min(low))
}

/// What f16's rounding of a subnormal scale costs.
const TINY: f32 = 1.0 / (1u32 << 25) as f32;

/// A block's bounds, as the module promises them.
fn check_bounds(dtype: Dtype, values: &[f32], block: &[u8]) {
    let out = expanded(dtype, block);
    let off = |i: usize| (values[i] - out[i]).abs();
    let d = f32::from(half_at(block, 0)).abs();
    for i in 0..values.len() {
        let bound = match dtype {
            Dtype::Q8_0 => 0.57 * d + 128.0 * TINY,
            Dtype::Q4_0 | Dtype::Q5_0 => 1.01 * d + 17.0 * TINY,
            Dtype::Q4_1 | Dtype::Q5_1 => 0.52 * d + f32::from(half_at(block, 2)).abs() / 2000.0 + 33.0 * TINY,
            Dtype::Q6_K => peak(values) / 16.0 + 128.0 * 32.0 * TINY,
            _ => f32::INFINITY,
        };
        assert!(off(i) <= bound, "{dtype} value {i}: {} for {}, bound {bound}", out[i], values[i]);
    }
    if let Some(part) = match dtype {
        Dtype::Q4_K => Some(15.0),
        Dtype::Q5_K => Some(25.0),
        _ => None,
    } {
        let widest = values.chunks(32).map(span).fold(0.0, f32::max);
        for run in 0..8 {
            let squares: f32 = (run * 32..run * 32 + 32).map(|i| off(i) * off(i)).sum();
            let (found, bound) = ((squares / 32.0).sqrt(), widest / part + 63.0 * 32.0 * TINY);
            assert!(found <= bound, "{dtype} run {run}: {found}, bound {bound}");
        }
    }
}

fn half_at(block: &[u8], at: usize) -> half::f16 {
    half::f16::from_le_bytes([block[at], block[at + 1]])
}

#[test]
fn every_type_packs_to_the_bytes_of_the_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/quantize.safetensors");
    let file = std::fs::read(path).unwrap();
    let oracle = SafeTensors::deserialize(&file).unwrap();
    let data = oracle.tensor("values").unwrap();
    let values: Vec<f32> = data.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(packed(Dtype::F32, &values), data.data());
    for dtype in Dtype::ALL.into_iter().filter(|dtype| *dtype != Dtype::F32) {
        let expected = oracle.tensor(&format!("{dtype}.bytes")).unwrap();
        let out = packed(dtype, &values);
        let blocks = out.chunks(dtype.block_bytes()).zip(expected.data().chunks(dtype.block_bytes()));
        for (i, (block, expected)) in blocks.enumerate() {
            assert_eq!(block, expected, "{dtype} block {i}");
        }
    }
}

#[test]
fn lengths_that_do_not_agree_are_refused() {
    for dtype in Dtype::ALL {
        let (len, size) = (dtype.block_len(), dtype.block_bytes());
        for bytes in [size - 1, size + 1, 2 * size] {
            let wrong = quantize(dtype, &vec![0.0; len], &mut vec![0; bytes]);
            assert_eq!(wrong, Err(KernelError::Length { dtype, bytes, values: len }));
        }
        assert!(len == 1 || quantize(dtype, &vec![0.0; len - 1], &mut vec![0; size]).is_err());
        assert_eq!(quantize(dtype, &[], &mut []), Ok(()));
    }
}

#[test]
fn a_block_holds_no_infinity_and_no_nan() {
    for dtype in quantised() {
        for (index, value) in [(0, f32::NAN), (31, f32::INFINITY), (300, f32::NEG_INFINITY), (767, -f32::NAN)] {
            let mut values = vec![1.0; 768];
            values[index] = value;
            values[767] = f32::NAN;
            let mut out = vec![0xa5; dtype.bytes(768).unwrap()];
            assert_eq!(quantize(dtype, &values, &mut out), Err(KernelError::NotFinite { dtype, index }));
            assert!(out.iter().all(|b| *b == 0xa5), "{dtype} wrote before it failed");
        }
    }
}

#[test]
fn plain_types_round_to_nearest_even_and_keep_what_is_no_number() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let out = expanded(dtype, &packed(dtype, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]));
        assert!(out[0].is_nan());
        assert_eq!(out[1..3], [f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(out[3].to_bits(), 1 << 31);
    }
    // NaN whose payload lies in the bits that are cut off.
    for bits in [0x7f80_0001, 0xff80_0001u32] {
        assert!(expanded(Dtype::BF16, &packed(Dtype::BF16, &[f32::from_bits(bits)]))[0].is_nan());
        assert!(expanded(Dtype::F16, &packed(Dtype::F16, &[f32::from_bits(bits)]))[0].is_nan());
    }
    let halfway = [1.0 + 2f32.powi(-11), 1.0 + 3.0 * 2f32.powi(-11), 65519.0, 65520.0, 2f32.powi(-25), 2f32.powi(-24)];
    let even = [1.0, 1.0 + 4.0 * 2f32.powi(-11), 65504.0, f32::INFINITY, 0.0, 2f32.powi(-24)];
    assert_eq!(expanded(Dtype::F16, &packed(Dtype::F16, &halfway)), even);
    let halfway = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), f32::MAX];
    assert_eq!(expanded(Dtype::BF16, &packed(Dtype::BF16, &halfway)), [1.0, 1.0 + 4.0 * 2f32.powi(-8), f32::INFINITY]);
    for dtype in [Dtype::F16, Dtype::BF16] {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let values = expanded(dtype, &all);
        for (i, (a, b)) in packed(dtype, &values).chunks(2).zip(all.chunks(2)).enumerate() {
            assert!(a == b || values[i].is_nan(), "{dtype} {b:?} became {a:?}");
        }
    }
}

#[test]
fn zeros_stay_zero_and_huge_values_become_the_greatest() {
    // The greatest values of each type, and the least; a K type's minimum is stored in six bits.
    for dtype in quantised() {
        let (len, half) = (dtype.block_len(), 65504.0);
        assert!(expanded(dtype, &packed(dtype, &vec![0.0; len])).iter().all(|v| *v == 0.0), "{dtype}");
        let greatest = match dtype {
            Dtype::Q8_0 => 127.0 * half,
            Dtype::Q4_0 => 8.0 * half,
            Dtype::Q5_0 => 16.0 * half,
            Dtype::Q4_1 => 15.0 * half,
            Dtype::Q5_1 => 31.0 * half,
            Dtype::Q4_K => 15.0 * 63.0 * half,
            Dtype::Q5_K => 31.0 * 63.0 * half,
            _ => 128.0 * 32.0 * half,
        };
        let mut values = vec![0.0; len];
        values[3] = f32::MAX;
        let out = expanded(dtype, &packed(dtype, &values));
        assert!(out[3] > 0.9 * greatest && out[3] <= greatest, "{dtype}: {} of {greatest}", out[3]);
        assert!(out.iter().enumerate().all(|(i, v)| i == 3 || *v == 0.0), "{dtype}: {out:?}");
        values[4] = f32::MIN;
        let out = expanded(dtype, &packed(dtype, &values));
        assert!(out[3] > 0.0 && out[4] < 0.0 && out.iter().all(|v| v.is_finite()), "{dtype}: {out:?}");
    }
}

/// 256 values as weights are: of one sign or two, some of them outliers, some runs of another scale or zero.
fn weights() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![8 => -1f32..1.0, 1 => -4f32..4.0, 1 => Just(0.0)];
    let run = prop_oneof![6 => Just(1f32), 2 => 1e-3f32..10.0, 1 => Just(0.0)];
    let values = proptest::collection::vec(value, 256);
    let runs = proptest::collection::vec(run, 16);
    (values, runs, -5i32..4, prop_oneof![3 => Just(0f32), 1 => -3f32..3.0]).prop_map(
        |(mut values, runs, power, shift)| {
            for (i, v) in values.iter_mut().enumerate() {
                *v = (*v + shift) * runs[i / 16] * 10f32.powi(power);
            }
            values
        },
    )
}

proptest! {
    #[test]
    fn errors_stay_within_the_bounds(values in weights()) {
        for dtype in quantised() {
            let bytes = packed(dtype, &values);
            for (values, block) in values.chunks(dtype.block_len()).zip(bytes.chunks(dtype.block_bytes())) {
                check_bounds(dtype, values, block);
            }
        }
    }

    /// Whatever the scales are, no other code is closer: half a step of the stored scale, or an end of the codes. The
    /// first five types take the codes from the scale before its rounding, which costs up to one 2048th of
    /// their range and of the minimum.
    #[test]
    fn no_other_code_is_closer(values in weights()) {
        for dtype in quantised() {
            let bytes = packed(dtype, &values);
            for (values, block) in values.chunks(dtype.block_len()).zip(bytes.chunks(dtype.block_bytes())) {
                let out = expanded(dtype, block);
                let (first, last) = ends(dtype, block);
                for i in 0..values.len() {
                    let (low, high) = (first[i].min(last[i]), first[i].max(last[i]));
                    let reach = low.abs().max(high.abs());
                    let slack = if dtype.block_len() == 256 { 1e-5 * reach } else { reach / 600.0 + 256.0 * TINY };
                    let off = (values[i] - out[i]).abs();
                    let best = (high - low) / steps(dtype) / 2.0 + slack;
                    let beyond = (low - values[i]).max(values[i] - high).max(0.0);
                    prop_assert!(off <= best.max(beyond + slack), "{dtype} value {i}: {} for {}", out[i], values[i]);
                }
            }
        }
    }

    /// A second time changes nothing where the scale follows from the values alone. The types with a minimum lose bits of
    /// the scale when the minimum is far greater, and the searches weigh anew.
    #[test]
    fn packing_again_changes_nothing(values in weights()) {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::Q8_0, Dtype::Q4_0, Dtype::Q5_0] {
            let once = expanded(dtype, &packed(dtype, &values));
            prop_assert_eq!(expanded(dtype, &packed(dtype, &once)), once, "{}", dtype);
        }
    }

    #[test]
    fn any_finite_values_become_finite_values_block_by_block(
        bits in proptest::collection::vec(any::<u32>(), 512),
        same_exponent in any::<Option<u8>>(),
    ) {
        let values: Vec<f32> = bits.iter().map(|bits| match same_exponent {
            Some(exponent) => f32::from_bits(bits & 0x807f_ffff | u32::from(exponent) << 23),
            None => f32::from_bits(*bits),
        }).map(|v| if v.is_finite() { v } else { f32::MIN_POSITIVE / 2.0 }).collect();
        for dtype in quantised() {
            let whole = packed(dtype, &values);
            let out = expanded(dtype, &whole);
            prop_assert!(out.iter().all(|v| v.is_finite()), "{}: {:?}", dtype, out);
            for (values, block) in values.chunks(dtype.block_len()).zip(whole.chunks(dtype.block_bytes())) {
                prop_assert_eq!(packed(dtype, values), block, "{}", dtype);
            }
        }
    }
}
