//! Small operations on pictures that Burn does on one thread, or by copying value by value.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::cpu::{Where, plain, tensor, update, values};

/// Values of a sum that are one thread's work.
const PART: usize = 1 << 16;

/// `x + y`, in the memory of `x` where nobody else holds it.
#[must_use]
pub fn sum(x: Tensor<4>, y: Tensor<4>) -> Tensor<4> {
    match Where::of(&[x.device(), y.device()], &[x.dtype(), y.dtype()]) {
        Where::Cpu if x.dims() == y.dims() => {
            let y = plain(y);
            let y = values(&y);
            update(x, |x| {
                let parts = x.par_chunks_mut(PART).zip(y.par_chunks(PART));
                parts.for_each(|(x, y)| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
            })
        }
        _ => x + y,
    }
}

/// Each place four times: `[b, c, h, w]` → `[b, c, 2h, 2w]`
#[must_use]
pub fn doubled(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    match Where::of(&[x.device()], &[x.dtype()]) {
        Where::Cpu if w > 0 => {
            let x = plain(x);
            let x = values(&x);
            let mut y = vec![0.0f32; 4 * x.len()];
            y.par_chunks_mut(4 * w).zip(x.par_chunks(w)).for_each(|(y, x)| {
                let (first, second) = y.split_at_mut(2 * w);
                for (pair, x) in first.chunks_exact_mut(2).zip(x) {
                    pair.fill(*x);
                }
                second.copy_from_slice(first);
            });
            tensor(y, [b, c, 2 * h, 2 * w])
        }
        _ => x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w]),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[test]
    fn the_cpu_does_what_burn_does() {
        let device = Device::flex();
        let x = || Tensor::<4>::random([2, 3, 5, 7], Distribution::Default, &device);
        let (x, y) = (x(), x());
        let inner = |x: Tensor<4>| x.into_data();
        let burn = x.clone().autodiff();
        assert_eq!(inner(doubled(x.clone())), inner(doubled(burn.clone()).without_autodiff()));
        assert_eq!(inner(sum(x.clone(), y.clone())), inner((burn + y.clone().autodiff()).without_autodiff()));
        assert_eq!(inner(sum(x.clone().swap_dims(2, 3), y.clone().swap_dims(2, 3)).swap_dims(2, 3)), inner(x + y));
    }
}
