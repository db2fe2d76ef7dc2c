//! The decoder-only transformer that continues every kind of token.
//!
//! Ids `[t]` → embedding `[1, t, hidden]` → blocks, each `x + attention(norm(x))`, then `x + feed_forward(norm(x))` →
//! norm → head `[t, vocabulary]`. A [`Llama`] never changes: what was read is in the caller's [`KvCache`].

use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use jielong_core::{Allowed, Logits, Model, ModelError, State, Token, check_tokens};
use jielong_kernels::{Cpu, KvStore, Matrix, add};
use jielong_nn::cpu::{self, Values};
use jielong_nn::load;

use crate::attention::{Attention, Sight, Step};
use crate::cache::{FIRST_SLOTS, KvCache, Layers};
use crate::config::Config;
use crate::layers::{FeedForward, RmsNorm};
use crate::linear::{Linear, Weight, project, project_some};
use crate::load::Compute;
use crate::rope::Rope;

/// Positions computed in one pass when all logits are wanted.
const CHUNK: usize = 512;

/// A transformer with its weights on a device.
#[derive(Module, Debug)]
pub struct Llama {
    pub(crate) embedding: Weight, // [vocab, hidden]
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
    pub(crate) head: Option<Linear>, // the embedding if tied
    #[module(skip)]
    pub(crate) config: Config,
    #[module(skip)]
    pub(crate) ropes: Vec<Rope>,
    #[module(skip)]
    pub(crate) context: usize,
    #[module(skip)]
    pub(crate) compute: Compute,
    /// All matrices of kernels that are multiplied.
    #[module(skip)]
    pub(crate) packed: Vec<Arc<load::Weight>>,
}

/// One layer of attention and one feed-forward layer, each with its residual.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) attention: Residual<Attention>,
    pub(crate) feed_forward: Residual<FeedForward>,
}

impl Block {
    fn weights(&self) -> Vec<&Weight> {
        [self.attention.layer.weights(), self.feed_forward.layer.weights()].concat()
    }
}

/// A layer with the norms before and after it.
#[derive(Module, Debug)]
pub(crate) struct Residual<L: Module> {
    pub(crate) before: Option<RmsNorm>,
    pub(crate) layer: L,
    pub(crate) after: Option<RmsNorm>,
    pub(crate) scale: f64,
}

impl<L: Module> Residual<L> {
    /// `x + scale · after(layer(before(x)))`
    fn forward(&self, x: Tensor<3>, on: Option<&Cpu>, run: impl FnOnce(&L, Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let input = match &self.before {
            Some(norm) => norm.forward(x.clone(), on),
            None => x.clone(),
        };
        let output = run(&self.layer, input);
        let output = match &self.after {
            Some(norm) => norm.forward(output, on),
            None => output,
        };
        let output = if self.scale == 1.0 { output } else { output * self.scale };
        match on {
            Some(cpu) => {
                let output = Values::of(output);
                cpu::update(x, |x| add(cpu, x, output.as_slice()))
            }
            None => x + output,
        }
    }
}

/// Which positions get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    Last,
    All,
}

impl Llama {
    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it is computed.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The matrices that one token reads: each once, of a mixture the experts it goes through, of the embedding nothing
    /// unless it is the head too.
    fn weights(&self) -> impl Iterator<Item = &Weight> {
        self.blocks.iter().flat_map(Block::weights).chain([self.head_weight()])
    }

    fn head_weight(&self) -> &Weight {
        self.head.as_ref().map_or(&self.embedding, |head| &head.weight)
    }

    /// Brings the weights into their final form on a thread of its own, while they are used already.
    pub(crate) fn turn_aside(&self) {
        let Some(isa) = self.compute.cpu().map(Cpu::isa) else { return };
        let weights = self.packed.clone();
        let work = move || {
            let cpu = Cpu::with_isa(1, isa);
            for weight in weights {
                // A weight that nobody else holds is of a model that is gone.
                if let (Some(cpu), true) = (&cpu, Arc::strong_count(&weight) > 1) {
                    weight.turn(cpu);
                }
            }
        };
        // A thread that the system does not give leaves them as they are: slower, not wrong.
        let _ = std::thread::Builder::new().name("weights".into()).spawn(work);
    }

