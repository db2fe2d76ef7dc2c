//! The parts a block is made of: RMSNorm, gated feed-forward layer, mixture of experts. Each is written in tensors; given a
//! [`Cpu`], its heavy part is one custom operation of the kernels.

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Int, Tensor, TensorData, activation};

use jielong_kernels::{Cpu, Gate, gated, rms_norm};
use jielong_nn::cpu::{self, Values};
use jielong_nn::layers;

use crate::config::{Activation, Experts, NormGain};
use crate::linear::{Linear, Weight, together};

/// Root mean square norm over the last dimension (Zhang & Sennrich 2019), computed in f32.
#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    pub(crate) weight: Param<Tensor<1>>, // [width], the gain itself
    pub(crate) eps: f64,
}

impl RmsNorm {
    /// The gain is stored as the factor itself, whichever way the checkpoint has it.
    pub(crate) fn new(weight: Tensor<1>, gain: NormGain, eps: f64) -> Self {
        let weight = match gain {
            NormGain::Weight => weight,
            NormGain::OnePlusWeight => weight + 1.0,
        };
        Self { weight: Param::from_tensor(weight), eps }
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>, on: Option<&Cpu>) -> Tensor<D> {
        if let Some(cpu) = on {
            let shape = x.dims();
            let (x, weight) = (Values::of(x), Values::of(self.weight.val()));
            let mut out = vec![0.0; x.as_slice().len()];
            rms_norm(cpu, x.as_slice(), weight.as_slice(), self.eps as f32, &mut out);
            return cpu::tensor(out, shape);
        }
        layers::rms_norm(x, self.weight.val(), self.eps)
    }
}

/// `down(act(gate(x)) · up(x))` (Shazeer 2020, *GLU variants*).
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    #[module(skip)]
    pub(crate) activation: Activation,
}

impl Mlp {
    fn weights(&self) -> Vec<&Weight> {
        [&self.gate, &self.up, &self.down].map(|linear| &linear.weight).to_vec()
    }

    pub(crate) fn forward(&self, x: Tensor<3>, on: Option<&Cpu>) -> Tensor<3> {
        let [gate, up] = together([&self.gate, &self.up], x, on);
        let kernel = match self.activation {
            Activation::Silu => Some(Gate::Silu),
            Activation::GeluTanh => Some(Gate::GeluTanh),
            Activation::Gelu => None,
        };
        let hidden = match (on, kernel) {
            (Some(cpu), Some(kernel)) => {
                let up = Values::of(up);
                cpu::update(gate, |gate| gated(cpu, kernel, gate, up.as_slice()))
            }
            _ => match self.activation {
                Activation::Silu => layers::silu_gated(gate, up),
                Activation::Gelu => layers::gelu(gate) * up,
                Activation::GeluTanh => activation::gelu_approximate(gate) * up,
            },
        };
        self.down.forward(hidden, on)
    }
}

/// A router and its experts: each token goes through the `per_token` most probable ones (Qwen3-MoE).
#[derive(Module, Debug)]
pub(crate) struct Mixture {
    pub(crate) router: Linear, // [experts, hidden]
    pub(crate) experts: Vec<Mlp>,
    #[module(skip)]
    pub(crate) sizes: Experts,
}

impl Mixture {
    pub(crate) fn forward(&self, x: Tensor<3>, on: Option<&Cpu>) -> Tensor<3> {
        let [b, t, width] = x.dims();
        let (device, dtype) = (x.device(), x.dtype());
        let scores = activation::softmax(self.router.forward(x.clone(), on).cast(FloatDType::F32), 2);
        let (top, chosen) = scores.reshape([b * t, self.sizes.count]).topk_with_indices(self.sizes.per_token, 1);
        let top = if self.sizes.normalize { top.clone() / top.sum_dim(1) } else { top };
        let chosen: Vec<i64> = chosen.into_data().iter::<i64>().collect();
        let x = x.reshape([b * t, width]);
        let flat = top.reshape([b * t * self.sizes.per_token]); // [b·t·k]: slot = token · k + rank
        let mut out = x.zeros_like();
        for (index, expert) in self.experts.iter().enumerate() {
            let slots: Vec<i64> =
                (0..).zip(&chosen).filter(|&(_, &e)| e == index as i64).map(|(slot, _)| slot).collect();
            if slots.is_empty() {
                continue;
            }
            let count = slots.len();
            let tokens: Vec<i64> = slots.iter().map(|slot| slot / self.sizes.per_token as i64).collect();
            let ids = |v: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::new(v, [count]), &device);
            let tokens = ids(tokens);
            let share = flat.clone().select(0, ids(slots)).cast(dtype).reshape([count, 1]);
            let y = expert.forward(x.clone().select(0, tokens.clone()).unsqueeze(), on).squeeze_dim::<2>(0);
            out = out.select_assign(0, tokens, y * share, burn::tensor::IndexingUpdateOp::Add);
        }
        out.reshape([b, t, width])
    }
}

/// What follows attention in a block.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a layer: a box would save nothing")]
pub(crate) enum FeedForward {
    /// One gated layer.
    Dense(Mlp),
    /// A mixture of them.
    Sparse(Mixture),
}

impl FeedForward {
    /// The matrices that one token reads: of a mixture, those of as many experts as work on it.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        match self {
            Self::Dense(mlp) => mlp.weights(),
            Self::Sparse(Mixture { router, experts, sizes }) => {
                let experts = experts.iter().take(sizes.per_token).flat_map(Mlp::weights);
                experts.chain([&router.weight]).collect()
            }
        }
    }

    pub(crate) fn forward(&self, x: Tensor<3>, on: Option<&Cpu>) -> Tensor<3> {
        match self {
            Self::Dense(mlp) => mlp.forward(x, on),
            Self::Sparse(mixture) => mixture.forward(x, on),
        }
    }
}
