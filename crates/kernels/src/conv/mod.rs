//! Convolutions of pictures and their gradients.
//!
//! The products are formed where the values are (Zhang, Franchetti, Low 2018, *High performance zero-memory overhead direct
//! convolutions*): planes of a band of pictures lie in the cache ([`slide`]), and for [`OUTPUTS`] channels at once and some
//! neighbouring places all inputs and taps are summed in registers ([`tile`]). The gradient of an input is a convolution of
//! that of the result; that of a weight is a product of planes.
//!
//! Functions take any number of pictures and run on the calling thread: pictures are independent, so the caller shares them
//! out.

mod slide;
pub(crate) mod tile;

use std::ops::Range;

use half::bf16;

use self::slide::{Axis, Band, Cell, Planes, Slide};
use self::tile::{Correlated, OUTPUTS, Product};
use crate::cpu::Isa;

/// In which type values are multiplied; sums are of f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Factors {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16 (Kalamkar et al. 2019, *A study of bfloat16 for deep learning training*) where the processor multiplies
    /// those, twice as fast; otherwise as they are.
    Bf16,
}

/// Shape of a convolution over pictures `[inputs][height][width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Channels before.
    pub inputs: usize,
    /// Channels after.
    pub outputs: usize,
    /// Rows before.
    pub height: usize,
    /// Columns before.
    pub width: usize,
    /// How the kernel goes along rows, one below the other, and along columns.
    pub along: [Along; 2],
}

/// How a kernel goes along one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Along {
    /// Values of the kernel.
    pub kernel: usize,
    /// Places from one result to the next.
    pub stride: usize,
    /// Zeros before and after.
    pub padding: (usize, usize),
    /// Places from one value of the kernel to the next.
    pub dilation: usize,
}

impl Along {
    /// A kernel of one value, which leaves a direction as it is.
    pub const ONE: Self = Self { kernel: 1, stride: 1, padding: (0, 0), dilation: 1 };

    /// How many results there are along `size` places.
    fn results(&self, size: usize) -> usize {
        (size + self.padding.0 + self.padding.1 - (self.kernel - 1) * self.dilation - 1) / self.stride + 1
    }
}

impl Conv2d {
    /// Rows and columns after.
    ///
    /// # Panics
    /// If the kernel is larger than the picture with its zeros.
    pub fn out(&self) -> [usize; 2] {
        [self.along[0].results(self.height), self.along[1].results(self.width)]
    }

    /// Values of a kernel for one channel.
    fn taps(&self) -> usize {
        self.along[0].kernel * self.along[1].kernel
    }

    /// Values of a weight, `[outputs][inputs][kernel rows][kernel columns]`.
    pub fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Values of a picture before and after.
    pub fn sizes(&self) -> [usize; 2] {
        let [rows, columns] = self.out();
        [self.inputs * self.height * self.width, self.outputs * rows * columns]
    }

    fn slide(&self) -> Slide {
        let [rows, columns] = &self.along;
        Slide::new(self.inputs, Axis::forward(self.height, rows), Axis::forward(self.width, columns), columns.kernel)
    }

    /// What computes `y = weight ∗ x + bias`.
    ///
    /// # Panics
    /// If the length of the weight is another.
    pub fn forward(&self, isa: Isa, factors: Factors, weight: &[f32]) -> Filter {
        assert_eq!(weight.len(), self.weights(), "{self:?}: weight");
        let [rows, columns] = self.out();
        let taps = self.taps();
        let value = |output, input, index| weight[(output * self.inputs + input) * taps + index];
        let pass = Pass::new(isa, factors, self.slide(), self.outputs, value);
        Filter { isa, outputs: self.outputs, before: self.sizes()[0], size: [rows, columns], passes: vec![pass] }
    }

    /// What computes the gradient of `x`, given that of `y`: one pass for each place within a stride.
    ///
    /// # Panics
    /// If the length of the weight is another.
    pub fn backward(&self, isa: Isa, factors: Factors, weight: &[f32]) -> Filter {
        assert_eq!(weight.len(), self.weights(), "{self:?}: weight");
        let (taps, [rows, columns]) = (self.taps(), &self.along);
        let value = |output, input, index| weight[(input * self.inputs + output) * taps + index];
        let places = (0..rows.stride).flat_map(|down| (0..columns.stride).map(move |right| (down, right)));
        let passes = places.map(|(down, right)| {
            let down = Axis::backward(self.height, rows, down);
            let right = Axis::backward(self.width, columns, right);
            Pass::new(isa, factors, Slide::new(self.outputs, down, right, columns.kernel), self.inputs, value)
        });
        let passes = passes.collect();
        Filter { isa, outputs: self.inputs, before: self.sizes()[1], size: [self.height, self.width], passes }
    }

