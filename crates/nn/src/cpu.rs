//! Tensors of the CPU device as slices, and back, without a copy: what custom operations on the CPU are made of.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};

/// Where the tensors of an operation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// All f32 on the CPU.
    Cpu,
    /// The same, and gradients are wanted of some.
    Training,
    /// Another device, or another type.
    Elsewhere,
}

impl Where {
    pub(crate) fn of(devices: &[Device], types: &[DType]) -> Self {
        let cpu = Device::flex(); // equal with and without gradients
        if types.iter().any(|&dtype| dtype != DType::F32) || devices.iter().any(|device| *device != cpu) {
            Self::Elsewhere
        } else if devices.iter().any(Device::is_autodiff) {
            Self::Training
        } else {
            Self::Cpu
        }
    }
}

/// The tensor, which is [`Where::Cpu`], as the CPU has it.
pub(crate) fn plain<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    match tensor.try_into_primitive::<Flex>() {
        Ok(tensor) => tensor,
        Err(error) => unreachable!("a tensor of the CPU: {error:?}"),
    }
}

/// The tensor, which is [`Where::Cpu`] or [`Where::Training`], as the CPU has it, with what its gradient needs.
pub(crate) fn tracked<const D: usize>(tensor: Tensor<D>) -> FloatTensor<Autodiff<Flex>> {
    match tensor.autodiff().try_into_primitive::<Autodiff<Flex>>() {
        Ok(tensor) => tensor,
        Err(error) => unreachable!("a tensor of the CPU: {error:?}"),
    }
}

/// An operation on tensors that are [`Where::Training`]: `compute` gives what the way back needs, and the result.
pub(crate) fn differentiable<O: Backward<Flex, N>, const N: usize, const D: usize>(
    operation: O,
    inputs: [FloatTensor<Autodiff<Flex>>; N],
    compute: impl FnOnce([FlexTensor; N]) -> (O::State, FlexTensor),
) -> Tensor<D> {
    let nodes = inputs.each_ref().map(|x| x.node());
    let (state, y) = compute(inputs.map(|x| x.into_primitive()));
    let y = match operation.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(y)
}

/// A function of `N` tensors in plain code, and its way back.
pub trait Function<const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// The values of the function, of those of the tensors.
    fn value(&self, inputs: [&[f32]; N]) -> Vec<f32>;

    /// The gradients of the tensors, from that of the values; empty where none is ever asked for.
    fn gradients(&self, inputs: [&[f32]; N], dy: &[f32]) -> [Vec<f32>; N];
}

/// The values of a function of tensors, which are given flat, as a tensor of `shape`, with the way back where gradients are
/// wanted; `None` if not all tensors are of f32 on the CPU.
///
/// # Panics
/// If the values are not as many as the shape has.
pub fn apply<F: Function<N>, const N: usize, const D: usize>(
    function: F,
    inputs: &[Tensor<1>; N],
    shape: [usize; D],
) -> Option<Tensor<D>> {
    let of = |inputs: &[FlexTensor; N]| {
        let inputs = inputs.each_ref().map(values);
        FlexTensor::from_data(TensorData::new(function.value(inputs.each_ref().map(|x| &x[..])), shape))
    };
    match Where::of(&inputs.each_ref().map(Tensor::device), &inputs.each_ref().map(Tensor::dtype)) {
        Where::Cpu => Some(Tensor::from_primitive::<Flex>(of(&inputs.clone().map(plain)))),
        Where::Training => Some(differentiable(Applied::<F>(PhantomData), inputs.clone().map(tracked), |inputs| {
            let y = of(&inputs);
            ((function.clone(), inputs), y)
        })),
        Where::Elsewhere => None,
    }
}

#[derive(Debug)]
struct Applied<F>(PhantomData<F>);

impl<F: Function<N>, const N: usize> Backward<Flex, N> for Applied<F> {
    type State = (F, [FlexTensor; N]);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (function, inputs) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let inputs = inputs.each_ref().map(values);
        let gradients = function.gradients(inputs.each_ref().map(|x| &x[..]), &values(&dy));
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                let shape = [gradient.len()];
                grads.register::<Flex>(node.id, FlexTensor::from_data(TensorData::new(gradient, shape)));
            }
        }
    }
}

