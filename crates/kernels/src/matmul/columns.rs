//! The inputs of a product, one column a position, in the form that the kernel of a weight type reads.
//!
//! For weights in blocks it is `[step][column]`: a step is what the kernel takes of the inner dimension at a time before it
//! goes on to the next column. For plain weights it is `[column][value]`. The inner dimension is padded with zeros.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use half::bf16;

use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;

/// Values of a step of integers.
pub(crate) const STEP: usize = 32;
/// Rows of a panel, and sums of a product of floats.
pub(crate) const LANES: usize = 16;
/// Bytes of a line of a cache.
pub(crate) const LINE: usize = 64;
/// Panels of short blocks that are turned and go over one column together: memory is faster with several streams that are fetched
/// a little ahead than with one, and slower where the parts of a long block are read out of order.
pub(crate) const TOGETHER: usize = 4;
/// Values of the inner dimension after which the sums of a product of floats are added up.
pub(crate) const BLOCK: usize = 1024;
/// Columns that go over a panel before it is left: their sums stay in the first cache.
pub(crate) const COLUMNS: usize = 96;
/// The same where a panel is multiplied so fast that to unpack it takes long.
pub(crate) const MOST: usize = 2 * COLUMNS;

/// Largest integer a value is rounded to: `hi` then stays within ±127.
const LARGEST: f32 = 32639.0;

/// 32 values as 16-bit integers with a common scale: `value = scale · q`.
///
/// 16 bits, so that the result is that of the weights as they are stored: with 8 bits, as other runtimes have it, the
/// rounding of the inputs alone moves log-probabilities by tenths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    pub q: [i16; STEP],
    pub scale: f32,
    /// Sum of the values.
    pub sum: f32,
    /// Sums of the integers of each half.
    pub sums: [i32; 2],
}

/// A [`Short`] in bytes, for processors that multiply these: `q = 256 · hi + lo`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(crate) struct Step {
    pub hi: [i8; STEP],
    pub lo: [i8; STEP],
    pub scale: f32,
    pub sum: f32,
    pub sums: [i32; 2],
}

/// The scale of values of which the largest has these bits without its sign, and what they are multiplied with, if there is
/// anything to round. What is not finite makes the scale NaN, and so every result.
#[inline(always)]
pub(crate) fn scale(bits: u32) -> (f32, Option<f32>) {
    let most = f32::from_bits(bits);
    match bits {
        _ if bits >= f32::INFINITY.to_bits() => (f32::NAN, None),
        _ if most < 1e-30 => (0.0, None), // no weight makes a difference of so little
        _ => (most / LARGEST, Some(LARGEST / most)),
    }
}

impl Short {
    const ZERO: Self = Self { q: [0; STEP], scale: 0.0, sum: 0.0, sums: [0; 2] };

    /// Rounds 32 values.
    #[inline(always)]
    fn new(values: &[f32; STEP]) -> Self {
        let bits = values.iter().fold(0, |most, value| (value.to_bits() & 0x7fff_ffff).max(most));
        let (scale, factor) = scale(bits);
        let mut short = Self { scale, ..Self::ZERO };
        if let Some(factor) = factor {
            for (i, (q, value)) in short.q.iter_mut().zip(values).enumerate() {
                *q = (value * factor).round_ties_even() as i16;
                short.sums[i / 16] += i32::from(*q);
            }
        }
        short.sum = scale * (short.sums[0] + short.sums[1]) as f32;
        short
    }
}

impl Step {
    pub(crate) const ZERO: Self = Self { hi: [0; STEP], lo: [0; STEP], scale: 0.0, sum: 0.0, sums: [0; 2] };
}

/// Sixteen columns of a [`Step`], as tiles.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Sixteen {
    pub hi: [[i8; STEP]; LANES],
    pub lo: [[i8; STEP]; LANES],
    pub scale: [f32; LANES],
    pub sum: [f32; LANES],
}

impl Sixteen {
    const ZERO: Self = Self { hi: [[0; STEP]; LANES], lo: [[0; STEP]; LANES], scale: [0.0; LANES], sum: [0.0; LANES] };
}

/// A value that begins where a line of the cache does.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lined<T>(pub T);

/// Values that begin where a line of the cache does: each register of them is in one line.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    values: Vec<T>,
    from: usize,
}

impl<T: Copy> Aligned<T> {
    fn new(value: T, len: usize) -> Self {
        let spare = LINE / size_of::<T>();
        let mut values = vec![value; len + spare];
        let from = values.as_ptr().align_offset(LINE).min(spare);
        values.truncate(from + len); // which stays where it is
        Self { values, from }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.from..]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.from..]
    }
}

/// Columns in the form of one kind of kernel.
#[derive(Debug)]
pub(crate) enum Form {
    /// For weights in blocks of integers.
    Shorts(Vec<Short>),
    /// The same in bytes.
    Steps(Vec<Step>),
    /// The same in tiles of sixteen columns, the last ones padded: of sixteen the steps one after another.
    Sixteens(Vec<Sixteen>),
    /// For plain weights.
    Floats(Aligned<f32>),
    /// For bf16 weights where the processor multiplies bf16: rounded.
    Bf16(Aligned<bf16>),
    /// The same in tiles: of 96 columns the steps one after another, of a step the tiles of sixteen columns each, of a tile the pairs
    /// of values; one column alone stays as it is.
    Tiles(Aligned<bf16>),
}

