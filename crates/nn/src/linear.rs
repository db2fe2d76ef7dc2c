//! Products with a matrix of weights, with gradients: in training by kernels of our own on the CPU, of a few rows by those for cards,
//! otherwise Burn's.

use burn::tensor::{FloatDType, Tensor};
use jielong_kernels::dense::{self, Lies, Operand, Packed, Side};
use jielong_kernels::{Factors, Isa};

use crate::card;
use crate::cpu::{Function, Where, apply, flat};
use crate::factors::training_factors;

/// `x · Wᵀ`: `[n, inputs]` and `[outputs, inputs]` → `[n, outputs]`
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([n, inputs], [outputs, _], isa) = (x.dims(), weight.dims(), Isa::best());
    let wanted = (x.is_autodiff() || weight.is_autodiff()).then(training_factors);
    let here = wanted.and_then(|wanted| dense::factors(isa, wanted)).and_then(|factors| {
        apply(Projection { n, inputs, outputs, isa, factors }, &[flat(&x), flat(&weight)], [n, outputs])
    });
    let here = here.or_else(|| card::rows_product(&x, &weight));
    here.unwrap_or_else(|| by_burn(x, weight, wanted == Some(Factors::Bf16)))
}

/// The same by Burn, which rounds factors on other devices alone.
fn by_burn(x: Tensor<2>, weight: Tensor<2>, rounded: bool) -> Tensor<2> {
    let dtype = x.dtype();
    if !rounded || Where::of(&[x.device()], &[dtype]) != Where::Elsewhere {
        return x.matmul(weight.transpose());
    }
    let [x, weight] = [x, weight].map(|tensor| tensor.cast(FloatDType::BF16));
    x.matmul(weight.transpose()).cast(dtype)
}

#[derive(Clone, Debug)]
struct Projection {
    n: usize,
    inputs: usize,
    outputs: usize,
    isa: Isa,
    factors: Factors,
}

impl Projection {
    /// A product of a left and a right side.
    fn product(&self, left: Operand, right: Operand) -> Vec<f32> {
        let [left, right] = [(Side::Left, left), (Side::Right, right)]
            .map(|(side, operand)| Packed::new(self.isa, self.factors, side, operand));
        dense::multiply(&left, &right)
    }
}

impl Function<2> for Projection {
    fn value(&self, [x, weight]: [&[f32]; 2]) -> Vec<f32> {
        self.product(Operand::new(x, self.n, Lies::Along), Operand::new(weight, self.outputs, Lies::Along))
    }

    /// `dx = dy · W`, `dW = dyᵀ · x`
    fn gradients(&self, [x, weight]: [&[f32]; 2], dy: &[f32]) -> [Vec<f32>; 2] {
        let across = |values, outer| Operand::new(values, outer, Lies::Across);
        [
            self.product(Operand::new(dy, self.n, Lies::Along), across(weight, self.inputs)),
            self.product(across(dy, self.outputs), across(x, self.inputs)),
        ]
    }
}
