//! A stored tensor → a Burn tensor on a device, or a matrix for the kernels.
//!
//! For the kernels a matrix stays where it is mapped, or is turned in memory where that is faster. For Burn, f32 weights that stay f32 on the CPU do; everything else is
//! expanded to f32 and cast on the device.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, FloatDType, Tensor, TensorData};
use jielong_kernels::{Cpu, Dtype, KernelError, Layout, Matrix, Rows, quantize};

use crate::weights::{TensorView, WeightsError};
use crate::write::Rewrite;

/// bf16 matrices of no more values than this are widened to f32: they fit into a cache, so that packing them saves no time,
/// while the inputs of a bf16 product are rounded to bf16. Tensors of no more are copied.
const SMALL: usize = 1 << 16;

/// What kernels get of stored matrices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packing {
    /// Another type, made while loading.
    pub dtype: Option<Dtype>,
    /// Where they are kept.
    pub layout: Layout,
}

/// A matrix for the kernels. One that is to be turned is used as it is mapped until that is done ([`Weight::turn`]), by
/// another thread while the first words come: the results are the same.
#[derive(Debug)]
pub struct Weight {
    stored: Matrix,
    turned: OnceLock<Matrix>,
    /// What it was mapped from, if it may be turned.
    view: Option<TensorView>,
}

impl Weight {
    /// A matrix that stays as it is.
    pub fn fixed(matrix: Matrix) -> Self {
        Self { stored: matrix, turned: OnceLock::new(), view: None }
    }

    /// In the best form that there is yet.
    pub fn matrix(&self) -> &Matrix {
        self.turned.get().unwrap_or(&self.stored)
    }

    /// Turns it, if it is to be turned; waits for another thread that is at it. What was read leaves the memory.
    pub fn turn(&self, cpu: &Cpu) {
        if let Some(view) = &self.view {
            self.turned.get_or_init(|| {
                let turned = self.stored.clone().turned(cpu);
                if turned.is_turned() {
                    view.release();
                }
                turned
            });
        }
    }
}

/// The `rows` of a stored matrix for the kernels: where it is mapped, or in memory if it is to be of another type. What was
/// read to make it leaves the memory.
///
/// A row that is not whole blocks of `dtype` becomes what llama.cpp makes of it: Q4_K → Q5_0, Q5_K → Q5_1, Q6_K → Q8_0,
/// and F16 if it is not blocks of 32 either.
///
/// # Errors
/// [`WeightsError`] if the type of the tensor is not one of weights, or a value that cannot be quantised is in it.
pub fn matrix(
    view: &TensorView,
    rows: Range<usize>,
    order: Rows,
    packing: Packing,
    cpu: &Cpu,
) -> Result<Weight, WeightsError> {
    let stored = view.weights()?;
    let width = view.shape()[1..].iter().product::<usize>();
    let shape = [rows.len(), width];
    let wanted = match packing.dtype {
        Some(dtype) => dtype.fitting(width),
        None if stored == Dtype::BF16 && rows.len() * width <= SMALL => Dtype::F32,
        None => stored,
    };
    let as_stored = wanted == stored;
    let bytes = match as_stored {
        true => {
            let size = stored.bytes(width).unwrap_or_default();
            view.shared_bytes().slice(rows.start * size..rows.end * size)
        }
        false => Rewrite::new(view.name(), view)?.rows(rows).dtype(wanted).to_bytes(cpu)?.into(),
    };
    let damaged = |error: KernelError| WeightsError::damaged(view.path(), format!("`{}`: {error}", view.name()));
    let matrix = Matrix::new(wanted, shape, order, bytes).map_err(damaged)?;
    Ok(match (packing.layout, as_stored) {
        (Layout::Turned, true) => Weight { view: Some(view.clone()), ..Weight::fixed(matrix) },
        (Layout::Mapped, true) => Weight::fixed(matrix),
        (layout, false) => {
            view.release();
            Weight::fixed(if layout == Layout::Turned { matrix.turned(cpu) } else { matrix })
        }
    })
}

/// A matrix of values that are in no file, for the kernels: f32 unless another type is asked for.
///
/// # Errors
/// [`WeightsError`] if there is a value that the type cannot hold.
pub fn made_matrix(
    name: &str,
    shape: [usize; 2],
    values: &[f32],
    packing: Packing,
    cpu: &Cpu,
) -> Result<Weight, WeightsError> {
    let made = Rewrite::made(name, &shape, values).dtype(packing.dtype.unwrap_or(Dtype::F32));
    let matrix = Matrix::new(made.written(), shape, Rows::AsStored, made.to_bytes(cpu)?.into());
    let matrix = matrix.map_err(|error| WeightsError::damaged(Path::new(name), error.to_string()))?;
    Ok(Weight::fixed(if packing.layout == Layout::Turned { matrix.turned(cpu) } else { matrix }))
}

/// Standard deviation of random weights.
pub const SPREAD: f64 = 0.02;

/// Rows of a random matrix that differ; then they come again.
const DIFFERENT: usize = 64;

/// A matrix of random weights, normal with a deviation of [`SPREAD`]: some rows again and again, as time does not depend
/// on them.
pub fn random_matrix(shape: [usize; 2], dtype: Dtype, layout: Layout, cpu: &Cpu) -> Matrix {
    let [rows, width] = shape;
    let dtype = dtype.fitting(width);
    let size = dtype.bytes(width).unwrap_or_default();
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ (rows * width) as u64;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let mut some = vec![0; DIFFERENT.min(rows) * size];
    for row in some.chunks_exact_mut(size.max(1)) {
        // Twelve uniform values have a variance of one.
        let values: Vec<f32> =
            (0..width).map(|_| (((0..12).map(|_| unit()).sum::<f64>() - 6.0) * SPREAD) as f32).collect();
        if let Err(error) = quantize(dtype, &values, row) {
            unreachable!("finite values: {error}");
        }
    }
    let mut bytes = Vec::with_capacity(rows * size);
    while bytes.len() < rows * size {
        bytes.extend_from_slice(&some[..some.len().min(rows * size - bytes.len())]);
    }
    match Matrix::new(dtype, shape, Rows::AsStored, bytes.into()) {
        Ok(matrix) if layout == Layout::Turned => matrix.turned(cpu),
        Ok(matrix) => matrix,
        Err(error) => unreachable!("whole rows: {error}"),
    }
}

/// The `rows` of a stored tensor, as a tensor of rank `D` and the same trailing dimensions: f32 values stay mapped where they
/// can, unless they are few. The system maps files in pages of up to 2 MiB, so that a vector among matrices would keep as much
/// of these in memory.
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
    let few = view.bytes().len() <= SMALL * size_of::<f32>();
    let data = if as_mapped && whole && order == Rows::AsStored && !few {
        let bytes = Bytes::from_shared(view.shared_bytes(), AllocationProperty::File);
        TensorData::from_bytes(bytes, shape, DType::F32)
    } else {
        let mut values = view.to_f32()?;
        view.release();
        let width = shape[1..].iter().product::<usize>();
        if !whole {
            values = values[rows.start * width..rows.end * width].to_vec();
        }
        if order != Rows::AsStored {
            values = (0..shape[0]).flat_map(|row| &values[order.stored(row) * width..][..width]).copied().collect();
        }
        TensorData::new(values, shape)
    };
    Ok(Tensor::from_data(data, (device, DType::from(dtype))))
}
