//! How well classes are predicted.

use burn::tensor::{FloatDType, Int, Tensor, TensorData, activation};

/// −ln p of one class a row, in nats: logits `[n, classes]` → `[n]`. Computed in f32.
///
/// # Panics
/// If there are not as many targets as rows.
#[must_use]
pub fn of_logits(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let [n, _] = logits.dims();
    let targets: Vec<i64> = targets.iter().map(|&target| i64::from(target)).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [n, 1]), &logits.device());
    let logs = activation::log_softmax(logits.cast(FloatDType::F32), 1);
    -logs.gather(1, targets).reshape([n])
}
