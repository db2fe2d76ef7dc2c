//! Products with a matrix of weights, with gradients: where training multiplies bf16, kernels of our own on the CPU; Burn's
//! product otherwise.

use burn::tensor::{FloatDType, Tensor};
use jielong_kernels::gemm::{self, Each, Lies, Operand, Packed, Side};
use jielong_kernels::{Factors, Isa};
use rayon::prelude::*;

use crate::cpu::{Function, Where, apply, flat};
use crate::factors::training_factors;

/// `x · Wᵀ`: `[n, inputs]` and `[outputs, inputs]` → `[n, outputs]`
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([n, inputs], [outputs, _], isa) = (x.dims(), weight.dims(), Isa::best());
    let rounded = (x.is_autodiff() || weight.is_autodiff()) && training_factors() == Factors::Bf16;
    let cpu = Where::of(&[x.device(), weight.device()], &[x.dtype(), weight.dtype()]) != Where::Elsewhere;
    if !rounded || cpu && !gemm::is_there(isa) {
        return x.matmul(weight.transpose());
    }
    let projection = Projection { n, inputs, outputs, isa };
    apply(projection, &[flat(&x), flat(&weight)], [n, outputs]).unwrap_or_else(|| {
        let dtype = x.dtype();
        let [x, weight] = [x, weight].map(|tensor| tensor.cast(FloatDType::BF16));
        x.matmul(weight.transpose()).cast(dtype)
    })
}

#[derive(Clone, Debug)]
struct Projection {
    n: usize,
    inputs: usize,
    outputs: usize,
    isa: Isa,
}

/// A product of a left and a right side, on all threads.
fn product(isa: Isa, left: Operand, right: Operand) -> Vec<f32> {
    let each: Each = &|count, work| (0..count).into_par_iter().for_each(work);
    let [left, right] = [(Side::Left, left), (Side::Right, right)].map(|(side, x)| Packed::new(isa, side, x, each));
    gemm::product(&left, &right, each)
}

impl Function<2> for Projection {
    fn value(&self, [x, weight]: [&[f32]; 2]) -> Vec<f32> {
        product(self.isa, Operand::new(x, self.n, Lies::Along), Operand::new(weight, self.outputs, Lies::Along))
    }

    /// `dx = dy · W`, `dW = dyᵀ · x`
    fn gradients(&self, [x, weight]: [&[f32]; 2], dy: &[f32]) -> [Vec<f32>; 2] {
        let Self { n, inputs, outputs, isa } = *self;
        let across = |values, outer| Operand::new(values, outer, Lies::Across);
        [
            product(isa, Operand::new(dy, n, Lies::Along), across(weight, inputs)),
            product(isa, across(dy, outputs), across(x, inputs)),
        ]
    }
}
