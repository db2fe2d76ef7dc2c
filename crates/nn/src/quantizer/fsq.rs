//! Levels instead of a book.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{Quantized, straight_through};

/// By so much the outermost levels are rounded from within their bounds.
const EPS: f64 = 1e-3;

/// Levels instead of a book.
#[derive(Module, Debug)]
pub struct Fsq {
    #[module(skip)]
    levels: Vec<usize>,
}

impl Fsq {
    pub(super) fn new(levels: Vec<usize>) -> Self {
        Self { levels }
    }

    pub(super) fn forward(&self, z: Tensor<2>) -> Quantized {
        let device = z.device();
        let row = |value: fn(f64) -> f64| self.row(&device, |levels| value(levels as f64));
        // tanh(z + shift) · half − offset lies within the levels; an even number of them is not symmetric around 0.
        let half = row(|levels| (levels - 1.0) * (1.0 - EPS) / 2.0);
        let offset = row(|levels| if levels % 2.0 == 0.0 { 0.5 } else { 0.0 });
        let shift = row(|levels| if levels % 2.0 == 0.0 { (1.0 / ((levels - 1.0) * (1.0 - EPS))).tan() } else { 0.0 });
        let bounded = (z + shift).tanh() * half - offset;
        let rounded = bounded.clone().detach().round();
        let middle = self.middle(&device);
        let digits = (rounded.clone() + middle.clone()).int(); // [n, width], each from 0 on
        let steps = Tensor::<1, Int>::from_data(TensorData::new(self.steps(), [self.levels.len()]), &device);
        let codes = (digits * steps.unsqueeze::<2>()).sum_dim(1).squeeze_dim::<1>(1);
        let none = Tensor::zeros([1], &device);
        Quantized {
            inputs: bounded.clone().detach(),
            vectors: straight_through(bounded, rounded) / middle,
            codes,
            codebook_loss: none.clone(),
            commitment_loss: none,
        }
    }

    pub(super) fn vectors(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        let device = codes.device();
        let columns = self.levels.iter().zip(self.steps()).map(|(&levels, step)| {
            let digit = codes.clone().div_scalar(step).remainder_scalar(levels as i64);
            digit.unsqueeze_dim::<2>(1).float()
        });
        let middle = self.middle(&device);
        (Tensor::cat(columns.collect(), 1) - middle.clone()) / middle
    }

    pub(super) fn book(&self) -> Tensor<2> {
        let codes = self.levels.iter().product::<usize>() as i64;
        self.vectors(Tensor::arange(0..codes, &Device::flex()))
    }

    /// The digit that stands for 0, `[1, width]`; a vector is in units of it.
    fn middle(&self, device: &Device) -> Tensor<2> {
        self.row(device, |levels| (levels / 2) as f64)
    }

    /// What a digit counts in a code: the first is the lowest.
    fn steps(&self) -> Vec<i64> {
        let next = |step: &mut i64, &levels: &usize| Some(std::mem::replace(step, *step * levels as i64));
        self.levels.iter().scan(1, next).collect()
    }

    fn row(&self, device: &Device, value: impl Fn(usize) -> f64) -> Tensor<2> {
        let values: Vec<f32> = self.levels.iter().map(|&levels| value(levels) as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, self.levels.len()]), device)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Quantizer, QuantizerConfig};
    use super::*;

    fn ints<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
    }

    #[test]
    fn every_code_of_fsq_has_a_vector_and_is_found_again() {
        let device = Device::flex();
        for levels in [vec![2], vec![3], vec![8, 5, 4], vec![2, 7, 3, 4]] {
            let count: usize = levels.iter().product();
            let quantizer = Quantizer::new(&QuantizerConfig::Fsq { levels: levels.clone() }, &device);
            let codes: Vec<i64> = (0..count as i64).collect();
            let codes = Tensor::<1, Int>::from_data(TensorData::new(codes.clone(), [count]), &device);
            let vectors = quantizer.vectors(codes.clone());
            let found: Vec<f32> = vectors.clone().into_data().iter().collect();
            assert!(found.iter().all(|v| v.abs() <= 1.0), "{levels:?}: {found:?}");
            // What rounds to a level: its digit through the inverse of the bound.
            let half = |l: usize| (l as f64 - 1.0) * (1.0 - EPS) / 2.0;
            let even = |l: usize| l.is_multiple_of(2);
            let values: Vec<f32> = vectors.clone().into_data().iter::<f32>().collect();
            let before: Vec<f32> = values
                .iter()
                .enumerate()
                .map(|(i, &v)| {
                    let l = levels[i % levels.len()];
                    let (offset, middle) = (if even(l) { 0.5 } else { 0.0 }, (l / 2) as f64);
                    let bounded = ((f64::from(v) * middle + offset) / half(l)).clamp(-0.99999, 0.99999);
                    (bounded.atanh() - if even(l) { (offset / half(l)).tan() } else { 0.0 }) as f32
                })
                .collect();
            let again = quantizer.forward(Tensor::from_data(TensorData::new(before, [count, levels.len()]), &device));
            assert_eq!(ints(again.codes), ints(codes), "{levels:?}");
            let difference = (again.vectors - vectors).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{levels:?}: {difference}");
        }
    }
}
