//! Convolutions of pictures and their gradients, as products of matrices: for each tile of pixels, the values that the kernel
//! sees become the columns of a matrix (Chellapilla, Puri, Simard 2006, *High performance convolutional neural networks for
//! document processing*). The products are those of the crate `gemm`.
//!
//! Functions take any number of pictures and run on the calling thread: pictures are independent, so the caller shares them
//! out. Tiles span pictures where these are small.

use std::ops::Range;

/// Values of a tile's columns: about half of a core's cache.
const TILE: usize = 1 << 17;

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
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Places from one result to the next.
    pub stride: usize,
    /// Zeros before and after rows and columns.
    pub padding: (usize, usize),
}

impl Conv2d {
    /// Rows and columns after.
    ///
    /// # Panics
    /// If the kernel is larger than the picture with its zeros.
    pub fn out(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| (side + self.padding.0 + self.padding.1 - self.kernel) / self.stride + 1)
    }

    /// Values of a weight, `[outputs][inputs][kernel][kernel]`.
    pub fn weights(&self) -> usize {
        self.outputs * self.depth()
    }

    /// Values of a picture before and after.
    pub fn sizes(&self) -> [usize; 2] {
        let [rows, columns] = self.out();
        [self.inputs * self.height * self.width, self.outputs * rows * columns]
    }

    /// Values that a kernel sees.
    fn depth(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    fn check(&self, x: usize, y: usize, weight: usize) {
        let [before, after] = self.sizes();
        assert!(x.is_multiple_of(before) && x / before * after == y && weight == self.weights(), "{self:?}: {x}, {y}");
    }

    /// `y = weight ∗ x + bias` for pictures one after another.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
        self.check(x.len(), y.len(), weight.len());
        assert_eq!(bias.len(), self.outputs, "bias");
        let (mut seen, mut result) = (Vec::new(), Vec::new());
        for rows in self.tiles(x.len() / self.sizes()[0]) {
            self.columns(x, &rows, &mut seen);
            result.resize(seen.len() / self.depth() * self.outputs, 0.0);
            let count = result.len() / self.outputs;
            let (weight, seen) = (Matrix::rows(weight, self.outputs), Matrix::rows(&seen, self.depth()));
            product(weight, seen, &mut result, false);
            for (channel, result) in result.chunks_exact(count).enumerate() {
                self.each_row(channel, &rows, |part, at| {
                    for (y, value) in y[at].iter_mut().zip(&result[part]) {
                        *y = value + bias[channel];
                    }
                });
            }
        }
    }

    /// The gradient of `x`, given that of `y`.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn input_gradient(&self, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
        self.check(dx.len(), dy.len(), weight.len());
        dx.fill(0.0);
        let (mut seen, mut tile) = (Vec::new(), Vec::new());
        for rows in self.tiles(dx.len() / self.sizes()[0]) {
            self.gather(dy, &rows, &mut tile);
            seen.resize(tile.len() / self.outputs * self.depth(), 0.0);
            let weight = Matrix::rows(weight, self.outputs).transposed();
            product(weight, Matrix::rows(&tile, self.outputs), &mut seen, false);
            self.scatter(&seen, &rows, dx);
        }
    }

    /// Adds the gradients of `weight` and `bias`, given that of `y`.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], dweight: &mut [f32], dbias: &mut [f32]) {
        self.check(x.len(), dy.len(), dweight.len());
        assert_eq!(dbias.len(), self.outputs, "bias");
        let (mut seen, mut tile) = (Vec::new(), Vec::new());
        for rows in self.tiles(x.len() / self.sizes()[0]) {
            self.columns(x, &rows, &mut seen);
            self.gather(dy, &rows, &mut tile);
            let seen = Matrix::rows(&seen, self.depth()).transposed();
            product(Matrix::rows(&tile, self.outputs), seen, dweight, true);
            for (bias, tile) in dbias.iter_mut().zip(tile.chunks_exact(tile.len() / self.outputs)) {
                *bias += tile.iter().sum::<f32>();
            }
        }
    }

    /// Rows after the convolution, those of all pictures one after another, in parts of about [`TILE`].
    fn tiles(&self, pictures: usize) -> impl Iterator<Item = Range<usize>> {
        let [rows, columns] = self.out();
        let (all, size) = (pictures * rows, (TILE / (self.depth() * columns)).max(1));
        (0..all).step_by(size).map(move |first| first..(first + size).min(all))
    }

    /// For each row of a tile: where it is in a row of the tile's matrix, and in `y`.
    fn each_row(&self, channel: usize, rows: &Range<usize>, mut act: impl FnMut(Range<usize>, Range<usize>)) {
        let [height, width] = self.out();
        for (index, row) in rows.clone().enumerate() {
            let at = ((row / height * self.outputs + channel) * height + row % height) * width;
            act(index * width..(index + 1) * width, at..at + width);
        }
    }

    /// The tile of `y` as a matrix, `[outputs][places]`.
    fn gather(&self, y: &[f32], rows: &Range<usize>, tile: &mut Vec<f32>) {
        tile.clear();
        for channel in 0..self.outputs {
            self.each_row(channel, rows, |_, at| tile.extend_from_slice(&y[at]));
        }
    }

    /// What the kernel sees at the places of a tile, `[depth][places]`.
    fn columns(&self, x: &[f32], rows: &Range<usize>, seen: &mut Vec<f32>) {
        let width = self.out()[1];
        seen.clear();
        self.each_source(rows, |source, shift| {
            let inside = self.inside(shift);
            let Some(at) = source.filter(|_| !inside.is_empty()) else {
                seen.resize(seen.len() + width, 0.0);
                return;
            };
            let row = &x[at..at + self.width];
            seen.resize(seen.len() + inside.start, 0.0);
            let first = inside.start * self.stride + shift - self.padding.0;
            let count = inside.len();
            if self.stride == 1 {
                seen.extend_from_slice(&row[first..first + count]);
            } else {
                seen.extend((0..count).map(|place| row[first + place * self.stride]));
            }
            seen.resize(seen.len() + width - inside.end, 0.0);
        });
    }

    /// Adds the gradients of what the kernel saw to those of `x`.
    fn scatter(&self, seen: &[f32], rows: &Range<usize>, dx: &mut [f32]) {
        let width = self.out()[1];
        let mut parts = seen.chunks_exact(width);
        self.each_source(rows, |source, shift| {
            let (Some(at), Some(part)) = (source, parts.next()) else { return };
            let inside = self.inside(shift);
            if inside.is_empty() {
                return;
            }
            let first = at + inside.start * self.stride + shift - self.padding.0;
            let part = &part[inside];
            if self.stride == 1 {
                dx[first..first + part.len()].iter_mut().zip(part).for_each(|(x, part)| *x += part);
            } else {
                part.iter().enumerate().for_each(|(place, part)| dx[first + place * self.stride] += part);
            }
        });
    }

    /// Results of a row whose kernel, `shift` columns into it, sees the picture and not its zeros.
    fn inside(&self, shift: usize) -> Range<usize> {
        let end = (self.width + self.padding.0).saturating_sub(shift).div_ceil(self.stride).min(self.out()[1]);
        let start = self.padding.0.saturating_sub(shift).div_ceil(self.stride).min(end);
        start..end
    }

    /// For each input, row and column of the kernel, and each row of the tile: where the row of the picture is that it sees,
    /// if it is not one of zeros; and the column of the kernel.
    fn each_source(&self, rows: &Range<usize>, mut act: impl FnMut(Option<usize>, usize)) {
        let height = self.out()[0];
        for input in 0..self.inputs {
            for down in 0..self.kernel {
                for shift in 0..self.kernel {
                    for row in rows.clone() {
                        let y = (row % height * self.stride + down).checked_sub(self.padding.0);
                        let y = y.filter(|&y| y < self.height);
                        let start = (row / height * self.inputs + input) * self.height;
                        act(y.map(|y| (start + y) * self.width), shift);
                    }
                }
            }
        }
    }
}

