//! Expansion against values computed by the `gguf` Python package (`scripts/make_quant_oracle.py`), and on any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use jielong_kernels::{Dtype, KernelError, dequantize};
use proptest::prelude::*;
use safetensors::SafeTensors;

#[test]
fn every_type_expands_to_the_reference_values() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/quants.safetensors");
    let file = std::fs::read(path).unwrap();
    let oracle = SafeTensors::deserialize(&file).unwrap();
    for dtype in Dtype::ALL {
        let bytes = oracle.tensor(&format!("{dtype}.bytes")).unwrap();
        let values = oracle.tensor(&format!("{dtype}.values")).unwrap();
        let expected: Vec<f32> =
            values.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut out = vec![f32::NAN; expected.len()];
        dequantize(dtype, bytes.data(), &mut out).unwrap();
        for (i, (a, b)) in out.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-3), "{dtype} value {i}: {a}, expected {b}");
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
    }
}

proptest! {
    #[test]
    fn any_bytes_expand_without_a_panic(kind in 0..Dtype::ALL.len(), blocks in 0usize..4, seed in any::<[u8; 32]>()) {
        let dtype = Dtype::ALL[kind];
        let bytes: Vec<u8> = seed.iter().copied().cycle().take(blocks * dtype.block_bytes()).collect();
        let mut out = vec![0.0; blocks * dtype.block_len()];
        prop_assert!(dequantize(dtype, &bytes, &mut out).is_ok());
    }
}