/// Which form a weight type wants, for so many columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shorts,
    Steps,
    Sixteens,
    Floats,
    Bf16,
    Tiles,
}

impl Kind {
    pub(crate) fn of(dtype: Dtype, isa: Isa, count: usize) -> Self {
        match dtype {
            Dtype::BF16 if isa == Isa::Amx => Self::Tiles,
            Dtype::BF16 if isa == Isa::Avx512Bf16 => Self::Bf16,
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Self::Floats,
            _ if isa == Isa::Amx && count > LANES / 2 => Self::Sixteens,
            _ if isa >= Isa::Avx512 || isa == Isa::Dot => Self::Steps,
            _ => Self::Shorts,
        }
    }

    /// Columns that go over a panel together.
    pub(crate) fn together(self) -> usize {
        if self == Self::Sixteens { MOST } else { COLUMNS }
    }
}

/// `count` columns of `len` values.
#[derive(Debug)]
pub(crate) struct Columns {
    pub form: Form,
    pub count: usize,
    /// Values of a column of floats, zeros included.
    pub stride: usize,
}

impl Columns {
    /// Brings `x`, `[count][len]`, into a form.
    pub(crate) fn new(cpu: &Cpu, kind: Kind, x: &[f32], len: usize) -> Self {
        let (count, stride) = (x.len() / len.max(1), len.next_multiple_of(STEP));
        // Weights in blocks have rows of whole blocks, and so of whole steps.
        let steps = len / STEP;
        let at = |step: usize, column: usize| x[column * len..][step * STEP..].first_chunk().unwrap_or(&[0.0; STEP]);
        let form = match kind {
            Kind::Shorts => {
                Form::Shorts(fill(cpu, [steps, count, count], |s, c, place| place.write(Short::new(at(s, c)))))
            }
            Kind::Steps => Form::Steps(fill(cpu, [steps, count, count], |s, c, place| {
                let step = place.write(Step::ZERO);
                (step.scale, step.sums) = to_bytes(cpu.isa(), at(s, c), &mut step.hi, &mut step.lo);
                step.sum = step.scale * (step.sums[0] + step.sums[1]) as f32;
                step
            })),
            Kind::Sixteens => {
                let sizes = [steps, count.div_ceil(LANES), 1];
                Form::Sixteens(fill(cpu, sizes, |s, block, place| {
                    let all = place.write(Sixteen::ZERO);
                    for (i, c) in (block * LANES..count).take(LANES).enumerate() {
                        let (scale, sums) = to_bytes(cpu.isa(), at(s, c), &mut all.hi[i], &mut all.lo[i]);
                        (all.scale[i], all.sum[i]) = (scale, scale * (sums[0] + sums[1]) as f32);
                    }
                    all
                }))
            }
            Kind::Floats => Form::Floats(padded(cpu, x, [len, stride], 0.0, |values, out| out.copy_from_slice(values))),
            Kind::Bf16 => Form::Bf16(padded(cpu, x, [len, stride], bf16::ZERO, to_bf16(cpu.isa()))),
            Kind::Tiles => {
                Form::Tiles(tiled(padded(cpu, x, [len, stride], bf16::ZERO, to_bf16(cpu.isa())), cpu, stride))
            }
        };
        Self { form, count, stride }
    }

    /// Whether several turned panels go over a column together.
    pub(crate) fn takes_several(&self) -> bool {
        matches!(self.form, Form::Steps(_))
    }

    /// So many values of `count` columns are multiplied before the next ones are, that they stay in the second cache while they
    /// go over several panels.
    pub(crate) fn chunk(&self, count: usize) -> usize {
        match self.form {
            Form::Tiles(_) => self.stride, // their sums begin at zero
            _ if count <= LANES => self.stride,
            Form::Floats(_) | Form::Sixteens(_) => BLOCK,
            _ => 2 * BLOCK,
        }
    }
}

/// Columns one after another, each of `len` values and zeros up to `stride`.
fn padded<T: Copy + Send>(
    cpu: &Cpu,
    x: &[f32],
    [len, stride]: [usize; 2],
    zero: T,
    make: fn(&[f32], &mut [T]),
) -> Aligned<T> {
    let mut out = Aligned::new(zero, x.len() / len * stride);
    let shared = crate::shared::Disjoint::new(&mut out);
    cpu.pool.run(x.len() / len, |column| {
        // SAFETY: a column is of one task.
        #[allow(unsafe_code)]
        make(&x[column * len..][..len], unsafe { shared.slice(column * stride, len) });
    });
    out
}

