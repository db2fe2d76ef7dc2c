//! How well classes are predicted, with gradients: two passes of our own on the CPU, Burn's operations elsewhere.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::{FloatDType, Int, Tensor, TensorData, activation};
use burn_flex::{Flex, FlexTensor};
use jielong_kernels::{Isa, log_sum_exp, probabilities};
use rayon::prelude::*;

use crate::cpu::{Where, differentiable, plain, tracked, values};

/// −ln p of one class a row, in nats: logits `[n, classes]` → `[n]`. Computed in f32.
///
/// # Panics
/// If there are not as many targets as rows, or one is outside the classes.
#[must_use]
pub fn of_logits(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let [n, classes] = logits.dims();
    assert!(targets.len() == n && targets.iter().all(|&target| (target as usize) < classes), "a class for each row");
    match Where::of(&[logits.device()], &[logits.dtype()]) {
        Where::Cpu => Tensor::from_primitive::<Flex>(forward(&plain(logits), targets).0),
        Where::Training => differentiable(CrossEntropy, [tracked(logits)], |[logits]| {
            let (losses, log_sums) = forward(&logits, targets);
            ((logits, log_sums, targets.to_vec()), losses)
        }),
        Where::Elsewhere => with_burn(logits, targets),
    }
}

/// The same out of Burn's operations.
fn with_burn(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let [n, _] = logits.dims();
    let targets: Vec<i64> = targets.iter().map(|&target| i64::from(target)).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [n, 1]), &logits.device());
    let logs = activation::log_softmax(logits.cast(FloatDType::F32), 1);
    -logs.gather(1, targets).reshape([n])
}

/// The losses, and `ln Σ exp` of each row.
fn forward(logits: &FlexTensor, targets: &[u32]) -> (FlexTensor, Vec<f32>) {
    let classes = logits.layout().shape()[1];
    let (x, isa) = (values(logits), Isa::best());
    let log_sums: Vec<f32> = x.par_chunks(classes).map(|row| log_sum_exp(isa, row)).collect();
    let rows = x.chunks(classes).zip(targets).zip(&log_sums);
    let losses: Vec<f32> = rows.map(|((row, &target), log_sum)| log_sum - row[target as usize]).collect();
    let n = losses.len();
    (FlexTensor::from_data(TensorData::new(losses, [n])), log_sums)
}

#[derive(Debug)]
struct CrossEntropy;

impl Backward<Flex, 1> for CrossEntropy {
    type State = (FlexTensor, Vec<f32>, Vec<u32>);

    /// `∂loss / ∂logits = p − (1 at the target)`
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (logits, log_sums, targets) = ops.state;
        let gradient = grads.consume::<Flex>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        let (classes, shape) = (logits.layout().shape()[1], logits.layout().shape().clone());
        let (x, gradient, isa) = (values(&logits), values(&gradient), Isa::best());
        let mut out = vec![0.0; x.len()];
        let rows = out.par_chunks_mut(classes).zip(x.par_chunks(classes)).enumerate();
        rows.for_each(|(at, (out, x))| {
            probabilities(isa, x, log_sums[at], gradient[at], out);
            out[targets[at] as usize] -= gradient[at];
        });
        grads.register::<Flex>(node.id, FlexTensor::from_data(TensorData::new(out, shape)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[test]
    fn losses_and_gradients_are_those_of_burns_operations() {
        let device = Device::flex().autodiff();
        let targets = [3, 0, 36, 12, 5];
        let logits = Tensor::<2>::random([5, 37], Distribution::Normal(0.0, 4.0), &device).require_grad();
        let weights = Tensor::<1>::from_floats([0.5, 1.0, 0.0, 2.0, 0.1], &device);
        let run = |of: fn(Tensor<2>, &[u32]) -> Tensor<1>| {
            let losses = of(logits.clone(), &targets);
            let gradients = (losses.clone() * weights.clone()).sum().backward();
            [losses.to_data(), logits.grad(&gradients).unwrap().to_data()]
                .map(|data| data.iter::<f32>().collect::<Vec<_>>())
        };
        let [ours, burns] = [run(of_logits), run(with_burn)];
        for (ours, burns) in ours.iter().zip(&burns) {
            assert_eq!(ours.len(), burns.len());
            assert!(ours.iter().zip(burns).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0)), "{ours:?} {burns:?}");
        }
        let plain = of_logits(logits.inner(), &targets).to_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(plain, ours[0]);
    }
}
