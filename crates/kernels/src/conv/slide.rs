//! Where a kernel goes over pictures, and the pictures laid out for it.
//!
//! A picture with its zeros is cut into *planes*, one for each remainder of row and column by the stride, and a plane into
//! lines, one after another. So what one value of the kernel (a *tap*) sees for neighbouring results is contiguous, whatever
//! the stride, and so is a whole picture of results: a result at place `p` of a plane needs place `p + offset` for each tap.
//! The end of a line is the padding of the next one's start where it can be; results that fall on it are not written out.

use half::bf16;

use super::Along;

/// Values of a band's planes: about half of a core's cache.
const BAND: usize = 1 << 17;
/// Results of a band for one channel.
const PLACES: usize = 4096;
/// Values that kernels may read beyond the last place.
pub(super) const SLACK: usize = 64;

/// One direction, rows or columns.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Places of the picture.
    pub(super) size: usize,
    /// Places from one result to the next.
    pub(super) stride: usize,
    /// Zeros before the picture.
    pub(super) before: usize,
    /// Results.
    pub(super) count: usize,
    /// Where results are in the picture that they make: the first, and from one to the next.
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) taps: Vec<AxisTap>,
}

/// A value of the kernel in one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct AxisTap {
    /// The plane it sees: the remainder by the stride.
    plane: usize,
    /// How far into it.
    offset: usize,
    /// Its index.
    index: usize,
}

impl Axis {
    /// Of a convolution.
    pub(super) fn forward(size: usize, along: &Along) -> Self {
        let Along { kernel, stride, padding, dilation } = *along;
        let tap = |index| {
            let place = index * dilation;
            AxisTap { plane: place % stride, offset: place / stride, index }
        };
        let taps = (0..kernel).map(tap).collect();
        Self { size, stride, before: padding.0, count: along.results(size), first: 0, step: 1, taps }
    }

    /// Of the gradient of a convolution's input at the places with one remainder by the stride: place `stride · r +
    /// remainder` of the padded picture is seen by the taps whose place has that remainder, for result `r − place / stride`.
    pub(super) fn backward(size: usize, along: &Along, remainder: usize) -> Self {
        let Along { kernel, stride, padding: (before, _), dilation } = *along;
        let from = before.saturating_sub(remainder).div_ceil(stride);
        let end = (size + before).saturating_sub(remainder).div_ceil(stride);
        let seen = || (0..kernel).filter(|index| index * dilation % stride == remainder);
        let lead = seen().next_back().map_or(0, |index| index * dilation / stride).saturating_sub(from);
        let offset = |index| from + lead - index * dilation / stride;
        let taps = seen().map(|index| AxisTap { plane: 0, offset: offset(index), index }).collect();
        let results = along.results(size);
        Self {
            size: results,
            stride: 1,
            before: lead,
            count: end.saturating_sub(from),
            first: (stride * from + remainder).saturating_sub(before),
            step: stride,
            taps,
        }
    }

    /// The furthest that a tap sees.
    fn reach(&self) -> usize {
        self.taps.iter().map(|tap| tap.offset).max().unwrap_or(0)
    }

    /// Places of a plane from one line (or picture) to the next: zeros at the end that are zeros at the start are shared.
    fn pitch(&self) -> usize {
        let all = self.count + self.reach();
        let lead = (self.before + 1).saturating_sub(self.stride).div_ceil(self.stride);
        let trail = all.saturating_sub((self.before + self.size).div_ceil(self.stride));
        all - lead.min(trail)
    }

    /// The places of plane `plane`, from `from` on and `count` of them, that are of the picture: the range among them, and
    /// the first one's place in the picture.
    fn inside(&self, plane: usize, from: usize, count: usize) -> (std::ops::Range<usize>, usize) {
        let start = self.before.saturating_sub(plane).div_ceil(self.stride).max(from);
        let end = (self.size + self.before).saturating_sub(plane).div_ceil(self.stride).min(from + count).max(start);
        (start - from..end - from, (start * self.stride + plane).saturating_sub(self.before))
    }
}