    /// Waits until the weights are in their final form: for those who measure.
    pub fn settle(&self) {
        if let Some(cpu) = self.compute.cpu() {
            self.packed.iter().for_each(|weight| weight.turn(cpu));
        }
    }

    /// Bytes of weights that one token reads.
    pub fn bytes_per_token(&self) -> u64 {
        self.weights().map(|weight| weight.bytes() as u64).sum()
    }

    /// Bytes of the head.
    pub(crate) fn head_bytes(&self) -> u64 {
        self.head_weight().bytes() as u64
    }

    /// The matrices that one token is multiplied with, where kernels compute: layer after layer, then the head.
    pub fn matrices(&self) -> Vec<&Matrix> {
        self.weights().filter_map(Weight::matrix).collect()
    }

    /// Bytes of keys and values that one token reads with `positions` before it.
    pub fn cache_bytes(&self, positions: usize) -> u64 {
        let c = &self.config;
        let seen = c.layers.iter().map(|layer| layer.window.map_or(positions, |window| window.min(positions)));
        (seen.sum::<usize>() * 2 * c.kv_heads) as u64 * self.row_bytes()
    }

    /// Bytes of the keys, or of the values, of one head at one position.
    pub(crate) fn row_bytes(&self) -> u64 {
        let dim = self.config.head_dim;
        let bytes = match &self.compute {
            Compute::Kernels { cache, .. } => cache.bytes(dim),
            Compute::Burn { dtype, .. } => DType::from(*dtype).size() * dim,
        };
        bytes as u64
    }

    /// Appends `tokens` to the state and returns the logits after each of them, one row of `vocab_size` values a token.
    ///
    /// # Errors
    /// As [`Model::next`].
    pub fn logits(&self, tokens: &[Token], state: &mut KvCache) -> Result<Vec<f32>, ModelError> {
        check_tokens(tokens, state.len(), self.context, self.config.vocab_size)?;
        let start = state.len();
        let mut rows = Vec::with_capacity(tokens.len() * self.config.vocab_size);
        for chunk in tokens.chunks(CHUNK) {
            match self.forward(chunk, state, Rows::All) {
                Ok(logits) => rows.extend(logits),
                Err(error) => {
                    state.truncate(start);
                    return Err(error);
                }
            }
        }
        Ok(rows)
    }

    fn forward(&self, tokens: &[Token], state: &mut KvCache, rows: Rows) -> Result<Vec<f32>, ModelError> {
        floats(self.head(self.read(tokens, state, rows)))
    }

    /// Appends tokens to the state: what the head reads, `[1, t or 1, hidden]`.
    fn read(&self, tokens: &[Token], state: &mut KvCache, rows: Rows) -> Tensor<3> {
        let (start, t) = (state.len(), tokens.len());
        let device = self.device();
        state.reserve(t);
        let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
        let sight = |window| match self.compute.cpu() {
            Some(_) => Sight::Window(window),
            None => Sight::cached(start, t, window, &device),
        };
        let mut x = self.blocks(&ids, [1, t], start, sight, Some(state));
        state.advance(t);
        if rows == Rows::Last {
            x = x.narrow(1, t - 1, 1);
        }
        self.norm.forward(x, self.compute.cpu())
    }

    /// Rows of `t` ids, at positions from `start` on, through all blocks: `[b · t]` → `[b, t, hidden]`. `sight` is what a layer
    /// with such a window sees.
    pub(crate) fn blocks(
        &self,
        ids: &[u32],
        [b, t]: [usize; 2],
        start: usize,
        sight: impl Fn(Option<usize>) -> Sight,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let on = self.compute.cpu();
        let mut x = self.embedding.rows(ids).reshape([b, t, self.config.hidden_size]);
        if self.config.embedding_scale != 1.0 {
            x = x * self.config.embedding_scale;
        }
        let device = self.device().inner();
        let angles: Vec<_> = self.ropes.iter().map(|rope| rope.angles(start, t, &device)).collect();
        let mut sights: Vec<(Option<usize>, Sight)> = Vec::new(); // one for each kind of window
        for (index, (block, layer)) in self.blocks.iter().zip(&self.config.layers).enumerate() {
            if !sights.iter().any(|(window, _)| *window == layer.window) {
                sights.push((layer.window, sight(layer.window)));
            }
            let Some((_, sight)) = sights.iter().find(|(window, _)| *window == layer.window) else { continue };
            let step = Step { angles: layer.rope.map(|rope| &angles[rope]), sight, layer: index, on };
            x = block.attention.forward(x, on, |attention, x| attention.forward(x, step, cache.as_deref_mut()));
            x = block.feed_forward.forward(x, on, |layer, x| layer.forward(x, on));
        }
        x
    }

