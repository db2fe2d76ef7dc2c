//! Expansion of stored weights to f32.
//!
//! Layouts are those of GGML (`ggml-common.h`); all numbers are little endian, `d` and `m` are f16.
//!
//! | type | block | value |
//! |---|---|---|
//! | Q8_0 | `d`, 32 × i8 | `d·q` |
//! | Q4_0 | `d`, 16 bytes: value `i` in the low, `i+16` in the high half | `d·(q−8)` |
//! | Q4_1 | `d`, `m`, 16 bytes as Q4_0 | `d·q + m` |
//! | Q5_0 | `d`, u32 of fifth bits, 16 bytes as Q4_0 | `d·(q−16)` |
//! | Q5_1 | `d`, `m`, u32 of fifth bits, 16 bytes as Q4_0 | `d·q + m` |
//! | Q4_K | `d`, `m`, 12 bytes of 8 scales and 8 minima, 128 bytes: 4 runs of 32, low halves then high halves | `d·s·q − m·n` |
//! | Q5_K | `d`, `m`, 12 bytes as Q4_K, 32 bytes of fifth bits, 128 bytes as Q4_K | `d·s·q − m·n` |
//! | Q6_K | 128 bytes of low halves, 64 bytes of upper pairs of bits, 16 × i8 scales, `d` | `d·s·(q−32)` |

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::Dtype;

/// Why values cannot be expanded or packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Bytes and values do not agree.
    #[error("{bytes} bytes of {dtype} are not {values} values")]
    Length {
        /// The type.
        dtype: Dtype,
        /// Bytes given.
        bytes: usize,
        /// Values wanted.
        values: usize,
    },
    /// A value that no block can hold.
    #[error("value {index} is not finite, so it cannot become {dtype}; keep these as F32, F16 or BF16")]
    NotFinite {
        /// The type wanted.
        dtype: Dtype,
        /// Where the value is.
        index: usize,
    },
}

/// Expands `bytes` of type `dtype` into `out`.
///
/// # Errors
/// [`KernelError::Length`] if `out` is not whole blocks or needs another number of bytes.
pub fn dequantize(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<(), KernelError> {
    if dtype.bytes(out.len()) != Some(bytes.len()) {
        return Err(KernelError::Length { dtype, bytes: bytes.len(), values: out.len() });
    }
    match dtype {
        Dtype::F32 => blocks(bytes, out, |b: &[u8; 4], o: &mut [f32; 1]| o[0] = f32::from_le_bytes(*b)),
        Dtype::F16 => halves(bytes, out),
        Dtype::BF16 => blocks(bytes, out, |b: &[u8; 2], o: &mut [f32; 1]| o[0] = bf16::from_le_bytes(*b).to_f32()),
        Dtype::Q8_0 => blocks(bytes, out, q8_0),
        Dtype::Q4_0 => blocks(bytes, out, q4_0),
        Dtype::Q4_1 => blocks(bytes, out, q4_1),
        Dtype::Q5_0 => blocks(bytes, out, q5_0),
        Dtype::Q5_1 => blocks(bytes, out, q5_1),
        Dtype::Q4_K => blocks(bytes, out, q4_k),
        Dtype::Q5_K => blocks(bytes, out, q5_k),
        Dtype::Q6_K => blocks(bytes, out, q6_k),
    }
    Ok(())
}

/// Runs one expansion over all blocks; the lengths were checked.
fn blocks<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], expand: impl Fn(&[u8; B], &mut [f32; N])) {
    let (bytes, _) = bytes.as_chunks::<B>();
    let (out, _) = out.as_chunks_mut::<N>();
    for (block, values) in bytes.iter().zip(out) {
        expand(block, values);
    }
}

/// Plain halves, a run at a time: the processor converts several in one instruction, and is asked once a run whether it can.
fn halves(bytes: &[u8], out: &mut [f32]) {
    const RUN: usize = 256;
    let mut run = [f16::ZERO; RUN];
    for (bytes, values) in bytes.chunks(2 * RUN).zip(out.chunks_mut(RUN)) {
        for (half, pair) in run.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*pair);
        }
        run[..values.len()].convert_to_f32_slice(values);
    }
}

/// The f16 at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (q, value) in block[2..].iter().zip(out) {
        *value = d * f32::from(*q as i8);
    }
}

/// 32 values of 4 bits: low halves, then high halves.
fn nibbles(bytes: &[u8], out: &mut [f32; 32], value: impl Fn(usize, u8) -> f32) {
    for (i, byte) in bytes[..16].iter().enumerate() {
        out[i] = value(i, byte & 15);
        out[i + 16] = value(i + 16, byte >> 4);
    }
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    nibbles(&block[2..], out, |_, q| d * (f32::from(q) - 8.0));
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], out, |_, q| d * f32::from(q) + m);
}

/// The fifth bit of value `i`, in place.
fn fifth(bits: u32, i: usize) -> u8 {
    ((bits >> i) & 1) as u8 * 16
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let bits = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    nibbles(&block[6..], out, |i, q| d * (f32::from(q + fifth(bits, i)) - 16.0));
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let bits = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    nibbles(&block[8..], out, |i, q| d * f32::from(q + fifth(bits, i)) + m);
}

/// The 6-bit scale and minimum of run `i` of a K block: the first four in the low bits of 8 bytes, the last four in 4 bytes
/// of halves and the upper bits of the first 8.
fn scale_and_minimum(s: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (s[i] & 63, s[i + 4] & 63)
    } else {
        ((s[i + 4] & 15) | ((s[i - 4] >> 6) << 4), (s[i + 4] >> 4) | ((s[i] >> 6) << 4))
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (run, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], run);
        let (scale, minimum) = (d * scale, m * minimum);
        let bytes = &block[16 + run / 2 * 32..][..32];
        let shift = run % 2 * 4;
        for (byte, value) in bytes.iter().zip(values) {
            *value = scale * f32::from((byte >> shift) & 15) - minimum;
        }
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (run, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], run);
        let (scale, minimum) = (d * scale, m * minimum);
        let bytes = &block[48 + run / 2 * 32..][..32];
        let shift = run % 2 * 4;
        for ((byte, high), value) in bytes.iter().zip(&block[16..48]).zip(values) {
            let q = ((byte >> shift) & 15) + ((high >> run) & 1) * 16;
            *value = scale * f32::from(q) - minimum;
        }
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for (half, values) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let (low, high, scales) =
            (&block[half * 64..][..64], &block[128 + half * 32..][..32], &block[192 + half * 8..]);
        for (run, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = &low[run % 2 * 32..][..32];
            for (i, value) in values.iter_mut().enumerate() {
                let q = ((low[i] >> (run / 2 * 4)) & 15) | (((high[i] >> (run * 2)) & 3) << 4);
                let scale = f32::from(scales[run * 2 + i / 16] as i8);
                *value = d * scale * (f32::from(q) - 32.0);
            }
        }
    }
}
