//! The kernels. A *plane* is units that compute in step, a *cube* planes that share memory. Sums are f32.

#![allow(missing_docs)] // of what the macro makes

use cubecl::prelude::*;

/// `x · Wᵀ`: contiguous `[n, inputs]`, `[outputs, inputs]` and `[n, outputs]`, of which the first two are read as vectors. A plane
/// computes `together` outputs of all rows.
#[cube(launch)]
pub fn rows<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    weight: &Tensor<Vector<F, N>>,
    y: &mut Tensor<F>,
    #[comptime] n: usize,
    #[comptime] together: usize,
    #[define(F)] _dtype: ElemType,
) {
    let inputs = weight.shape(1) / weight.vector_size();
    let outputs = weight.shape(0);
    let first = (CUBE_POS * (CUBE_DIM_Y as usize) + UNIT_POS_Y as usize) * together;
    if first < outputs {
        let mut sums = Array::<Vector<f32, N>>::new(comptime!(n * together));
        #[unroll]
        for at in 0..comptime!(n * together) {
            sums[at] = Vector::cast_from(0.0f32);
        }
        let mut at = UNIT_POS_X as usize;
        while at < inputs {
            #[unroll]
            for output in 0..together {
                // The last output stands in for those that are not there.
                let row = min(first + output, outputs - 1);
                let weight = Vector::<f32, N>::cast_from(weight[row * inputs + at]);
                #[unroll]
                for row in 0..n {
                    sums[output * n + row] += weight * Vector::<f32, N>::cast_from(x[row * inputs + at]);
                }
            }
            at += PLANE_DIM as usize;
        }
        #[unroll]
        for output in 0..together {
            #[unroll]
            for row in 0..n {
                let sum = plane_sum(sums[output * n + row].vector_sum());
                if UNIT_POS_X == 0 && first + output < outputs {
                    y[row * outputs + first + output] = F::cast_from(sum);
                }
            }
        }
    }
}

/// Root mean square norm: contiguous rows `[rows, width]`, gains `[width]`. A cube computes a row.
#[cube(launch)]
pub fn norm<F: Float>(
    x: &Tensor<F>,
    weight: &Tensor<F>,
    y: &mut Tensor<F>,
    eps: f32,
    #[comptime] width: usize,
    #[comptime] planes: usize,
    #[define(F)] _dtype: ElemType,
) {
    let start = CUBE_POS * width;
    let units = CUBE_DIM as usize;
    let mut sum = f32::new(0.0);
    let mut at = UNIT_POS as usize;
    while at < width {
        let value = f32::cast_from(x[start + at]);
        sum += value * value;
        at += units;
    }
    let mut sums = Shared::<[f32]>::new_slice(planes);
    let sum = plane_sum(sum);
    if UNIT_POS_X == 0 {
        sums[UNIT_POS_Y as usize] = sum;
    }
    sync_cube();
    let mut sum = f32::new(0.0);
    for plane in 0..planes {
        sum += sums[plane];
    }
    let factor = 1.0 / (sum / comptime!(width as f32) + eps).sqrt();
    let mut at = UNIT_POS as usize;
    while at < width {
        y[start + at] = F::cast_from(f32::cast_from(x[start + at]) * factor * f32::cast_from(weight[at]));
        at += units;
    }
}

/// Rotation of the pairs `(i, i + half)` of heads `[b, t, heads, d]` by the angles `[1, t, 1, half]` of their positions; all contiguous. A
/// unit computes a value.
#[cube(launch)]
pub fn turn<F: Float>(
    x: &Tensor<F>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    y: &mut Tensor<F>,
    #[comptime] width: usize,
    #[comptime] half: usize,
    #[define(F)] _dtype: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < y.len() {
        let place = at % width;
        let mut value = f32::cast_from(x[at]);
        if place < 2 * half {
            let angle = at / (width * x.shape(2)) % x.shape(1) * half + place % half;
            if place < half {
                value = value * cos[angle] - f32::cast_from(x[at + half]) * sin[angle];
            } else {
                value = value * cos[angle] + f32::cast_from(x[at - half]) * sin[angle];
            }
        }
        y[at] = F::cast_from(value);
    }
}