    /// The head: what the last norm gives, `[b, t, hidden]`, → logits `[b, t, vocab]` in f32.
    pub(crate) fn head(&self, x: Tensor<3>) -> Tensor<3> {
        let on = self.compute.cpu();
        self.finished(match &self.head {
            Some(head) => head.forward(x, on),
            None => project(&self.embedding, x, on),
        })
    }

    /// As [`head`](Self::head), for some tokens alone.
    fn head_of(&self, x: Tensor<3>, tokens: Range<usize>) -> Tensor<3> {
        let on = self.compute.cpu();
        self.finished(match &self.head {
            Some(head) => head.some(x, tokens, on),
            None => project_some(&self.embedding, x, tokens, on),
        })
    }

    /// What comes of the products of the head.
    fn finished(&self, logits: Tensor<3>) -> Tensor<3> {
        let logits = logits.cast(FloatDType::F32);
        let logits = if self.config.logit_scale == 1.0 { logits } else { logits * self.config.logit_scale };
        match self.config.logit_softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// Where its tensors are.
    pub(crate) fn device(&self) -> Device {
        self.norm.weight.val().device()
    }
}

impl Model for Llama {
    type State = KvCache;

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.context
    }

    fn new_state(&self) -> Result<KvCache, ModelError> {
        let Config { kv_heads, head_dim, .. } = self.config;
        let (depth, slots) = (self.config.depth(), FIRST_SLOTS.min(self.context));
        let layers = match &self.compute {
            Compute::Kernels { cache, .. } => {
                Layers::Stores((0..depth).map(|_| KvStore::new(*cache, kv_heads, head_dim, slots)).collect())
            }
            Compute::Burn { dtype, .. } => {
                let device = self.device();
                let empty = || Tensor::<4>::zeros([1, kv_heads, slots, head_dim], (&device, (*dtype).into()));
                Layers::Tensors((0..depth).map(|_| (empty(), empty())).collect())
            }
        };
        Ok(KvCache::new(layers, slots, self.context))
    }

    fn next(&self, tokens: &[Token], state: &mut KvCache) -> Result<Logits, ModelError> {
        check_tokens(tokens, state.len(), self.context, self.config.vocab_size)?;
        self.forward(tokens, state, Rows::Last).map(Logits)
    }

    fn next_of(&self, tokens: &[Token], state: &mut KvCache, allowed: &Allowed) -> Result<Logits, ModelError> {
        check_tokens(tokens, state.len(), self.context, self.config.vocab_size)?;
        let start = state.len();
        let x = self.read(tokens, state, Rows::Last);
        let size = self.config.vocab_size;
        let mut row = vec![f32::NEG_INFINITY; size];
        for range in allowed.ranges() {
            let ids = (range.start as usize).min(size)..(range.end as usize).min(size);
            if !ids.is_empty() {
                let logits = floats(self.head_of(x.clone(), ids.clone())).inspect_err(|_| state.truncate(start))?;
                row[ids].copy_from_slice(&logits);
            }
        }
        Ok(Logits(row))
    }

    fn next_each(&self, tokens: &[Token], state: &mut KvCache) -> Result<Vec<Logits>, ModelError> {
        let rows = self.logits(tokens, state)?;
        Ok(rows.chunks_exact(self.config.vocab_size).map(|row| Logits(row.to_vec())).collect())
    }
}

/// The values of logits.
fn floats(logits: Tensor<3>) -> Result<Vec<f32>, ModelError> {
    logits.try_into_vec_as::<f32>().map_err(|error| ModelError::Backend(format!("{error:?}")))
}
