//! What it costs to continue a chain: steps, arithmetic, cache and bytes, as closed sums over all steps.
//!
//! A multiplication and an addition are two FLOPs. A token costs two for each weight it is multiplied with (Kaplan et al.
//! 2020, *Scaling laws for neural language models*, §2.1), and in each layer two for each number of a key, and two of a value,
//! of each position it sees: `4 · heads · head_dim · positions` (Hoffmann et al. 2022, *Training compute-optimal large language
//! models*, appendix F; without softmax, norms and rotation, which are small beside them). A step reads all weights and all
//! keys and values it sees once (Pope et al. 2022, *Efficiently scaling transformer inference*, §2). It takes no less than the
//! longer of its two times: bytes by bandwidth, FLOPs by rate (Williams et al. 2009, *Roofline*).

use serde::Serialize;

/// The numbers of a decoder-only transformer that its costs depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// One entry a layer.
    pub layers: Vec<LayerShape>,
    /// Rows of the head: tokens that get a logit.
    pub vocab: usize,
    /// Bytes of the weights of all layers that one token reads.
    pub layer_bytes: u64,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// Bytes of the keys, or of the values, of one head at one position.
    pub kv_bytes: u64,
}

/// What differs from layer to layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerShape {
    /// Width of the feed-forward layer; of a mixture, that of the experts which work on a token, added up.
    pub intermediate: usize,
    /// Outputs of the router of a mixture, or 0.
    pub router: usize,
    /// Positions that a query sees, itself included; all if `None`.
    pub window: Option<usize>,
}

/// What a generation costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Passes of the model: one for each new token, the first of them over the prompt.
    pub steps: u128,
    /// FLOPs of the linear layers, without the head.
    pub linear_flops: u128,
    /// FLOPs of the head, of one position a step.
    pub head_flops: u128,
    /// FLOPs of attention: queries with keys, weights with values.
    pub attention_flops: u128,
    /// Bytes of the cache at the end: of all positions, also where a window sees fewer.
    pub kv_cache_bytes: u128,
    /// Bytes of weights read, all of them in each step.
    pub weight_bytes: u128,
    /// Bytes of keys and values read, what a step sees of them once.
    pub cache_bytes: u128,
}

/// How fast a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Bytes read a second.
    pub bandwidth: f64,
    /// FLOPs a second.
    pub flops: f64,
}

impl Shape {
    /// The same with a head of which only `rows` rows are computed: those of the tokens that are legal at this place.
    #[must_use]
    pub fn with_head(&self, rows: usize) -> Self {
        let bytes = u128::from(self.head_bytes) * rows as u128 / self.vocab.max(1) as u128;
        Self { vocab: rows, head_bytes: bytes as u64, ..self.clone() }
    }

    /// Bytes of weights that one token reads.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.layer_bytes + self.head_bytes
    }

    /// Bytes of the keys and values of one position, of all layers.
    #[must_use]
    pub fn position_bytes(&self) -> u64 {
        self.layers.len() as u64 * self.layer_position_bytes()
    }

    /// Of one layer.
    fn layer_position_bytes(&self) -> u64 {
        2 * self.kv_heads as u64 * self.kv_bytes
    }

    /// Weights that one token is multiplied with, without the head: queries, keys, values and the way out; gate, up and
    /// down; the router.
    fn weights(&self) -> u128 {
        let [hidden, heads, kv_heads, dim] = [self.hidden, self.heads, self.kv_heads, self.head_dim].map(|n| n as u128);
        let attention = 2 * hidden * dim * (heads + kv_heads);
        let layer = |layer: &LayerShape| attention + hidden * (3 * layer.intermediate as u128 + layer.router as u128);
        self.layers.iter().map(layer).sum()
    }

    /// Sum over the layers of a number that depends on the window.
    fn over_windows(&self, number: impl Fn(u128) -> u128) -> u128 {
        self.layers.iter().map(|layer| number(layer.window.map_or(u128::MAX, |window| window as u128))).sum()
    }
}

impl Cost {
    /// All FLOPs.
    #[must_use]
    pub fn flops(&self) -> u128 {
        self.linear_flops + self.head_flops + self.attention_flops
    }

