//! A stored tensor → a Burn tensor on a device.
//!
//! f32 weights that stay f32 on the CPU are used where they are mapped, without a copy. Everything else is expanded to f32
//! and cast on the device.

use std::ops::Range;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};
use jielong_kernels::Dtype;

use crate::weights::{TensorView, WeightsError};

/// In which order the rows of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As they are used.
    AsStored,
    /// Those of each head as pairs `(0, 1), (2, 3), …` of the rotation; wanted are all firsts, then all seconds.
    Interleaved {
        /// Number of heads.
        heads: usize,
    },
}

/// The `rows` of a stored tensor, as a tensor of rank `D` and the same trailing dimensions.
///
/// # Errors
/// [`WeightsError`] if the type of the tensor is not one of weights.
pub fn tensor<const D: usize>(
    view: &TensorView,
    rows: Range<usize>,
    order: Rows,
    device: &Device,
    dtype: FloatDType,
) -> Result<Tensor<D>, WeightsError> {
    let mut shape = view.shape().to_vec();
    let whole = rows == (0..shape[0]);
    shape[0] = rows.len();
    let aligned = view.bytes().as_ptr().align_offset(align_of::<f32>()) == 0;
    let as_mapped = view.dtype() == Some(Dtype::F32) && dtype == FloatDType::F32 && aligned;
    let data = if as_mapped && whole && order == Rows::AsStored {
        let bytes = Bytes::from_shared(view.shared_bytes(), AllocationProperty::File);
        TensorData::from_bytes(bytes, shape, DType::F32)
    } else {
        let mut values = view.to_f32()?;
        let width = shape[1..].iter().product::<usize>();
        if !whole {
            values = values[rows.start * width..rows.end * width].to_vec();
        }
        if let Rows::Interleaved { heads } = order {
            values = half_split(&values, heads, width);
        }
        TensorData::new(values, shape)
    };
    Ok(Tensor::from_data(data, (device, DType::from(dtype))))
}

/// Rows of each head from pairs `(0, 1), (2, 3), …` to all firsts, then all seconds.
fn half_split(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let head = values.len() / heads; // values of one head
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head) {
        for second in 0..2 {
            for pair in head.chunks_exact(2 * width) {
                out.extend_from_slice(&pair[second * width..(second + 1) * width]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_in_halves() {
        // two heads of four rows, two wide; row r is [r, r + 0.5]
        let rows = |order: &[u8]| order.iter().flat_map(|&r| [f32::from(r), f32::from(r) + 0.5]).collect::<Vec<_>>();
        assert_eq!(half_split(&rows(&[0, 2, 1, 3, 4, 6, 5, 7]), 2, 2), rows(&[0, 1, 2, 3, 4, 5, 6, 7]));
    }
}