    /// Adds the gradients of `weight` and `bias`, given that of `y`, for pictures one after another.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn weight_gradient(
        &self,
        isa: Isa,
        factors: Factors,
        x: &[f32],
        dy: &[f32],
        dweight: &mut [f32],
        dbias: &mut [f32],
    ) {
        let [before, after] = self.sizes();
        assert!(x.len().is_multiple_of(before) && x.len() / before * after == dy.len(), "{self:?}: x, y");
        assert!(dweight.len() == self.weights() && dbias.len() == self.outputs, "{self:?}: weight, bias");
        let [rows, columns] = self.out();
        for (index, dy) in dy.chunks_exact(rows * columns).enumerate() {
            dbias[index % self.outputs] += dy.iter().sum::<f32>();
        }
        if tile::pairs(isa, factors) {
            self.correlate::<bf16>(isa, x, dy, dweight);
        } else {
            self.correlate::<f32>(isa, x, dy, dweight);
        }
    }

    fn correlate<C: Correlated>(&self, isa: Isa, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
        let slide = self.slide();
        let (mut seen, mut results) = (Planes::<C>::default(), Planes::<C>::default());
        let taps = self.taps();
        let mut sums = Vec::new();
        for band in slide.bands(x.len() / slide.size()) {
            slide.pack(x, &band, &mut seen);
            slide.pack_results(dy, self.outputs, &band, &mut results);
            results.cells.resize(self.outputs.next_multiple_of(OUTPUTS) * results.channel, C::default());
            for (block, gradients) in results.cells.chunks_exact(OUTPUTS * results.channel).enumerate() {
                sums.clear();
                sums.resize(self.inputs * seen.taps.len(), [0.0; OUTPUTS]);
                tile::correlate(isa, &seen, gradients, &mut sums);
                let outputs = block * OUTPUTS..self.outputs.min((block + 1) * OUTPUTS);
                for (input, sums) in sums.chunks_exact(seen.taps.len()).enumerate() {
                    for (sums, index) in sums.iter().zip(slide.indices()) {
                        for (output, sum) in outputs.clone().zip(sums) {
                            dweight[(output * self.inputs + input) * taps + index] += sum;
                        }
                    }
                }
            }
        }
    }
}

/// A convolution with its weights laid out, to be applied to many pictures.
#[derive(Debug)]
pub struct Filter {
    isa: Isa,
    outputs: usize,
    /// Values of a picture before.
    before: usize,
    /// Rows and columns after.
    size: [usize; 2],
    passes: Vec<Pass>,
}

/// One kernel on its way, and its weights, `[blocks of outputs][channels][taps]`.
#[derive(Debug)]
struct Pass {
    slide: Slide,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    F32(Vec<[f32; OUTPUTS]>),
    Bf16(Vec<[[bf16; 2]; OUTPUTS]>),
}

impl Pass {
    fn new(
        isa: Isa,
        factors: Factors,
        slide: Slide,
        outputs: usize,
        value: impl Fn(usize, usize, usize) -> f32 + Copy,
    ) -> Self {
        let weights = if tile::pairs(isa, factors) {
            Weights::Bf16(lay_out(&slide, outputs, value))
        } else {
            Weights::F32(lay_out(&slide, outputs, value))
        };
        Self { slide, weights }
    }
}

/// Weights by blocks of outputs; channels and outputs that are missing are zero.
fn lay_out<C: Cell>(
    slide: &Slide,
    outputs: usize,
    value: impl Fn(usize, usize, usize) -> f32 + Copy,
) -> Vec<[C; OUTPUTS]> {
    let mut weights = Vec::new();
    for block in (0..outputs).step_by(OUTPUTS) {
        for first in (0..slide.channels).step_by(C::CHANNELS) {
            let channels = first..slide.channels.min(first + C::CHANNELS);
            weights.extend(slide.indices().map(|index| {
                let mut cells = [C::default(); OUTPUTS];
                for (output, cell) in (block..outputs).zip(&mut cells) {
                    for channel in channels.clone() {
                        let value = value(output, channel, index);
                        C::put(&[value], 1, channel - first, std::slice::from_mut(cell));
                    }
                }
                cells
            }));
        }
    }
    weights
}

