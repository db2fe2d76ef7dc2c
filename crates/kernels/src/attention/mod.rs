//! Attention of new positions over a cache: grouped queries, causal, with window and softcap (Vaswani et al. 2017;
//! Ainslie et al. 2023).
//!
//! Keys are taken in chunks of [`CHUNK`] positions, counted from position 0. Within a chunk: scores, their maximum, the
//! exponentials, their sum, the weighted sum of values; chunks are then merged in order (Milakov & Gimelshein 2018). So a
//! result depends neither on how many positions are computed at once nor on the number of threads, and a single position
//! over a long cache keeps all threads busy.

mod store;
mod sums;
mod within;

use self::store::Stored;
pub use self::store::{CacheType, KvStore, UnknownCacheType};
use self::sums::{score_rows, softmax, weigh};
pub use self::within::{Attended, AttendedGradients, AttentionWithin};
use crate::cpu::{Cpu, Isa};
#[cfg(target_arch = "x86_64")]
use crate::lanes::Register;
use crate::lanes::{Cell, Lanes};
use crate::math::{exp, tanh};
use crate::matmul::columns::LANES;
use crate::shared::Disjoint;

/// Positions of a chunk.
const CHUNK: usize = 512;

/// Queries of one head group that go over a chunk together.
const ROWS: usize = 16;

/// What is computed of scores.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads; a multiple of the cache's heads.
    pub heads: usize,
    /// Factor on `q · k`.
    pub scale: f32,
    /// `cap · tanh(score / cap)` in place of the score.
    pub softcap: Option<f32>,
    /// A query sees so many positions, itself included.
    pub window: Option<usize>,
}

/// Attention of queries `[t][heads][dim]` at the positions from `start` on, whose keys and values the cache has already.
/// Result: `[t][heads][dim]`.
///
/// # Panics
/// If the lengths do not agree.
pub fn attend(cpu: &Cpu, cache: &KvStore, attention: &Attention, q: &[f32], start: usize, out: &mut [f32]) {
    let (heads, dim) = (attention.heads, cache.dim);
    let t = q.len() / (heads * dim);
    assert!(
        q.len() == t * heads * dim
            && out.len() == q.len()
            && heads.is_multiple_of(cache.heads)
            && start + t <= cache.slots(),
        "{} queries of {heads} heads of {dim} over {} heads and {} positions",
        q.len(),
        cache.heads,
        cache.slots()
    );
    let group = heads / cache.heads;
    let per_block = (ROWS / group).max(1); // positions of a block
    let blocks = t.div_ceil(per_block);
    let plan = Plan { cache, attention, q, start, group };
    if t == 1 {
        // Chunks in parallel, merged in order.
        let first = plan.from(start) / CHUNK;
        let chunks = start / CHUNK + 1 - first;
        let mut parts: Vec<Part> = Vec::new();
        parts.resize_with(cache.heads * chunks, || Part::new(group, cache.padded()));
        {
            let parts = Disjoint::new(&mut parts);
            cpu.pool.run(cache.heads * chunks, |task| {
                // SAFETY: a part is of one task.
                #[allow(unsafe_code)]
                let part = unsafe { parts.slice(task, 1) };
                let block = Block { head: task / chunks, position: 0, positions: 1 };
                plan.chunk(cpu.isa(), block, first + task % chunks, &mut part[0]);
            });
        }
        for (head, parts) in parts.chunks_exact_mut(chunks).enumerate() {
            if let Some((whole, others)) = parts.split_first_mut() {
                others.iter().for_each(|part| whole.merge(part));
                for row in 0..group {
                    whole.write(row, &mut out[(head * group + row) * dim..][..dim]);
                }
            }
        }
        return;
    }
    let out = Disjoint::new(out);
    // The last blocks see most: they go first.
    cpu.pool.run(cache.heads * blocks, |task| {
        let position = (blocks - 1 - task / cache.heads) * per_block;
        let block = Block { head: task % cache.heads, position, positions: per_block.min(t - position) };
        let last = (start + position + block.positions - 1) / CHUNK;
        let mut whole = Part::new(block.positions * group, cache.padded());
        let mut part = Part::new(block.positions * group, cache.padded());
        for chunk in plan.from(start + position) / CHUNK..=last {
            plan.chunk(cpu.isa(), block, chunk, &mut part);
            whole.merge(&part);
        }
        for row in 0..block.positions * group {
            let at = ((position + row / group) * heads + block.head * group + row % group) * dim;
            // SAFETY: a position's heads of one group are of one task.
            #[allow(unsafe_code)]
            whole.write(row, unsafe { out.slice(at, dim) });
        }
    });
}

/// Queries that are computed together: some positions, all query heads of one head of the cache.
#[derive(Clone, Copy)]
struct Block {
    head: usize,
    position: usize,
    positions: usize,
}

/// The outcome of some keys for the rows of a block: maximum of the scores, sum of the exponentials, weighted values.
struct Part {
    max: Vec<f32>,
    sum: Vec<f32>,
    values: Vec<f32>, // [row][padded]
    width: usize,
}

impl Part {
    fn new(rows: usize, width: usize) -> Self {
        Self { max: vec![f32::NEG_INFINITY; rows], sum: vec![0.0; rows], values: vec![0.0; rows * width], width }
    }

