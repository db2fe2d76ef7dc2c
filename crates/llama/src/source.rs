//! The parts of a [`Llama`] made of weights, wherever these come from.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{DType, Distribution, Tensor, TensorData};
use jielong_kernels::Dtype;
use jielong_nn::load;
use jielong_nn::weights::WeightsError;

use crate::attention::{Attention, Shape};
use crate::checkpoint::{Place, block_norms};
use crate::config::{Config, QkNorm};
use crate::layers::{FeedForward, Mixture, Mlp, RmsNorm};
use crate::linear::{Linear, Weight};
use crate::load::{Compute, LoadOptions};
use crate::model::{Block, Llama, Residual};
use crate::rope::Rope;

/// Where a weight comes from.
pub(crate) enum Origin<'a> {
    Stored(Place),
    /// A shape, for measuring.
    Random(Vec<usize>),
    /// A shape and what makes its values.
    Made(Vec<usize>, Make<'a>),
}

/// What makes the values of a weight.
pub(crate) type Make<'a> = Box<dyn Fn() -> Result<Vec<f32>, WeightsError> + 'a>;

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const HEAD: &str = "lm_head.weight";

/// Makes tensors of the weights by their Hugging Face names.
pub(crate) struct Source<'a> {
    origins: HashMap<String, Origin<'a>>,
    config: &'a Config,
    options: &'a LoadOptions,
    /// What was made for kernels to multiply.
    packed: RefCell<Vec<Arc<load::Weight>>>,
}

impl<'a> Source<'a> {
    /// `origins` has every tensor of the config.
    pub(crate) fn new(origins: HashMap<String, Origin<'a>>, config: &'a Config, options: &'a LoadOptions) -> Self {
        Self { origins, config, options, packed: RefCell::default() }
    }

    pub(crate) fn model(&self, context: usize) -> Result<Llama, WeightsError> {
        let c = self.config;
        let device = self.options.compute.device();
        let rope = |rope| Rope::new(rope, context, &device);
        let model = Llama {
            embedding: self.weight(EMBEDDING)?,
            blocks: (0..c.depth()).map(|i| self.block(i)).collect::<Result<_, _>>()?,
            norm: self.norm("model.norm")?,
            head: if c.tied { None } else { Some(self.linear("lm_head")?) },
            config: c.clone(),
            ropes: c.ropes.iter().map(rope).collect(),
            context,
            compute: self.options.compute.clone(),
            packed: self.packed.take(),
        };
        model.turn_aside();
        Ok(model)
    }

    fn block(&self, index: usize) -> Result<Block, WeightsError> {
        let c = self.config;
        let at = |part: &str| format!("model.layers.{index}.{part}");
        let norm = |name: Option<&str>| name.map(|n| self.norm(&at(n))).transpose();
        let [before, after, before_mlp, after_mlp] = block_norms(c.norms);
        let qk_norm = |name: &str| match c.qk_norm {
            QkNorm::No => Ok(None),
            _ => self.norm(&at(name)).map(Some),
        };
        let attention = Attention {
            q: self.linear(&at("self_attn.q_proj"))?,
            k: self.linear(&at("self_attn.k_proj"))?,
            v: self.linear(&at("self_attn.v_proj"))?,
            o: self.linear(&at("self_attn.o_proj"))?,
            q_norm: qk_norm("self_attn.q_norm")?,
            k_norm: qk_norm("self_attn.k_norm")?,
            shape: Shape::from(c),
        };
        let feed_forward = match c.experts.filter(|_| c.layers[index].sparse) {
            None => FeedForward::Dense(self.mlp(&at("mlp"))?),
            Some(sizes) => FeedForward::Sparse(Mixture {
                router: self.linear(&at("mlp.gate"))?,
                experts: (0..sizes.count)
                    .map(|e| self.mlp(&at(&format!("mlp.experts.{e}"))))
                    .collect::<Result<_, _>>()?,
                sizes,
            }),
        };
        Ok(Block {
            attention: self.residual(norm(before)?, attention, norm(after)?),
            feed_forward: self.residual(norm(before_mlp)?, feed_forward, norm(after_mlp)?),
        })
    }

    fn residual<L: Module>(&self, before: Option<RmsNorm>, layer: L, after: Option<RmsNorm>) -> Residual<L> {
        Residual { before, layer, after, scale: self.config.residual_scale }
    }

    fn mlp(&self, name: &str) -> Result<Mlp, WeightsError> {
        Ok(Mlp {
            gate: self.linear(&format!("{name}.gate_proj"))?,
            up: self.linear(&format!("{name}.up_proj"))?,
            down: self.linear(&format!("{name}.down_proj"))?,
            activation: self.config.activation,
        })
    }

    fn norm(&self, name: &str) -> Result<RmsNorm, WeightsError> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        Ok(RmsNorm::new(weight, self.config.norm_gain, self.config.norm_eps))
    }

    /// A linear layer, with the bias if the config has one there.
    fn linear(&self, name: &str) -> Result<Linear, WeightsError> {
        let bias = format!("{name}.bias");
        let bias = if self.origins.contains_key(&bias) { Some(Param::from_tensor(self.tensor(&bias)?)) } else { None };
        Ok(Linear { weight: self.weight(&format!("{name}.weight"))?, bias })
    }

    /// A matrix, in the form of whoever computes.
    fn weight(&self, name: &str) -> Result<Weight, WeightsError> {
        let Compute::Kernels { cpu, packing, .. } = &self.options.compute else {
            return Ok(Weight::Dense(Param::from_tensor(self.tensor(name)?)));
        };
        let matrix = match &self.origins[name] {
            Origin::Stored(place) => load::matrix(&place.view, place.rows(), place.order(), *packing, cpu)?,
            Origin::Random(shape) => {
                let dtype = packing.dtype.unwrap_or(Dtype::BF16);
                load::Weight::fixed(load::random_matrix([shape[0], shape[1]], dtype, packing.layout, cpu))
            }
            Origin::Made(shape, make) => load::made_matrix(name, [shape[0], shape[1]], &make()?, *packing, cpu)?,
        };
        let weight = Arc::new(matrix);
        // Of an embedding that is not the head too, single rows are read.
        if self.config.tied || name != EMBEDDING {
            self.packed.borrow_mut().push(Arc::clone(&weight));
        }
        Ok(Weight::packed(weight))
    }

    fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>, WeightsError> {
        let compute = &self.options.compute;
        match &self.origins[name] {
            Origin::Stored(place) => {
                load::tensor(&place.view, place.rows(), place.order(), &compute.device(), compute.float())
            }
            Origin::Random(shape) => {
                let options = (&compute.device(), compute.float().into());
                let dims: [usize; D] = std::array::from_fn(|i| shape[i]);
                Ok(Tensor::random(dims, Distribution::Normal(0.0, load::SPREAD), options))
            }
            Origin::Made(shape, make) => {
                let data = TensorData::new(make()?, shape.clone());
                Ok(Tensor::from_data(data, (&compute.device(), DType::from(compute.float()))))
            }
        }
    }
}