/// A tensor as [`apply`] takes it.
pub fn flat<const D: usize>(x: &Tensor<D>) -> Tensor<1> {
    x.clone().reshape([-1])
}

/// Sums of what each part found, in order, so that they are the same whoever found it.
pub(crate) fn added<const N: usize>(parts: Vec<[Vec<f32>; N]>) -> [Vec<f32>; N] {
    let add = |mut sums: [Vec<f32>; N], part: [Vec<f32>; N]| {
        sums.iter_mut().zip(part).for_each(|(sum, part)| sum.iter_mut().zip(part).for_each(|(a, b)| *a += b));
        sums
    };
    parts.into_iter().reduce(add).unwrap_or([const { Vec::new() }; N])
}

/// The values of a tensor of f32, in order.
pub(crate) fn values(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.as_slice() {
        Some(values) => values.into(),
        None => tensor.to_contiguous().storage::<f32>().to_vec().into(),
    }
}

/// The values of a tensor in order.
pub struct Values(FlexTensor);

impl Values {
    /// A tensor of f32 on the CPU. One that is not contiguous is copied.
    ///
    /// # Panics
    /// If it is on another device or of another type: whoever computes with kernels has put it there.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let tensor = plain(tensor);
        if tensor.is_contiguous() { Self(tensor) } else { Self(tensor.to_contiguous()) }
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        match self.0.as_slice() {
            Some(values) => values,
            None => unreachable!("contiguous f32, but {:?}", self.0),
        }
    }
}

/// A tensor of `shape` on the CPU.
///
/// # Panics
/// If the values are not as many as the shape has.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::from_data(TensorData::new(values, shape)))
}

/// The tensor with its values changed, in place where nobody else holds them.
///
/// # Panics
/// As [`Values::of`].
pub fn update<const D: usize>(tensor: Tensor<D>, change: impl FnOnce(&mut [f32])) -> Tensor<D> {
    let [tensor] = update_all([tensor], |[values]| change(values));
    tensor
}

/// As [`update`], of several tensors at once.
///
/// # Panics
/// As [`Values::of`].
pub fn update_all<const N: usize, const D: usize>(
    tensors: [Tensor<D>; N],
    change: impl FnOnce([&mut [f32]; N]),
) -> [Tensor<D>; N] {
    let mut tensors = tensors.map(|tensor| {
        let len: usize = tensor.dims().iter().product();
        let tensor = Values::of(tensor).0;
        let whole = tensor.layout().start_offset() == 0 && tensor.bytes().len() == len * size_of::<f32>();
        if whole { tensor } else { FlexTensor::from_data(tensor.into_data()) }
    });
    change(tensors.each_mut().map(FlexTensor::storage_mut));
    tensors.map(Tensor::from_primitive::<Flex>)
}

/// Whether the tensor is what [`Values`] are of.
pub(crate) fn is_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    Where::of(&[tensor.device()], &[tensor.dtype()]) == Where::Cpu
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[test]
    fn views_are_read_in_order_and_changed_alone() {
        let x = Tensor::<2>::random([5, 8], Distribution::Default, &Device::flex());
        let data: Vec<f32> = x.to_data().iter().collect();
        assert_eq!(Values::of(x.clone()).as_slice(), data);
        let part = x.clone().narrow(0, 1, 2);
        assert_eq!(Values::of(part.clone()).as_slice(), &data[8..24]);
        assert_eq!(Values::of(x.clone().swap_dims(0, 1)).as_slice()[1], data[8]);
        let changed = update(part, |values| values.iter_mut().for_each(|v| *v += 1.0));
        assert_eq!(Values::of(changed).as_slice()[0], data[8] + 1.0);
        assert_eq!(Values::of(x).as_slice(), data);
        assert_eq!(Values::of(tensor(data.clone(), [4, 10])).as_slice(), data);
    }
}
