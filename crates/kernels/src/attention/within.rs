//! Attention of rows to themselves, with gradients: for training.
//!
//! Scores are made block by block of queries and made again on the way back, so that no more of them are in memory than a
//! block has (Dao et al. 2022); keys that no query of a block sees are left out. The products are the `gemm` crate's.

use std::ops::Range;

use gemm::Parallelism;

use crate::cpu::Isa;
use crate::cross_entropy::{log_sum_exp, probabilities};

/// Queries of a block.
const BLOCK: usize = 64;

/// Sizes and rules of an attention within rows of one length. Queries are `[rows, length, heads, d]`, keys and values
/// `[rows, length, kv, d]`, all one after another.
#[derive(Clone, Copy, Debug)]
pub struct AttentionWithin<'a> {
    /// For each place of each row the first key of the row that it sees; the last is its own.
    pub first: &'a [u32],
    /// Places of a row.
    pub length: usize,
    /// Heads of queries, as many of them for each head of keys.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv: usize,
    /// Values of a head.
    pub d: usize,
    /// Factor on `q · k`.
    pub scale: f32,
    /// `cap · tanh(score / cap)` in place of the score.
    pub softcap: Option<f32>,
}

/// What one head of keys of one row gives: of its group of heads of queries, `[group, length, …]`.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[group, length, d]`
    pub values: Vec<f32>,
    /// `ln Σ exp(score)`, `[group, length]`: what the way back needs.
    pub log_sums: Vec<f32>,
}

/// Gradients of one head of keys of one row.
#[derive(Clone, Debug)]
pub struct AttendedGradients {
    /// `[group, length, d]`
    pub queries: Vec<f32>,
    /// `[length, d]`
    pub keys: Vec<f32>,
    /// `[length, d]`
    pub values: Vec<f32>,
}

/// A matrix in a slice: where it begins, its steps from row to row and from column to column.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    start: usize,
    steps: [usize; 2],
}

impl View<'_> {
    /// The same with rows for columns.
    fn turned(self) -> Self {
        Self { steps: [self.steps[1], self.steps[0]], ..self }
    }

    /// Whether a matrix of this size lies in the slice.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        self.start + (rows - 1) * self.steps[0] + (columns - 1) * self.steps[1] < self.values.len()
    }
}

