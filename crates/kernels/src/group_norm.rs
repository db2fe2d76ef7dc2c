//! Group norm over pictures (Wu & He 2018), with or without SiLU after it, and the gradients.
//!
//! Functions take any number of pictures and run on the calling thread. What backward needs besides its inputs is computed
//! again: a pass over a picture costs less than memory for it.

use crate::cpu::Isa;
use crate::layers::for_each_isa;
use crate::math::exp;
use crate::matmul::columns::LANES;

/// A norm over pictures `[channels][places]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Channels; whole groups of them.
    pub channels: usize,
    /// Places of a picture.
    pub places: usize,
    /// Groups that have mean and variance in common.
    pub groups: usize,
    /// What keeps the division finite.
    pub eps: f32,
    /// Whether `z · σ(z)` follows.
    pub silu: bool,
}

impl GroupNorm {
    fn check(&self, x: usize, y: usize, weight: usize, bias: usize) {
        let whole = self.channels.is_multiple_of(self.groups) && x.is_multiple_of(self.channels * self.places);
        assert!(whole && x == y && weight == self.channels && bias == weight, "{self:?}: {x}, {y}, {weight}, {bias}");
    }

    /// Values of a group.
    fn group(&self) -> usize {
        self.channels / self.groups * self.places
    }

    /// `y = act((x − mean) / √(variance + eps) · weight + bias)` for pictures one after another.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn forward(&self, isa: Isa, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
        self.check(x.len(), y.len(), weight.len(), bias.len());
        let size = self.group();
        for (group, (x, y)) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)).enumerate() {
            let mut mean_and_scale = [0.0; 2];
            statistics(isa, x, self.eps, &mut mean_and_scale);
            let first = group % self.groups * (self.channels / self.groups);
            let parts = x.chunks_exact(self.places).zip(y.chunks_exact_mut(self.places));
            for (channel, (x, y)) in (first..).zip(parts) {
                // (x − mean) · scale · weight + bias as one product and one sum
                let factor = mean_and_scale[1] * weight[channel];
                let line = [factor, bias[channel] - mean_and_scale[0] * factor];
                if self.silu { silu_line(isa, x, line, y) } else { plain_line(isa, x, line, y) }
            }
        }
    }

    /// The gradient of `x`, and those of `weight` and `bias` added, given that of `y`.
    ///
    /// # Panics
    /// If the lengths do not agree.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        isa: Isa,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dweight: &mut [f32],
        dbias: &mut [f32],
    ) {
        self.check(x.len(), dy.len(), weight.len(), bias.len());
        self.check(dx.len(), dy.len(), dweight.len(), dbias.len());
        let size = self.group();
        for (group, (x, dy)) in x.chunks_exact(size).zip(dy.chunks_exact(size)).enumerate() {
            let dx = &mut dx[group * size..][..size];
            let mut mean_and_scale = [0.0; 2];
            statistics(isa, x, self.eps, &mut mean_and_scale);
            let [mean, scale] = mean_and_scale;
            let first = group % self.groups * (self.channels / self.groups);
            // With n = (x − mean) · scale and z = n · weight + bias: dz into dx, its sum and that of dz · n.
            let mut totals = [0.0; 2];
            for (part, channel) in (first..first + self.channels / self.groups).enumerate() {
                let at = part * self.places..(part + 1) * self.places;
                let norm = [mean, scale, weight[channel], bias[channel]];
                let mut sums = [0.0; 2];
                let (x, dy, dx) = (&x[at.clone()], &dy[at.clone()], &mut dx[at]);
                if self.silu {
                    silu_back(isa, x, dy, norm, dx, &mut sums);
                } else {
                    plain_back(isa, x, dy, norm, dx, &mut sums);
                }
                dbias[channel] += sums[0];
                dweight[channel] += sums[1];
                totals = [totals[0] + sums[0] * weight[channel], totals[1] + sums[1] * weight[channel]];
            }
            let totals = totals.map(|total| total / size as f32);
            for (part, channel) in (first..first + self.channels / self.groups).enumerate() {
                let at = part * self.places..(part + 1) * self.places;
                let norm = [mean, scale, weight[channel], 0.0];
                finish(isa, &x[at.clone()], norm, totals, &mut dx[at]);
            }
        }
    }
}

