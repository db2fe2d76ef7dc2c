//! Expansion against values computed by the `gguf` Python package (`scripts/make_quant_oracle.py`), and on any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_kernels::{Dtype, KernelError, dequantize};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// Where a block keeps its f16 scales.
fn scales(dtype: Dtype) -> &'static [usize] {
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => &[],
        Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => &[0],
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4_K | Dtype::Q5_K => &[0, 2],
        Dtype::Q6_K => &[208],
    }
}

#[test]
fn every_type_expands_to_the_reference_values() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/quants.safetensors");
    let file = std::fs::read(path).unwrap();
    let oracle = SafeTensors::deserialize(&file).unwrap();
    for dtype in Dtype::ALL {
        let bytes = oracle.tensor(&format!("{dtype}.bytes")).unwrap();
        let values = oracle.tensor(&format!("{dtype}.values")).unwrap();
        let expected: Vec<f32> = values.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut out = vec![f32::NAN; expected.len()];
        dequantize(dtype, bytes.data(), &mut out).unwrap();
        for (i, (a, b)) in out.iter().zip(&expected).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "{dtype} value {i}: {a}, expected {b}");
        }
    }
}

#[test]
fn lengths_that_do_not_agree_are_refused() {
    for dtype in Dtype::ALL {
        let (len, bytes) = (dtype.block_len(), dtype.block_bytes());
        let wrong = dequantize(dtype, &vec![0; bytes], &mut vec![0.0; 2 * len]);
        assert_eq!(wrong, Err(KernelError::Length { dtype, bytes, values: 2 * len }));
        assert!(dequantize(dtype, &vec![0; bytes + 1], &mut vec![0.0; len]).is_err());
        if len > 1 {
            assert!(dequantize(dtype, &vec![0; bytes], &mut vec![0.0; len - 1]).is_err());
        }
        assert_eq!(dtype.bytes(usize::MAX / len * len).is_none(), bytes > len);
        assert_eq!(dequantize(dtype, &[], &mut []), Ok(()));
    }
}

#[test]
fn scales_that_are_no_numbers_make_values_that_are_none() {
    for dtype in Dtype::ALL {
        for scale in [0x7e00u16, 0x7c00, 0xfc00] {
            let mut block = vec![0xff; dtype.block_bytes()];
            for &at in scales(dtype) {
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
            let mut out = vec![0.0; dtype.block_len()];
            dequantize(dtype, &block, &mut out).unwrap();
            assert!(out.iter().all(|v| !v.is_finite()), "{dtype}: {out:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_expand_without_a_panic_and_block_by_block(
        kind in 0..Dtype::ALL.len(),
        seed in proptest::collection::vec(any::<u8>(), 3 * 210),
    ) {
        let dtype = Dtype::ALL[kind];
        let (len, size) = (dtype.block_len(), dtype.block_bytes());
        let bytes = &seed[..seed.len() / size * size];
        let mut whole = vec![0.0; bytes.len() / size * len];
        prop_assert!(dequantize(dtype, bytes, &mut whole).is_ok());
        for (bytes, values) in bytes.chunks(size).zip(whole.chunks(len)) {
            let mut block = vec![0.0; len];
            prop_assert!(dequantize(dtype, bytes, &mut block).is_ok());
            prop_assert!(block.iter().zip(values).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
        }
    }
}