    /// Adds later keys.
    fn merge(&mut self, later: &Self) {
        let rows = self.max.len();
        for row in 0..rows {
            let max = if later.max[row] > self.max[row] { later.max[row] } else { self.max[row] };
            if later.sum[row] == 0.0 {
                continue; // this query sees none of them
            }
            let (old, new) = (exp(self.max[row] - max), exp(later.max[row] - max));
            // Before the first keys the maximum is −∞, whose exponential is 0.
            self.sum[row] = self.sum[row].mul_add(old, later.sum[row] * new);
            self.max[row] = max;
            let width = self.width;
            for (value, later) in self.values[row * width..][..width].iter_mut().zip(&later.values[row * width..]) {
                *value = value.mul_add(old, later * new);
            }
        }
    }

    fn write(&self, row: usize, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(&self.values[row * self.width..]) {
            *out = value / self.sum[row];
        }
    }
}

/// One call of [`attend`].
struct Plan<'a> {
    cache: &'a KvStore,
    attention: &'a Attention,
    q: &'a [f32],
    start: usize,
    group: usize,
}

impl Plan<'_> {
    /// The first position that a query at `position` sees.
    fn from(&self, position: usize) -> usize {
        self.attention.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Computes one chunk for a block, with the best instructions.
    fn chunk(&self, isa: Isa, block: Block, chunk: usize, part: &mut Part) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
            fn avx512(plan: &Plan, block: Block, chunk: usize, part: &mut Part) {
                plan.chunk_by::<Register>(block, chunk, part);
            }
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2(plan: &Plan, block: Block, chunk: usize, part: &mut Part) {
                plan.chunk_by::<[f32; LANES]>(block, chunk, part);
            }
            // SAFETY, of both: an `Isa` above the baseline is there only if the processor has it.
            #[allow(unsafe_code)]
            match isa {
                Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => return unsafe { avx512(self, block, chunk, part) },
                Isa::Avx2 => return unsafe { avx2(self, block, chunk, part) },
                Isa::Baseline | Isa::Dot => {}
            }
        }
        let _ = isa;
        self.chunk_by::<[f32; LANES]>(block, chunk, part);
    }

    #[inline(always)]
    fn chunk_by<L: Lanes>(&self, block: Block, chunk: usize, part: &mut Part) {
        match (&self.cache.keys, &self.cache.values) {
            (Stored::F32(keys), Stored::F32(values)) => {
                self.run::<L, f32>((keys, None), (values, None), block, chunk, part)
            }
            (Stored::F16(keys), Stored::F16(values)) => {
                self.run::<L, _>((keys, None), (values, None), block, chunk, part)
            }
            (Stored::Q8 { cells: keys, scales: k }, Stored::Q8 { cells: values, scales: v }) => {
                self.run::<L, i8>((keys, Some(k)), (values, Some(v)), block, chunk, part);
            }
            _ => unreachable!("keys and values have one type"),
        }
    }

    #[inline(always)]
    fn run<L: Lanes, C: Cell>(
        &self,
        (keys, key_scales): (&[C], Option<&[f32]>),
        (values, value_scales): (&[C], Option<&[f32]>),
        block: Block,
        chunk: usize,
        part: &mut Part,
    ) {
        let (dim, group, slots) = (self.cache.dim, self.group, self.cache.slots());
        let rows = block.positions * group;
        let begin = chunk * CHUNK;
        let end = (self.start + block.position + block.positions).min(begin + CHUNK); // the last row's own key
        let first = self.from(self.start + block.position).max(begin) / LANES * LANES;
        let panels = (end - first).div_ceil(LANES);
        let width = panels * LANES;
        // Queries, scaled.
        let mut q = vec![0.0; rows * dim];
        for (row, q) in q.chunks_exact_mut(dim).enumerate() {
            let at = ((block.position + row / group) * self.attention.heads + block.head * group + row % group) * dim;
            q.iter_mut().zip(&self.q[at..at + dim]).for_each(|(q, value)| *q = value * self.attention.scale);
        }
        // Scores, [row][key].
        let mut scores = vec![0.0; rows * width];
        let keys = &keys[block.head * self.cache.key_span() + first * dim..][..width * dim];
        let mut panel = 0;
        while panel < panels {
            let keys = &keys[panel * LANES * dim..];
            let (out, two) = (&mut scores[panel * LANES..], panels - panel > 1);
            panel += if two {
                score_rows::<2, L, C>(&q, keys, dim, out, width)
            } else {
                score_rows::<1, L, C>(&q, keys, dim, out, width)
            };
        }
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            if let Some(scales) = key_scales {
                let scales = &scales[block.head * slots + first..][..width.min(slots - first)];
                scores.iter_mut().zip(scales).for_each(|(score, scale)| *score *= scale);
            }
            if let Some(cap) = self.attention.softcap {
                scores.iter_mut().for_each(|score| *score = tanh(*score / cap) * cap);
            }
            let position = self.start + block.position + row / group;
            let sees = self.from(position).clamp(first, end) - first..(position + 1).clamp(first, end) - first;
            let (max, sum) = softmax(scores, sees);
            part.max[row] = max;
            part.sum[row] = sum;
            if let Some(scales) = value_scales {
                let scales = &scales[block.head * slots + first..];
                scores.iter_mut().zip(scales).for_each(|(weight, scale)| *weight *= scale);
            }
        }
        // Weighted values, [row][padded].
        let padded = self.cache.padded();
        let values = &values[block.head * self.cache.value_span() + first * padded..][..(end - first) * padded];
        let mut row = 0;
        while row < rows {
            let (weights, out) = (&scores[row * width..], &mut part.values[row * padded..]);
            row += match rows - row {
                4.. => weigh::<4, L, C>(weights, width, values, padded, out),
                2.. => weigh::<2, L, C>(weights, width, values, padded, out),
                _ => weigh::<1, L, C>(weights, width, values, padded, out),
            };
        }
    }
}