for_each_isa! {
    /// Mean and one over the standard deviation.
    fn statistics(x: &[f32], eps: f32, out: &mut [f32; 2]) {
        let (runs, rest) = x.as_chunks::<LANES>();
        let mut sums = [0.0f32; LANES];
        for run in runs {
            for lane in 0..LANES {
                sums[lane] += run[lane];
            }
        }
        let mean = (sums.iter().sum::<f32>() + rest.iter().sum::<f32>()) / x.len() as f32;
        let mut sums = [0.0f32; LANES];
        for run in runs {
            for lane in 0..LANES {
                let difference = run[lane] - mean;
                sums[lane] = difference.mul_add(difference, sums[lane]);
            }
        }
        let rest = rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        *out = [mean, 1.0 / ((sums.iter().sum::<f32>() + rest) / x.len() as f32 + eps).sqrt()];
    }
}

for_each_isa! {
    fn plain_line(x: &[f32], line: [f32; 2], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.mul_add(line[0], line[1]);
        }
    }
}

for_each_isa! {
    fn silu_line(x: &[f32], line: [f32; 2], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            let z = x.mul_add(line[0], line[1]);
            *y = z / (1.0 + exp(-z));
        }
    }
}

for_each_isa! {
    /// `norm` is mean, scale, weight, bias; `dz = dy`.
    fn plain_back(x: &[f32], dy: &[f32], norm: [f32; 4], dz: &mut [f32], sums: &mut [f32; 2]) {
        let [mean, scale, _, _] = norm;
        let mut lanes = [[0.0f32; LANES]; 2];
        let parts = x.chunks(LANES).zip(dy.chunks(LANES)).zip(dz.chunks_mut(LANES));
        for ((x, dy), dz) in parts {
            for lane in 0..x.len() {
                dz[lane] = dy[lane];
                lanes[0][lane] += dy[lane];
                lanes[1][lane] = ((x[lane] - mean) * scale).mul_add(dy[lane], lanes[1][lane]);
            }
        }
        *sums = [lanes[0].iter().sum(), lanes[1].iter().sum()];
    }
}

for_each_isa! {
    /// `norm` is mean, scale, weight, bias; `dz = dy · σ(z) · (1 + z · (1 − σ(z)))`.
    fn silu_back(x: &[f32], dy: &[f32], norm: [f32; 4], dz: &mut [f32], sums: &mut [f32; 2]) {
        let [mean, scale, weight, bias] = norm;
        let each = |x: f32, dy: f32| {
            let n = (x - mean) * scale;
            let z = n.mul_add(weight, bias);
            let sigmoid = 1.0 / (1.0 + exp(-z));
            (n, dy * sigmoid * z.mul_add(1.0 - sigmoid, 1.0))
        };
        let mut lanes = [[0.0f32; LANES]; 2];
        let (x_runs, x_rest) = x.as_chunks::<LANES>();
        let (dy_runs, dy_rest) = dy.as_chunks::<LANES>();
        let (dz_runs, dz_rest) = dz.as_chunks_mut::<LANES>();
        for ((x, dy), dz) in x_runs.iter().zip(dy_runs).zip(dz_runs) {
            for lane in 0..LANES {
                let (n, d) = each(x[lane], dy[lane]);
                dz[lane] = d;
                lanes[0][lane] += d;
                lanes[1][lane] = n.mul_add(d, lanes[1][lane]);
            }
        }
        for (lane, ((x, dy), dz)) in x_rest.iter().zip(dy_rest).zip(dz_rest).enumerate() {
            let (n, d) = each(*x, *dy);
            *dz = d;
            lanes[0][lane] += d;
            lanes[1][lane] += n * d;
        }
        *sums = [lanes[0].iter().sum(), lanes[1].iter().sum()];
    }
}

for_each_isa! {
    /// `dx = scale · (dz · weight − totals[0] − n · totals[1])`, in place of `dz`.
    fn finish(x: &[f32], norm: [f32; 4], totals: [f32; 2], dx: &mut [f32]) {
        let [mean, scale, weight, _] = norm;
        for (dx, x) in dx.iter_mut().zip(x) {
            let n = (x - mean) * scale;
            *dx = scale * (dx.mul_add(weight, -totals[0]) - n * totals[1]);
        }
    }
}
