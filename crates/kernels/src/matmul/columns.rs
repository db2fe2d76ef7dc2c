//! The inputs of a product, one column a position, in the form that the kernel of a weight type reads.
//!
//! For weights in blocks it is `[step][column]`: a step is what the kernel takes of the inner dimension at a time before it
//! goes on to the next column. For plain weights it is `[column][value]`. The inner dimension is padded with zeros.

use half::bf16;

use crate::cpu::{Cpu, Isa};
use crate::dtype::Dtype;

/// Values of a step of integers.
pub(crate) const STEP: usize = 32;
/// Rows of a panel, and sums of a product of floats.
pub(crate) const LANES: usize = 16;
/// Values of the inner dimension after which the sums of a product of floats are added up.
pub(crate) const BLOCK: usize = 2048;

/// Columns that go over a panel before it is left: their sums stay in the first cache.
pub(crate) const COLUMNS: usize = 96;

/// Largest integer a value is rounded to: `hi` then stays within ±127.
const MOST: f32 = 32639.0;

/// 32 values as 16-bit integers with a common scale: `value = scale · (256 · hi + lo)`.
///
/// 16 bits, so that the result is that of the weights as they are stored: with 8 bits, as other runtimes have it, the
/// rounding of the inputs alone moves log-probabilities by tenths.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(crate) struct Step {
    pub hi: [i8; STEP],
    pub lo: [i8; STEP],
    pub scale: f32,
    /// Sum of the values.
    pub sum: f32,
    /// Sums of the integers of each half.
    pub sums: [i32; 2],
}

impl Step {
    pub(crate) const ZERO: Self = Self { hi: [0; STEP], lo: [0; STEP], scale: 0.0, sum: 0.0, sums: [0; 2] };

    /// Sets the scale for values of which the largest has these bits without its sign; what they are multiplied with, if
    /// there is anything to round.
    #[inline(always)]
    pub(crate) fn scale(&mut self, bits: u32) -> Option<f32> {
        let most = f32::from_bits(bits);
        if bits >= f32::INFINITY.to_bits() {
            (self.scale, self.sum) = (f32::NAN, f32::NAN);
            return None;
        }
        if most < 1e-30 {
            return None; // no weight makes a difference of so little
        }
        self.scale = most / MOST;
        Some(MOST / most)
    }

    /// Rounds 32 values. One that is not finite makes the scale NaN, and so every result.
    #[inline(always)]
    fn new(values: &[f32; STEP]) -> Self {
        let bits = values.iter().fold(0, |most, value| (value.to_bits() & 0x7fff_ffff).max(most));
        let mut step = Self::ZERO;
        let Some(factor) = step.scale(bits) else { return step };
        for half in 0..2 {
            for i in half * 16..half * 16 + 16 {
                let q = (values[i] * factor).round_ties_even() as i32;
                let hi = (q + 128) >> 8;
                step.hi[i] = hi as i8;
                step.lo[i] = (q - (hi << 8)) as i8;
                step.sums[half] += q;
            }
        }
        step.sum = step.scale * (step.sums[0] + step.sums[1]) as f32;
        step
    }
}

/// Columns in the form of one kind of kernel.
#[derive(Debug)]
pub(crate) enum Form {
    /// For weights in blocks of integers.
    Steps(Vec<Step>),
    /// For plain weights.
    Floats(Vec<f32>),
    /// For bf16 weights where the processor multiplies bf16: rounded.
    Bf16(Vec<bf16>),
}

/// Which form a weight type wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Steps,
    Floats,
    Bf16,
}

impl Kind {
    pub(crate) fn of(dtype: Dtype, isa: Isa) -> Self {
        match dtype {
            Dtype::BF16 if isa == Isa::Avx512Bf16 => Self::Bf16,
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Self::Floats,
            _ => Self::Steps,
        }
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
        let form = match kind {
            Kind::Steps => Form::Steps(fill(cpu, x, len, count, to_step(cpu.isa()))),
            Kind::Floats => Form::Floats(padded(cpu, x, [len, stride], 0.0, |values, out| out.copy_from_slice(values))),
            Kind::Bf16 => Form::Bf16(padded(cpu, x, [len, stride], bf16::ZERO, to_bf16(cpu.isa()))),
        };
        Self { form, count, stride }
    }
}

/// Columns one after another, each of `len` values and zeros up to `stride`.
fn padded<T: Copy + Send>(
    cpu: &Cpu,
    x: &[f32],
    [len, stride]: [usize; 2],
    zero: T,
    make: fn(&[f32], &mut [T]),
) -> Vec<T> {
    let mut out = vec![zero; x.len() / len * stride];
    let shared = crate::shared::Disjoint::new(&mut out);
    cpu.pool.run(x.len() / len, |column| {
        // SAFETY: a column is of one task.
        #[allow(unsafe_code)]
        make(&x[column * len..][..len], unsafe { shared.slice(column * stride, len) });
    });
    out
}

/// Steps in order, all columns of one after another, on all threads.
fn fill(cpu: &Cpu, x: &[f32], len: usize, count: usize, make: fn(&[f32; STEP]) -> Step) -> Vec<Step> {
    const STEPS: usize = 16; // a task
    let steps = len.div_ceil(STEP);
    let mut out = vec![Step::ZERO; steps * count];
    let shared = crate::shared::Disjoint::new(&mut out);
    let (tasks, size) = if count < 8 { (1, steps) } else { (steps.div_ceil(STEPS), STEPS) };
    cpu.pool.run(tasks, |task| {
        for step in task * size..((task + 1) * size).min(steps) {
            // SAFETY: a step is of one task.
            #[allow(unsafe_code)]
            let row = unsafe { shared.slice(step * count, count) };
            for (column, place) in row.iter_mut().enumerate() {
                // Weights in blocks have rows of whole blocks, and so of whole steps.
                if let Some(values) = x[column * len..][step * STEP..].first_chunk() {
                    *place = make(values);
                }
            }
        }
    });
    out
}

/// [`Step::new`] with the instructions there are.
fn to_step(isa: Isa) -> fn(&[f32; STEP]) -> Step {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 {
        // SAFETY: an `Isa` above the baseline is there only if the processor has it.
        #[allow(unsafe_code)]
        return |values| unsafe { crate::avx512::inputs::step(values) };
    }
    let _ = isa;
    Step::new
}

fn to_bf16(isa: Isa) -> fn(&[f32], &mut [bf16]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512Bf16 {
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
    fn a_step_keeps_sixteen_bits_and_its_sums() {
        let values: [f32; STEP] = std::array::from_fn(|i| ((i * 7919) % 101) as f32 - 50.0);
        let first = Step::new(&values);
        for isa in Isa::available() {
            let step = to_step(isa)(&values);
            assert_eq!((step.hi, step.lo, step.sums), (first.hi, first.lo, first.sums));
            for (i, value) in values.iter().enumerate() {
                let q = i32::from(step.hi[i]) * 256 + i32::from(step.lo[i]);
                assert!((q as f32 * step.scale - value).abs() <= 50.0 / MOST, "{value}");
            }
            assert!((step.sum - values.iter().sum::<f32>()).abs() < 0.05);
        }
    }

    #[test]
    fn what_is_not_finite_makes_the_scale_nan() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; STEP];
            values[17] = bad;
            assert!(Step::new(&values).scale.is_nan());
        }
        assert_eq!(Step::new(&[1e-38; STEP]).scale, 0.0);
        let most = Step::new(&[f32::MAX; STEP]);
        assert!(most.scale.is_finite() && most.hi[0] == 127);
    }
}
