//! Linear layers, and where their weights are: in a tensor of the device, or packed as they are stored.

use std::ops::Range;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use jielong_kernels::{Cpu, Matrix, matmul};
use jielong_nn::cpu::{self, Values};
use jielong_nn::linear::linear;
use jielong_nn::load;

/// A matrix of weights, `[out, in]` as Hugging Face stores it.
#[derive(Module, Debug)]
pub(crate) enum Weight {
    Dense(Param<Tensor<2>>),
    Packed(Packed),
}

/// A matrix in a type of its own, for the kernels of the CPU.
#[derive(Module, Debug)]
pub(crate) struct Packed {
    #[module(skip)]
    pub(crate) weight: Arc<load::Weight>,
}

impl Weight {
    pub(crate) fn packed(weight: Arc<load::Weight>) -> Self {
        Self::Packed(Packed { weight })
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Dense(weight) => weight.val().dims().iter().product::<usize>() * weight.val().dtype().size(),
            Self::Packed(Packed { weight }) => weight.matrix().bytes().len(),
        }
    }

    /// The matrix that kernels multiply.
    pub(crate) fn matrix(&self) -> Option<&Matrix> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(Packed { weight }) => Some(weight.matrix()),
        }
    }

    /// The rows of some ids, `[ids, in]`.
    pub(crate) fn rows(&self, ids: &[u32]) -> Tensor<2> {
        match self {
            Self::Dense(weight) => {
                let weight = weight.val();
                let indices: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
                let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [ids.len()]), &weight.device());
                weight.select(0, indices)
            }
            Self::Packed(Packed { weight }) => {
                let matrix = weight.matrix();
                let [_, width] = matrix.shape();
                let mut values = vec![0.0; ids.len() * width];
                for (&id, row) in ids.iter().zip(values.chunks_exact_mut(width)) {
                    if let Err(error) = matrix.row(id as usize, row) {
                        unreachable!("a row of the matrix: {error}");
                    }
                }
                cpu::tensor(values, [ids.len(), width])
            }
        }
    }
}

/// `x · Wᵀ + b`
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Weight,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// `[b, t, in]` → `[b, t, out]`
    pub(crate) fn forward(&self, x: Tensor<3>, on: Option<&Cpu>) -> Tensor<3> {
        let [y] = together([self], x, on);
        y
    }

    /// The results `rows` alone, `[b, t, in]` → `[b, t, rows]`: the same values.
    pub(crate) fn some(&self, x: Tensor<3>, rows: Range<usize>, on: Option<&Cpu>) -> Tensor<3> {
        let y = project_some(&self.weight, x, rows.clone(), on);
        match &self.bias {
            Some(bias) => y + bias.val().narrow(0, rows.start, rows.len()).unsqueeze(),
            None => y,
        }
    }

    fn biased(&self, y: Tensor<3>) -> Tensor<3> {
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}

/// `x` through the weight alone, `[b, t, in]` → `[b, t, out]`.
pub(crate) fn project(weight: &Weight, x: Tensor<3>, on: Option<&Cpu>) -> Tensor<3> {
    let [y] = products([weight], x, on);
    y
}

/// `x` through some rows of the weight, `[b, t, in]` → `[b, t, rows]`.
pub(crate) fn project_some(weight: &Weight, x: Tensor<3>, rows: Range<usize>, on: Option<&Cpu>) -> Tensor<3> {
    let (part, more) = match weight {
        Weight::Dense(weight) => {
            let part = weight.val().narrow(0, rows.start, rows.len());
            (Weight::Dense(Param::from_tensor(part)), 0)
        }
        Weight::Packed(Packed { weight }) => match weight.matrix().part(rows.clone()) {
            Some((part, more)) => (Weight::packed(Arc::new(load::Weight::fixed(part))), more),
            None => return project(&Weight::packed(Arc::clone(weight)), x, on).narrow(2, rows.start, rows.len()),
        },
    };
    let y = project(&part, x, on);
    if more == 0 { y } else { y.narrow(2, more, rows.len()) }
}

/// Several layers of the same input, as one operation where kernels compute.
pub(crate) fn together<const N: usize>(layers: [&Linear; N], x: Tensor<3>, on: Option<&Cpu>) -> [Tensor<3>; N] {
    let mut results = products(layers.map(|layer| &layer.weight), x, on).into_iter();
    layers.map(|layer| match results.next() {
        Some(y) => layer.biased(y),
        None => unreachable!("a result for each layer"),
    })
}

fn products<const N: usize>(weights: [&Weight; N], x: Tensor<3>, on: Option<&Cpu>) -> [Tensor<3>; N] {
    let [b, t, width] = x.dims();
    let Some(cpu) = on else {
        return weights.map(|weight| {
            let Weight::Dense(weight) = weight else { unreachable!("packed weights are for kernels") };
            let y = linear(x.clone().reshape([b * t, width]), weight.val());
            let [_, out] = y.dims();
            y.reshape([b, t, out])
        });
    };
    let matrices = weights.map(|weight| {
        let Weight::Packed(Packed { weight }) = weight else { unreachable!("kernels are for packed weights") };
        weight.matrix()
    });
    let x = Values::of(x);
    let mut results = matmul(cpu, x.as_slice(), &matrices).into_iter();
    matrices.map(|matrix| match results.next() {
        Some(y) => cpu::tensor(y, [b, t, matrix.shape()[0]]),
        None => unreachable!("a result for each matrix"),
    })
}