/// `out = keep · out + factor · a · b`: `out` is `[m, n]` in rows, the inner dimension `k`.
fn product(out: &mut [f32], [m, n, k]: [usize; 3], keep: bool, factor: f32, a: View, b: View) {
    assert!(m * n * k > 0 && out.len() >= m * n && a.holds(m, k) && b.holds(k, n), "matrices of {m}, {n}, {k}");
    let step = |step: usize| step as isize;
    // SAFETY: all elements of the three matrices lie in their slices, as was checked.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            step(n),
            keep,
            a.values.as_ptr().add(a.start),
            step(a.steps[1]),
            step(a.steps[0]),
            b.values.as_ptr().add(b.start),
            step(b.steps[1]),
            step(b.steps[0]),
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

impl AttentionWithin<'_> {
    /// Heads of queries of a head of keys.
    pub fn group(&self) -> usize {
        self.heads / self.kv
    }

    /// The blocks of queries of a row, and the keys that any of a block sees.
    fn blocks(&self, row: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let first = &self.first[row * self.length..][..self.length];
        (0..self.length).step_by(BLOCK).map(move |start| {
            let end = (start + BLOCK).min(self.length);
            let least = first[start..end].iter().copied().min().unwrap_or(0) as usize;
            (start..end, least.min(start)..end)
        })
    }

    /// Places of a head of a tensor with `heads` of them, from one place of a row on.
    fn view<'v>(&self, values: &'v [f32], heads: usize, head: usize, row: usize, place: usize) -> View<'v> {
        let start = ((row * self.length + place) * heads + head) * self.d;
        View { values, start, steps: [heads * self.d, 1] }
    }

    /// The scores of a block, capped.
    fn scores(&self, q: View, k: View, [m, n]: [usize; 2], out: &mut Vec<f32>) {
        out.resize(m * n, 0.0);
        product(out, [m, n, self.d], false, self.scale, q, k.turned());
        if let Some(cap) = self.softcap {
            out.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
        }
    }

    /// Of a query the keys that it sees, as places of those of its block.
    fn seen(&self, row: usize, query: usize, keys: &Range<usize>) -> Range<usize> {
        let first = self.first[row * self.length + query] as usize;
        first.min(query) - keys.start..query + 1 - keys.start
    }

    /// Attention of the group of one head of keys in one row.
    ///
    /// # Panics
    /// If the slices are shorter than the sizes say.
    pub fn forward(&self, isa: Isa, [q, k, v]: [&[f32]; 3], row: usize, head: usize) -> Attended {
        let (group, d) = (self.group(), self.d);
        let mut values = vec![0.0; group * self.length * d];
        let mut log_sums = vec![0.0; group * self.length];
        let (mut scores, mut weights) = (Vec::new(), Vec::new());
        for member in 0..group {
            for (queries, keys) in self.blocks(row) {
                let [m, n] = [queries.len(), keys.len()];
                let q = self.view(q, self.heads, head * group + member, row, queries.start);
                let [k, v] = [k, v].map(|x| self.view(x, self.kv, head, row, keys.start));
                self.scores(q, k, [m, n], &mut scores);
                weights.clear();
                weights.resize(m * n, 0.0);
                for (at, query) in queries.clone().enumerate() {
                    let seen = self.seen(row, query, &keys);
                    let scores = &scores[at * n..][seen.clone()];
                    let log_sum = log_sum_exp(isa, scores);
                    probabilities(isa, scores, log_sum, 1.0, &mut weights[at * n..][seen]);
                    log_sums[member * self.length + query] = log_sum;
                }
                let out = &mut values[(member * self.length + queries.start) * d..];
                product(out, [m, d, n], false, 1.0, View { values: &weights, start: 0, steps: [n, 1] }, v);
            }
        }
        Attended { values, log_sums }
    }

    /// The gradients of [`forward`](Self::forward): of its result, and those that follow it.
    ///
    /// # Panics
    /// If the slices are shorter than the sizes say.
    pub fn backward(
        &self,
        isa: Isa,
        [q, k, v]: [&[f32]; 3],
        attended: &Attended,
        gradient: &[f32],
        row: usize,
        head: usize,
    ) -> AttendedGradients {
        let (group, d, length) = (self.group(), self.d, self.length);
        let mut out = AttendedGradients {
            queries: vec![0.0; group * length * d],
            keys: vec![0.0; length * d],
            values: vec![0.0; length * d],
        };
        let (mut scores, mut weights, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
        for member in 0..group {
            for (queries, keys) in self.blocks(row) {
                let [m, n] = [queries.len(), keys.len()];
                let of = |x| self.view(x, self.heads, head * group + member, row, queries.start);
                let (q, dy) = (of(q), of(gradient));
                let [k, v] = [k, v].map(|x| self.view(x, self.kv, head, row, keys.start));
                self.scores(q, k, [m, n], &mut scores);
                weights.clear();
                weights.resize(m * n, 0.0);
                slopes.resize(m * n, 0.0);
                product(&mut slopes, [m, n, d], false, 1.0, dy, v.turned());
                for (at, query) in queries.clone().enumerate() {
                    let seen = self.seen(row, query, &keys);
                    let (scores, log_sum) = (&scores[at * n..][..n], attended.log_sums[member * length + query]);
                    let (weights, slopes) = (&mut weights[at * n..][..n], &mut slopes[at * n..][..n]);
                    probabilities(isa, &scores[seen.clone()], log_sum, 1.0, &mut weights[seen.clone()]);
                    let y = &attended.values[(member * length + query) * d..][..d];
                    let dy = &dy.values[dy.start + at * dy.steps[0]..][..d];
                    let mean: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
                    for (slope, weight) in slopes.iter_mut().zip(&*weights) {
                        *slope = weight * (*slope - mean); // nothing where nothing is seen
                    }
                    if let Some(cap) = self.softcap {
                        slopes.iter_mut().zip(scores).for_each(|(slope, score)| *slope *= 1.0 - (score / cap).powi(2));
                    }
                }
                let [weights, slopes] = [&weights, &slopes].map(|values| View { values, start: 0, steps: [n, 1] });
                let dq = &mut out.queries[(member * length + queries.start) * d..];
                product(dq, [m, d, n], false, self.scale, slopes, k);
                product(&mut out.keys[keys.start * d..], [n, d, m], true, self.scale, slopes.turned(), q);
                product(&mut out.values[keys.start * d..], [n, d, m], true, 1.0, weights.turned(), dy);
            }
        }
        out
    }
}