impl Filter {
    /// Channels that are computed at once: parts of them for several threads begin at multiples.
    pub const BLOCK: usize = OUTPUTS;

    /// Some channels of the results, `channels` from a multiple of [`Filter::BLOCK`] on, for pictures one after another; with
    /// a bias for each of the channels.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn apply(&self, x: &[f32], bias: Option<&[f32]>, channels: Range<usize>, y: &mut [f32]) {
        let [height, width] = self.size;
        let (pictures, count) = (x.len() / self.before, channels.len());
        assert!(x.len().is_multiple_of(self.before) && y.len() == pictures * count * height * width, "x, y");
        assert!(bias.is_none_or(|bias| bias.len() == count), "bias");
        assert!(channels.start.is_multiple_of(OUTPUTS) && channels.end <= self.outputs, "channels {channels:?}");
        if self.passes.len() > 1 {
            y.fill(0.0); // places that no tap sees
        }
        for pass in &self.passes {
            match &pass.weights {
                Weights::F32(weights) => self.pass(&pass.slide, weights, x, bias, &channels, y),
                Weights::Bf16(weights) => self.pass(&pass.slide, weights, x, bias, &channels, y),
            }
        }
    }

    fn pass<C: Product>(
        &self,
        slide: &Slide,
        weights: &[[C; OUTPUTS]],
        x: &[f32],
        bias: Option<&[f32]>,
        channels: &Range<usize>,
        y: &mut [f32],
    ) {
        let depth = weights.len() / self.outputs.div_ceil(OUTPUTS);
        if depth == 0 || slide.rows.count == 0 || slide.columns.count == 0 {
            return;
        }
        let (mut planes, mut sums) = (Planes::default(), Vec::new());
        for band in slide.bands(x.len() / self.before) {
            slide.pack(x, &band, &mut planes);
            for first in channels.clone().step_by(OUTPUTS) {
                C::filter(self.isa, &planes, &weights[first / OUTPUTS * depth..][..depth], &mut sums);
                let len = sums.len() / OUTPUTS;
                for (channel, sums) in (first..channels.end).zip(sums.chunks_exact(len)) {
                    let channel = channel - channels.start;
                    let bias = bias.map_or(0.0, |bias| bias[channel]);
                    for index in 0..band.pictures {
                        let plane = (band.picture + index) * channels.len() + channel;
                        let y = &mut y[plane * self.size[0] * self.size[1]..][..self.size[0] * self.size[1]];
                        self.write(slide, &band, &sums[index * planes.pitch[1]..], planes.pitch[0], bias, y);
                    }
                }
            }
        }
    }

    /// Puts a picture's sums, in lines of `pitch`, to their places in one channel of the results.
    fn write(&self, slide: &Slide, band: &Band, sums: &[f32], pitch: usize, bias: f32, y: &mut [f32]) {
        let (rows, columns) = (&slide.rows, &slide.columns);
        if pitch == 1 && self.size[1] == 1 {
            let y = y[rows.first + rows.step * band.row..].iter_mut().step_by(rows.step);
            return y.zip(&sums[..band.rows]).for_each(|(y, sum)| *y = sum + bias);
        }
        for row in 0..band.rows {
            let sums = &sums[row * pitch..][..columns.count];
            let y = &mut y[(rows.first + rows.step * (band.row + row)) * self.size[1] + columns.first..];
            if columns.step == 1 {
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum + bias);
            } else {
                y.iter_mut().step_by(columns.step).zip(sums).for_each(|(y, sum)| *y = sum + bias);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    /// Every product of a convolution: indices of `y`, `weight` and `x`.
    fn products(conv: &Conv2d, pictures: usize, mut act: impl FnMut(usize, usize, usize)) {
        let [rows, columns] = conv.out();
        for p in 0..pictures {
            for (o, i) in (0..conv.outputs).flat_map(|o| (0..conv.inputs).map(move |i| (o, i))) {
                for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                    let [down, right] = conv.along;
                    for (a, b) in (0..down.kernel).flat_map(|a| (0..right.kernel).map(move |b| (a, b))) {
                        let place = |along: Along, result: usize, tap: usize| {
                            (result * along.stride + tap * along.dilation).checked_sub(along.padding.0)
                        };
                        let (Some(y), Some(x)) = (place(down, r, a), place(right, c, b)) else {
                            continue;
                        };
                        if y < conv.height && x < conv.width {
                            act(
                                ((p * conv.outputs + o) * rows + r) * columns + c,
                                ((o * conv.inputs + i) * down.kernel + a) * right.kernel + b,
                                ((p * conv.inputs + i) * conv.height + y) * conv.width + x,
                            );
                        }
                    }
                }
            }
        }
    }

    /// Within a part of the size of all values: sums of rounded products err by that.
    fn close(a: &[f32], b: &[f32], within: f32, what: &str) {
        assert_eq!(a.len(), b.len());
        let size = (b.iter().map(|b| b * b).sum::<f32>() / b.len() as f32).sqrt();
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() < within * (size + b.abs()), "{what} {index}: {a}, expected {b}");
        }
    }

    #[test]
    fn results_and_gradients_are_those_of_the_definition() {
        let along = |kernel, stride, padding| Along { kernel, stride, padding, dilation: 1 };
        let square = |kernel, stride, padding| [along(kernel, stride, padding); 2];
        let base = Conv2d { inputs: 3, outputs: 5, height: 7, width: 9, along: square(3, 1, (1, 1)) };
        let long = Conv2d { width: 1, height: 50, along: [along(7, 1, (3, 3)), Along::ONE], ..base };
        for conv in [
            base,
            Conv2d { along: square(1, 1, (0, 0)), ..base },
            Conv2d { along: square(3, 2, (0, 1)), height: 8, width: 10, ..base },
            Conv2d { along: square(4, 2, (1, 1)), ..base },
            Conv2d { along: square(5, 1, (2, 2)), height: 2, width: 1, ..base },
            Conv2d { inputs: 64, outputs: 8, height: 40, width: 40, ..base }, // several bands
            Conv2d { inputs: 9, outputs: 19, height: 3, width: 4, ..base },
            Conv2d { along: square(1, 2, (0, 0)), ..base },
            Conv2d { along: square(3, 3, (2, 1)), ..base },
            long,
            Conv2d { along: [Along { dilation: 3, ..along(7, 1, (9, 9)) }, Along::ONE], ..long },
            Conv2d { along: [along(10, 5, (3, 3)), Along::ONE], ..long },
            Conv2d { along: [Along { dilation: 3, ..along(3, 2, (2, 1)) }, along(2, 3, (1, 0))], ..base },
            Conv2d { inputs: 70, height: 6000, ..long },
        ] {
            let (pictures, [before, after]) = (3, conv.sizes());
            let (x, dy) = (values(pictures * before, 1), values(pictures * after, 2));
            let (weight, bias) = (values(conv.weights(), 3), values(conv.outputs, 4));
            let channel = |index: usize| index / (after / conv.outputs) % conv.outputs;
            let mut expected: Vec<f32> = (0..dy.len()).map(|index| bias[channel(index)]).collect();
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.5; weight.len()], vec![0.5; bias.len()]);
            products(&conv, pictures, |at_y, at_w, at_x| {
                expected[at_y] += weight[at_w] * x[at_x];
                dx[at_x] += weight[at_w] * dy[at_y];
                dw[at_w] += x[at_x] * dy[at_y];
            });
            dy.iter().enumerate().for_each(|(index, dy)| db[channel(index)] += dy);
            for (isa, factors, within) in
                Isa::available().into_iter().flat_map(|isa| [(isa, Factors::F32, 1e-4), (isa, Factors::Bf16, 1e-2)])
            {
                let mut found = vec![9.0; dy.len()];
                let filter = conv.forward(isa, factors, &weight);
                filter.apply(&x, Some(&bias), 0..conv.outputs, &mut found);
                close(&found, &expected, within, "y");
                let mut found = vec![9.0; x.len()];
                conv.backward(isa, factors, &weight).apply(&dy, None, 0..conv.inputs, &mut found);
                close(&found, &dx, within, "dx");
                let (mut found, mut found_bias) = (vec![0.5; dw.len()], vec![0.5; db.len()]);
                conv.weight_gradient(isa, factors, &x, &dy, &mut found, &mut found_bias);
                close(&found, &dw, within, "dweight");
                close(&found_bias, &db, 1e-4, "dbias");
            }
        }
    }
}