/// `gate · sigmoid(gate) · up`, value by value; contiguous. A unit computes a value.
#[cube(launch)]
pub fn gated<F: Float>(gate: &Tensor<F>, up: &Tensor<F>, y: &mut Tensor<F>, #[define(F)] _dtype: ElemType) {
    let at = ABSOLUTE_POS;
    if at < y.len() {
        let value = f32::cast_from(gate[at]);
        y[at] = F::cast_from(value / (1.0 + (-value).exp()) * f32::cast_from(up[at]));
    }
}

/// Attention of one query a head, `[1, 1, heads, width]`, to the places `from .. to` of `[1, kv, slots, width]`; all contiguous. A cube
/// computes a head: each plane goes over every `planes`-th place with a running maximum (Milakov and Gimelshein 2018, *Online
/// normalizer calculation for softmax*), then their sums are brought to one maximum and added.
#[cube(launch)]
pub fn attend<F: Float>(
    q: &Tensor<F>,
    keys: &Tensor<F>,
    values: &Tensor<F>,
    y: &mut Tensor<F>,
    from: u32,
    to: u32,
    scale: f32,
    cap: f32,
    #[comptime] capped: bool,
    #[comptime] width: usize,
    #[comptime] lanes: usize,
    #[comptime] planes: usize,
    #[define(F)] _dtype: ElemType,
) {
    let share = comptime!(width.div_ceil(lanes)); // of the width, for each unit
    let head = CUBE_POS;
    let group = q.shape(2) / keys.shape(1);
    let start = head / group * keys.shape(2);
    let lane = UNIT_POS_X as usize;
    let plane = UNIT_POS_Y as usize;
    let mut query = Array::<f32>::new(share);
    let mut sums = Array::<f32>::new(share);
    #[unroll]
    for i in 0..share {
        let at = lane + i * lanes;
        query[i] = 0.0;
        if at < width {
            query[i] = f32::cast_from(q[head * width + at]);
        }
        sums[i] = 0.0;
    }
    let mut most = f32::new(-3.0e38);
    let mut total = f32::new(0.0);
    let mut place = from as usize + plane;
    while place < to as usize {
        let row = (start + place) * width;
        let mut score = f32::new(0.0);
        // Read before they are needed, together with the keys.
        let mut value = Array::<f32>::new(share);
        #[unroll]
        for i in 0..share {
            let at = lane + i * lanes;
            value[i] = 0.0;
            if at < width {
                score += query[i] * f32::cast_from(keys[row + at]);
                value[i] = f32::cast_from(values[row + at]);
            }
        }
        score = plane_sum(score) * scale;
        if comptime!(capped) {
            score = cap * (score / cap).tanh();
        }
        let now = max(most, score);
        let before = (most - now).exp();
        let weight = (score - now).exp();
        total = total * before + weight;
        #[unroll]
        for i in 0..share {
            sums[i] = sums[i] * before + weight * value[i];
        }
        most = now;
        place += planes;
    }
    let mut all_most = Shared::<[f32]>::new_slice(planes);
    let mut all_total = Shared::<[f32]>::new_slice(planes);
    let mut all_sums = Shared::<[f32]>::new_slice(planes * width);
    if lane == 0 {
        all_most[plane] = most;
        all_total[plane] = total;
    }
    #[unroll]
    for i in 0..share {
        let at = lane + i * lanes;
        if at < width {
            all_sums[plane * width + at] = sums[i];
        }
    }
    sync_cube();
    let mut most = f32::new(-3.0e38);
    for plane in 0..planes {
        most = max(most, all_most[plane]);
    }
    let mut at = UNIT_POS as usize;
    while at < width {
        let mut total = f32::new(0.0);
        let mut sum = f32::new(0.0);
        for plane in 0..planes {
            let weight = (all_most[plane] - most).exp();
            total += all_total[plane] * weight;
            sum += all_sums[plane * width + at] * weight;
        }
        y[head * width + at] = F::cast_from(sum / total);
        at += lanes * planes;
    }
}
