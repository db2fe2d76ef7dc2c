//! The numbers of a model that its costs depend on: of a config, or of one that is loaded.

use jielong_core::cost::{LayerShape, Shape};
use jielong_kernels::{CacheType, Dtype};

use crate::config::{Config, Layer};
use crate::model::Llama;

impl Config {
    /// The matrices `[rows, columns]` that one token is multiplied with in a layer: of a mixture, those of as many experts as
    /// work on it.
    pub fn layer_matrices(&self, layer: &Layer) -> Vec<[usize; 2]> {
        let (hidden, q, kv) = (self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mlp = |width: usize| [[width, hidden], [width, hidden], [hidden, width]];
        let mut matrices = vec![[q, hidden], [kv, hidden], [kv, hidden], [hidden, q]];
        match self.experts.filter(|_| layer.sparse) {
            None => matrices.extend(mlp(self.intermediate_size)),
            Some(experts) => {
                (0..experts.per_token).for_each(|_| matrices.extend(mlp(experts.intermediate_size)));
                matrices.push([experts.count, hidden]);
            }
        }
        matrices
    }

    /// Its numbers with weights of this type, as [`Llama::random`] makes them, and a cache of that.
    pub fn shape(&self, dtype: Dtype, cache: CacheType) -> Shape {
        let bytes = |[rows, columns]: [usize; 2]| {
            rows as u64 * dtype.fitting(columns).bytes(columns).unwrap_or_default() as u64 // fitting: whole blocks
        };
        let layers = self.layers.iter().flat_map(|layer| self.layer_matrices(layer)).map(bytes).sum();
        self.with_bytes(layers, bytes([self.vocab_size, self.hidden_size]), cache.bytes(self.head_dim) as u64)
    }

    fn with_bytes(&self, layer_bytes: u64, head_bytes: u64, kv_bytes: u64) -> Shape {
        let layer = |layer: &Layer| {
            let (intermediate, router) = match self.experts.filter(|_| layer.sparse) {
                None => (self.intermediate_size, 0),
                Some(experts) => (experts.per_token * experts.intermediate_size, experts.count),
            };
            LayerShape { intermediate, router, window: layer.window }
        };
        Shape {
            hidden: self.hidden_size,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            layers: self.layers.iter().map(layer).collect(),
            vocab: self.vocab_size,
            layer_bytes,
            head_bytes,
            kv_bytes,
        }
    }
}

impl Llama {
    /// Its numbers, with the bytes of its weights and its cache as they are.
    pub fn shape(&self) -> Shape {
        let head = self.head_bytes();
        self.config().with_bytes(self.bytes_per_token() - head, head, self.row_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jielong_core::cost::{cost, step};

    use super::*;
    use crate::checkpoint::tensors;
    use crate::load::{Compute, LoadOptions, read_config};

    /// The configs of the oracles: all families, windows, a mixture.
    fn configs() -> Vec<Config> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
        let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        folders.filter(|path| path.join("config.json").is_file()).map(|path| read_config(&path).unwrap()).collect()
    }

    #[test]
    fn the_flops_are_two_for_each_weight_that_works() {
        for config in configs() {
            let matrix = |name: &str| name.contains("proj") || name.contains("mlp.gate.");
            let idle = |name: &str| {
                let expert = name.split("mlp.experts.").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
                expert.zip(config.experts).is_some_and(|(expert, sizes): (usize, _)| expert >= sizes.per_token)
            };
            let working =
                tensors(&config).into_iter().filter(|t| t.shape.len() == 2 && matrix(&t.name) && !idle(&t.name));
            let weights: u128 = working.map(|tensor| (tensor.shape[0] * tensor.shape[1]) as u128).sum();
            let one = cost(&config.shape(Dtype::F32, CacheType::F32), 1, 1);
            assert_eq!(one.linear_flops, 2 * weights, "{}", config.family);
            assert_eq!(one.head_flops, 2 * (config.vocab_size * config.hidden_size) as u128);
        }
    }

    #[test]
    fn a_config_has_the_bytes_of_a_model() {
        for config in configs() {
            for cache in [CacheType::F32, CacheType::Q8] {
                let Compute::Kernels { cpu, mut packing, .. } = Compute::kernels() else { panic!("kernels") };
                packing.dtype = Some(Dtype::BF16);
                let options = LoadOptions { compute: Compute::Kernels { cpu, packing, cache }, context: None };
                let model = Llama::random(&config, &options).unwrap();
                let shape = model.shape();
                assert_eq!(shape, config.shape(Dtype::BF16, cache), "{}", config.family);
                assert_eq!(shape.weight_bytes(), model.bytes_per_token());
                for seen in [1, 7, 50] {
                    assert_eq!(step(&shape, seen).cache_bytes, model.cache_bytes(seen).into(), "{}", config.family);
                }
            }
        }
    }
}
