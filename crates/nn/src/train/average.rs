//! The mean of weights over time (Polyak & Juditsky 1992).

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use jielong_kernels::{Isa, moving_mean};
use rayon::prelude::*;

use super::adamw::replace;
use super::gradients::{PART, row};
use crate::cpu::{self, Values};
use crate::module::Names;

/// The mean of a module's weights over its last steps, which does better than the last of them.
#[derive(Debug)]
pub struct Average<M> {
    /// The module with the mean weights; nothing is learned in it.
    pub module: M,
    decay: f64,
}

impl<M: Module> Average<M> {
    /// The mean begins with the weights as they are; `decay` of it stays in a step.
    #[must_use]
    pub fn new(module: &M, decay: f64) -> Self {
        rows(module); // makes weights that are still lazy, or the copy would make others
        Self { module: module.valid(), decay }
    }

    /// Takes the weights of a step, counted from 1, into the mean; less of it stays in the first steps.
    pub fn update(&mut self, module: &M, step: u64) {
        let decay = self.decay.min(step as f64 / (step as f64 + 9.0));
        self.module = self.module.clone().map(&mut Mix { names: Names::default(), now: rows(module), decay });
    }
}

fn rows<M: Module>(module: &M) -> BTreeMap<String, Tensor<1>> {
    let mut rows = Rows { names: Names::default(), rows: BTreeMap::new() };
    module.visit(&mut rows);
    rows.rows
}

struct Rows {
    names: Names,
    rows: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Rows {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.rows.insert(self.names.path(), row(param.val().without_autodiff()));
    }
}

struct Mix {
    names: Names,
    now: BTreeMap<String, Tensor<1>>,
    decay: f64,
}

impl ModuleMapper for Mix {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.now.remove(&self.names.path()) {
            Some(now) => replace(param, |mean| {
                if cpu::is_here(&mean) && cpu::is_here(&now) {
                    let now = Values::of(now);
                    cpu::update(mean, |mean| {
                        let parts = mean.par_chunks_mut(PART).zip(now.as_slice().par_chunks(PART));
                        parts.for_each(|(mean, now)| moving_mean(Isa::best(), mean, now, self.decay as f32));
                    })
                } else {
                    mean * self.decay + now * (1.0 - self.decay)
                }
            }),
            None => param,
        }
    }
}