/// A matrix in a slice.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// From one row to the next, from one column to the next.
    steps: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Row after row.
    fn rows(values: &'a [f32], rows: usize) -> Self {
        let columns = values.len() / rows;
        Self { values, rows, columns, steps: [columns, 1] }
    }

    fn transposed(self) -> Self {
        let [row, column] = self.steps;
        Self { rows: self.columns, columns: self.rows, steps: [column, row], ..self }
    }
}

/// `c = a · b`, or `c += a · b`; `c` is row after row.
fn product(a: Matrix, b: Matrix, c: &mut [f32], add: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(b.rows == k && c.len() == m * n, "{m}×{k} · {}×{n} → {}", b.rows, c.len());
    for part in [&a, &b] {
        let last = part.rows.saturating_sub(1) * part.steps[0] + part.columns.saturating_sub(1) * part.steps[1];
        assert!(last < part.values.len(), "{last} of {}", part.values.len());
    }
    let step = |step: usize| step as isize; // of a slice: fits
    // SAFETY: all places that the sizes and steps lead to were just checked to be inside the slices, `c` is not shared.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            step(n),
            add,
            a.values.as_ptr(),
            step(a.steps[1]),
            step(a.steps[0]),
            b.values.as_ptr(),
            step(b.steps[1]),
            step(b.steps[0]),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Every product of a convolution: indices of `y`, `weight` and `x`.
    fn products(conv: &Conv2d, pictures: usize, mut act: impl FnMut(usize, usize, usize)) {
        let [rows, columns] = conv.out();
        for p in 0..pictures {
            for (o, i) in (0..conv.outputs).flat_map(|o| (0..conv.inputs).map(move |i| (o, i))) {
                for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                    for (a, b) in (0..conv.kernel).flat_map(|a| (0..conv.kernel).map(move |b| (a, b))) {
                        let (y, x) = (r * conv.stride + a, c * conv.stride + b);
                        let (Some(y), Some(x)) = (y.checked_sub(conv.padding.0), x.checked_sub(conv.padding.0)) else {
                            continue;
                        };
                        if y < conv.height && x < conv.width {
                            act(
                                ((p * conv.outputs + o) * rows + r) * columns + c,
                                ((o * conv.inputs + i) * conv.kernel + a) * conv.kernel + b,
                                ((p * conv.inputs + i) * conv.height + y) * conv.width + x,
                            );
                        }
                    }
                }
            }
        }
    }

    fn close(a: &[f32], b: &[f32], what: &str) {
        assert_eq!(a.len(), b.len());
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{what} {index}: {a}, expected {b}");
        }
    }

    #[test]
    fn results_and_gradients_are_those_of_the_definition() {
        let base = Conv2d { inputs: 3, outputs: 5, height: 7, width: 9, kernel: 3, stride: 1, padding: (1, 1) };
        for conv in [
            base,
            Conv2d { kernel: 1, padding: (0, 0), ..base },
            Conv2d { stride: 2, padding: (0, 1), height: 8, width: 10, ..base },
            Conv2d { stride: 2, padding: (1, 1), kernel: 4, ..base },
            Conv2d { kernel: 5, padding: (2, 2), height: 2, width: 1, ..base },
            Conv2d { inputs: 64, outputs: 8, height: 40, width: 40, ..base }, // several tiles
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
            let mut found = vec![9.0; dy.len()];
            conv.forward(&x, &weight, &bias, &mut found);
            close(&found, &expected, "y");
            let mut found = vec![9.0; x.len()];
            conv.input_gradient(&weight, &dy, &mut found);
            close(&found, &dx, "dx");
            let (mut found, mut found_bias) = (vec![0.5; dw.len()], vec![0.5; db.len()]);
            conv.weight_gradient(&x, &dy, &mut found, &mut found_bias);
            close(&found, &dw, "dweight");
            close(&found_bias, &db, "dbias");
        }
    }
}