/// A value of the kernel: its plane, how far into it, and its index in the kernel, row by row.
#[derive(Clone, Copy, Debug)]
struct Tap {
    plane: usize,
    down: usize,
    right: usize,
    index: usize,
}

/// A kernel on its way over pictures `[channels][rows.size][columns.size]`.
#[derive(Clone, Debug)]
pub(super) struct Slide {
    pub(super) channels: usize,
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    taps: Vec<Tap>,
}

/// Results that are computed at once: rows of one picture, or some pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    pub(super) picture: usize,
    pub(super) pictures: usize,
    pub(super) row: usize,
    pub(super) rows: usize,
}

/// A band's pictures as planes: `[channels][planes][len]`.
#[derive(Debug, Default)]
pub(super) struct Planes<C> {
    pub(super) cells: Vec<C>,
    /// Cells of a channel, all its planes.
    pub(super) channel: usize,
    /// For each tap, how far into a channel it sees.
    pub(super) taps: Vec<usize>,
    /// Places from the first result to the last.
    pub(super) places: usize,
    /// From one line to the next, from one picture to the next.
    pub(super) pitch: [usize; 2],
}

impl Slide {
    pub(super) fn new(channels: usize, rows: Axis, columns: Axis, kernel: usize) -> Self {
        let across = columns.stride;
        let tap = |down: &AxisTap, right: &AxisTap| Tap {
            plane: down.plane * across + right.plane,
            down: down.offset,
            right: right.offset,
            index: down.index * kernel + right.index,
        };
        let taps = rows.taps.iter().flat_map(|down| columns.taps.iter().map(move |right| tap(down, right))).collect();
        Self { channels, rows, columns, taps }
    }