    /// All bytes read.
    #[must_use]
    pub fn bytes_moved(&self) -> u128 {
        self.weight_bytes + self.cache_bytes
    }
}

/// Positions that the queries at positions `0 .. count` see within a window, added up: `Σ min(p + 1, window)`.
fn seen(count: u128, window: u128) -> u128 {
    let rising = count.min(window);
    rising * (rising + 1) / 2 + (count - rising) * window
}

/// What it costs to continue `prompt` tokens (at least one, or else one) by `new` tokens.
///
/// The last token is drawn and not read, so the cache ends with `prompt + new - 1` positions. The first step reads the whole
/// prompt, each further one a token. Exact for all sizes that a machine can hold, and more: sums are in 128 bits.
#[must_use]
pub fn cost(shape: &Shape, prompt: usize, new: usize) -> Cost {
    if new == 0 {
        return Cost::default();
    }
    let (prompt, steps) = (prompt.max(1) as u128, new as u128);
    let positions = prompt + steps - 1;
    let seen_by_all = shape.over_windows(|window| seen(positions, window));
    // The prompt's keys and values are read once, together.
    let read = shape.over_windows(|window| prompt + seen(positions, window) - seen(prompt, window));
    Cost {
        steps,
        linear_flops: 2 * shape.weights() * positions,
        head_flops: 2 * shape.hidden as u128 * shape.vocab as u128 * steps,
        attention_flops: 4 * shape.heads as u128 * shape.head_dim as u128 * seen_by_all,
        kv_cache_bytes: u128::from(shape.position_bytes()) * positions,
        weight_bytes: u128::from(shape.weight_bytes()) * steps,
        cache_bytes: u128::from(shape.layer_position_bytes()) * read,
    }
}

/// What one step over one token costs that sees `seen` positions, itself included.
#[must_use]
pub fn step(shape: &Shape, seen: usize) -> Cost {
    let seen = shape.over_windows(|window| window.min(seen as u128));
    let one = cost(shape, 1, 1);
    Cost {
        attention_flops: 4 * shape.heads as u128 * shape.head_dim as u128 * seen,
        cache_bytes: u128::from(shape.layer_position_bytes()) * seen,
        ..one
    }
}

/// The least time of a generation, in seconds: each step takes the longer of its bytes by the bandwidth and its FLOPs by the
/// rate.
///
/// Between two windows both times of a step are linear in its position, so that one of them is the longer up to one place and
/// the other from there on: each part is an arithmetic series.
#[must_use]
pub fn seconds(shape: &Shape, prompt: usize, new: usize, speed: Speed) -> f64 {
    let times = |cost: Cost| [cost.bytes_moved() as f64 / speed.bandwidth, cost.flops() as f64 / speed.flops];
    let longer = |[a, b]: [f64; 2]| a.max(b);
    if new == 0 {
        return 0.0;
    }
    let first = longer(times(cost(shape, prompt, 1)));
    let (mut start, last) = (prompt.max(1) + 1, prompt.max(1) + new - 1);
    let mut ends: Vec<usize> = shape.layers.iter().filter_map(|layer| layer.window).filter(|&w| w < last).collect();
    ends.push(last);
    ends.sort_unstable();
    let mut total = first;
    for end in ends {
        while start <= end {
            let by_bytes = |at: usize| {
                let [bytes, flops] = times(step(shape, at));
                bytes >= flops
            };
            let same = last_alike(start, end, by_bytes);
            let time = |at: usize| longer(times(step(shape, at)));
            total += (same - start + 1) as f64 * (time(start) + time(same)) / 2.0;
            start = same + 1;
        }
    }
    total
}

/// The last place in `from ..= to` that answers as `from` does, where the answer changes once at most.
fn last_alike(from: usize, to: usize, answer: impl Fn(usize) -> bool) -> usize {
    let first = answer(from);
    if answer(to) == first {
        return to;
    }
    let (mut same, mut other) = (from, to);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if answer(middle) == first { same = middle } else { other = middle }
    }
    same
}
