//! The decoder-only transformer that continues every kind of token.
//!
//! Ids `[t]` → embedding `[1, t, hidden]` → blocks, each `x + attention(norm(x))`, then `x + feed_forward(norm(x))` →
//! norm → head `[t, vocabulary]`. A [`Llama`] never changes: what was read is in the caller's [`KvCache`].

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use jielong_core::{Logits, Model, ModelError, State, Token, check_tokens};

use crate::attention::{Attention, Sight};
use crate::cache::KvCache;
use crate::config::Config;
use crate::layers::{FeedForward, Linear, RmsNorm};
use crate::rope::Rope;

/// Positions computed in one pass when all logits are wanted.
const CHUNK: usize = 512;

/// A transformer with its weights on a device.
#[derive(Module, Debug)]
pub struct Llama {
    pub(crate) embedding: Param<Tensor<2>>, // [vocab, hidden]
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
    pub(crate) head: Option<Linear>, // the embedding if tied
    #[module(skip)]
    pub(crate) config: Config,
    #[module(skip)]
    pub(crate) ropes: Vec<Rope>,
    #[module(skip)]
    pub(crate) context: usize,
}

/// One layer of attention and one feed-forward layer, each with its residual.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) attention: Residual<Attention>,
    pub(crate) feed_forward: Residual<FeedForward>,
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
    fn forward(&self, x: Tensor<3>, run: impl FnOnce(&L, Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let input = match &self.before {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let output = run(&self.layer, input);
        let output = match &self.after {
            Some(norm) => norm.forward(output),
            None => output,
        };
        if self.scale == 1.0 { x + output } else { x + output * self.scale }
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

    /// The type that weights and cache have.
    pub fn dtype(&self) -> FloatDType {
        self.embedding.val().dtype().into()
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
        let (start, t) = (state.len(), tokens.len());
        state.reserve(t);
        let ids: Vec<i64> = tokens.iter().map(|t| i64::from(t.0)).collect();
        let embedding = self.embedding.val();
        let device = embedding.device();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [t]), &device);
        let mut x = embedding.clone().select(0, ids).unsqueeze::<3>(); // [1, t, hidden]
        if self.config.embedding_scale != 1.0 {
            x = x * self.config.embedding_scale;
        }
        let angles: Vec<_> = self.ropes.iter().map(|rope| rope.angles(start, t)).collect();
        let mut sights: Vec<(Option<usize>, Sight)> = Vec::new(); // one for each kind of window
        for (index, (block, layer)) in self.blocks.iter().zip(&self.config.layers).enumerate() {
            if !sights.iter().any(|(window, _)| *window == layer.window) {
                sights.push((layer.window, Sight::new(start, t, layer.window, &device)));
            }
            let Some((_, sight)) = sights.iter().find(|(window, _)| *window == layer.window) else { continue };
            let angles = layer.rope.map(|rope| &angles[rope]);
            x = block.attention.forward(x, |a, x| a.forward(x, angles, sight, state, index));
            x = block.feed_forward.forward(x, FeedForward::forward);
        }
        state.advance(t);
        if rows == Rows::Last {
            x = x.narrow(1, t - 1, 1);
        }
        self.project(x).try_into_vec_as::<f32>().map_err(|e| ModelError::Backend(format!("{e:?}")))
    }

    /// The head: `[1, t, hidden]` → logits `[1, t, vocab]` in f32.
    fn project(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.norm.forward(x);
        let logits = match &self.head {
            Some(head) => head.forward(x),
            None => Linear { weight: self.embedding.clone(), bias: None }.forward(x),
        };
        let logits = logits.cast(FloatDType::F32);
        let logits = if self.config.logit_scale == 1.0 { logits } else { logits * self.config.logit_scale };
        match self.config.logit_softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
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
        let embedding = self.embedding.val();
        let on = (&embedding.device(), embedding.dtype());
        Ok(KvCache::new(self.config.depth(), kv_heads, head_dim, self.context, on))
    }

    fn next(&self, tokens: &[Token], state: &mut KvCache) -> Result<Logits, ModelError> {
        check_tokens(tokens, state.len(), self.context, self.config.vocab_size)?;
        self.forward(tokens, state, Rows::Last).map(Logits)
    }
}