    /// Indices of the taps in the kernel, row by row.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + Clone {
        self.taps.iter().map(|tap| tap.index)
    }

    /// Values of a picture.
    pub(super) fn size(&self) -> usize {
        self.channels * self.rows.size * self.columns.size
    }

    fn planes(&self) -> usize {
        self.rows.stride * self.columns.stride
    }

    /// All results, in parts whose planes stay in a core's cache.
    pub(super) fn bands(&self, pictures: usize) -> impl Iterator<Item = Band> {
        let places = (BAND / (self.channels * self.planes())).min(PLACES);
        let line = self.columns.pitch();
        let (rows, whole) = (self.rows.count, places / (line * self.rows.pitch()).max(1));
        let (size, height) = if whole > 0 { (whole, rows) } else { (1, (places / line).clamp(1, rows.max(1))) };
        (0..pictures).step_by(size).flat_map(move |picture| {
            (0..rows).step_by(height).map(move |row| Band {
                picture,
                pictures: size.min(pictures - picture),
                row,
                rows: height.min(rows - row),
            })
        })
    }

    /// Lays out the pictures that a band's results need.
    pub(super) fn pack<C: Cell>(&self, x: &[f32], band: &Band, planes: &mut Planes<C>) {
        let (line, picture) = (self.columns.pitch(), self.rows.pitch());
        let lines = (band.pictures - 1) * picture + band.rows + self.rows.reach();
        planes.places = ((band.pictures - 1) * picture + band.rows - 1) * line + self.columns.count;
        let mut len = lines * line + self.columns.reach() + SLACK;
        if len.is_multiple_of(256) {
            len += 16; // channels must not all meet in the same sets of the cache
        }
        planes.pitch = [line, picture * line];
        planes.channel = self.planes() * len;
        planes.taps.clear();
        planes.taps.extend(self.taps.iter().map(|tap| tap.plane * len + tap.down * line + tap.right));
        planes.cells.clear();
        planes.cells.resize(self.channels.div_ceil(C::CHANNELS) * planes.channel, C::default());
        let (height, width) = (self.rows.size, self.columns.size);
        for channel in 0..self.channels {
            let cells = &mut planes.cells[channel / C::CHANNELS * planes.channel..][..planes.channel];
            for (plane, cells) in cells.chunks_exact_mut(len).enumerate() {
                let (down, right) = (plane / self.columns.stride, plane % self.columns.stride);
                let (rows, first) = self.rows.inside(down, band.row, band.rows + self.rows.reach());
                let (columns, left) = self.columns.inside(right, 0, self.columns.count + self.columns.reach());
                if columns.is_empty() {
                    continue;
                }
                for index in 0..band.pictures {
                    let x = &x[((band.picture + index) * self.channels + channel) * height * width..][..height * width];
                    if line == 1 && width == 1 && !rows.is_empty() {
                        // A column: its rows are one line.
                        let cells = &mut cells[index * picture..][rows.clone()];
                        C::put(&x[first..], self.rows.stride, channel % C::CHANNELS, cells);
                        continue;
                    }
                    for (step, row) in rows.clone().enumerate() {
                        let x = &x[(first + step * self.rows.stride) * width + left..];
                        let cells = &mut cells[(index * picture + row) * line..][columns.clone()];
                        C::put(x, self.columns.stride, channel % C::CHANNELS, cells);
                    }
                }
            }
        }
    }

    /// Lays out gradients of a band's results, `[channels][len]` with zeros where there are no results; `len` is whole steps
    /// of [`SLACK`].
    pub(super) fn pack_results<C: Cell>(&self, y: &[f32], channels: usize, band: &Band, planes: &mut Planes<C>) {
        let [line, picture] = [self.columns.pitch(), self.rows.pitch() * self.columns.pitch()];
        let (rows, columns) = (self.rows.count, self.columns.count);
        planes.places = (band.pictures - 1) * picture + (band.rows - 1) * line + columns;
        planes.channel = planes.places.next_multiple_of(SLACK);
        planes.cells.clear();
        planes.cells.resize(channels * planes.channel, C::default());
        for (channel, cells) in planes.cells.chunks_exact_mut(planes.channel).enumerate() {
            for index in 0..band.pictures {
                let y = &y[((band.picture + index) * channels + channel) * rows * columns..][..rows * columns];
                for row in 0..band.rows {
                    let y = &y[(band.row + row) * columns..];
                    C::put(y, 1, 0, &mut cells[index * picture + row * line..][..columns]);
                }
            }
        }
    }
}

/// What planes hold: a value of one channel, or of two side by side.
pub(super) trait Cell: Copy + Default {
    /// Channels of a cell.
    const CHANNELS: usize;

    /// Puts every `stride`th value into one channel of the cells.
    fn put(x: &[f32], stride: usize, channel: usize, cells: &mut [Self]);
}

impl Cell for f32 {
    const CHANNELS: usize = 1;

    fn put(x: &[f32], stride: usize, _: usize, cells: &mut [Self]) {
        if stride == 1 {
            cells.copy_from_slice(&x[..cells.len()]);
        } else {
            cells.iter_mut().zip(x.iter().step_by(stride)).for_each(|(cell, x)| *cell = *x);
        }
    }
}

impl Cell for bf16 {
    const CHANNELS: usize = 1;

    fn put(x: &[f32], stride: usize, _: usize, cells: &mut [Self]) {
        cells.iter_mut().zip(x.iter().step_by(stride)).for_each(|(cell, x)| *cell = bf16::from_f32(*x));
    }
}

impl Cell for [bf16; 2] {
    const CHANNELS: usize = 2;

    fn put(x: &[f32], stride: usize, channel: usize, cells: &mut [Self]) {
        cells.iter_mut().zip(x.iter().step_by(stride)).for_each(|(cell, x)| cell[channel] = bf16::from_f32(*x));
    }
}