/// Columns of whole steps, one after another, in tiles.
fn tiled(columns: Aligned<bf16>, cpu: &Cpu, stride: usize) -> Aligned<bf16> {
    let (count, steps) = (columns.len() / stride, stride / STEP);
    if count == 1 {
        return columns;
    }
    let mut out = Aligned::new(bf16::ZERO, count.next_multiple_of(LANES) * stride);
    let shared = crate::shared::Disjoint::new(&mut out);
    let groups = count.div_ceil(COLUMNS);
    cpu.pool.run(groups * steps, |task| {
        let (group, step) = (task / steps, task % steps);
        let first = group * COLUMNS;
        let blocks = COLUMNS.min(count - first).div_ceil(LANES);
        let size = blocks * LANES * STEP;
        // SAFETY: a step of a group is of one task.
        #[allow(unsafe_code)]
        let tiles = unsafe { shared.slice(first * stride + step * size, size) };
        for (block, tile) in tiles.chunks_exact_mut(LANES * STEP).enumerate() {
            for column in 0..LANES.min(count - first - block * LANES) {
                let values = &columns[(first + block * LANES + column) * stride + step * STEP..][..STEP];
                for (line, pair) in tile.chunks_exact_mut(2 * LANES).zip(values.as_chunks::<2>().0) {
                    line[2 * column..][..2].copy_from_slice(pair);
                }
            }
        }
    });
    out
}

/// Of each `group` of the `count` columns the steps in order, all columns of one after another, on all threads. `make` writes the
/// step of a column to its place.
fn fill<T: Send>(
    cpu: &Cpu,
    [steps, count, group]: [usize; 3],
    make: impl for<'a> Fn(usize, usize, &'a mut MaybeUninit<T>) -> &'a mut T + Sync,
) -> Vec<T> {
    const STEPS: usize = 16; // a task
    const FEW: usize = 32 << 10; // bytes that are not worth handing over
    let mut out = Vec::with_capacity(steps * count);
    let places = &mut out.spare_capacity_mut()[..steps * count];
    let size = if size_of_val(places) < FEW { steps.max(1) } else { STEPS };
    let shared = crate::shared::Disjoint::new(places);
    let tasks = steps.div_ceil(size);
    cpu.pool.run(count.div_ceil(group.max(1)) * tasks, |task| {
        let (first, from) = (task / tasks * group, task % tasks * size);
        let (width, to) = (group.min(count - first), steps.min(from + size));
        // SAFETY: these steps of a group are of one task.
        #[allow(unsafe_code)]
        let places = unsafe { shared.slice(first * steps + from * width, (to - from) * width) };
        for column in 0..width {
            for step in from..to {
                make(step, first + column, &mut places[(step - from) * width + column]);
            }
        }
    });
    // SAFETY: each place was handed out, and what `make` gives shows that it was written.
    #[allow(unsafe_code)]
    unsafe {
        out.set_len(steps * count);
    }
    out
}

/// Rounds 32 values to high and low bytes: their scale, and the sums of the halves.
fn to_bytes(isa: Isa, values: &[f32; STEP], hi: &mut [i8; STEP], lo: &mut [i8; STEP]) -> (f32, [i32; 2]) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 {
        // SAFETY: an `Isa` above the baseline is there only if the processor has it.
        #[allow(unsafe_code)]
        return unsafe { crate::avx512::inputs::step(values, hi, lo) };
    }
    let _ = isa;
    let short = Short::new(values);
    for (i, q) in short.q.iter().enumerate() {
        (hi[i], lo[i]) = (((q + 128) >> 8) as i8, *q as i8);
    }
    (short.scale, short.sums)
}

fn to_bf16(isa: Isa) -> fn(&[f32], &mut [bf16]) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512Bf16 {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        return |values, out| unsafe { crate::avx512::inputs::round(values, out) };
    }
    let _ = isa;
    |values, out| out.iter_mut().zip(values).for_each(|(out, value)| *out = bf16::from_f32(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_inputs_keep_sixteen_bits_and_their_sums() {
        let values: [f32; STEP] = std::array::from_fn(|i| ((i * 7919) % 101) as f32 - 50.0);
        let short = Short::new(&values);
        for (q, value) in short.q.iter().zip(values) {
            assert!((f32::from(*q) * short.scale - value).abs() <= 50.0 / LARGEST, "{value}");
        }
        assert!((short.sum - values.iter().sum::<f32>()).abs() < 0.05);
        for isa in Isa::available() {
            let (mut hi, mut lo) = ([0; STEP], [0; STEP]);
            assert_eq!(to_bytes(isa, &values, &mut hi, &mut lo), (short.scale, short.sums));
            for i in 0..STEP {
                assert_eq!(i16::from(hi[i]) * 256 + i16::from(lo[i]), short.q[i]);
            }
        }
    }

    #[test]
    fn what_is_not_finite_makes_the_scale_nan() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; STEP];
            values[17] = bad;
            assert!(Short::new(&values).scale.is_nan() && Short::new(&values).sum.is_nan());
        }
        assert_eq!(Short::new(&[1e-38; STEP]).scale, 0.0);
        let most = Short::new(&[f32::MAX; STEP]);
        assert!(most.scale.is_finite() && most.q[0] == LARGEST as i16);
    }
}
