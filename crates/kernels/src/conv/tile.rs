//! Sums of products in registers: results of some channels at neighbouring places, and gradients of some weights.

use half::bf16;

use super::Factors;
use super::slide::{Cell, Planes};
use crate::cpu::Isa;
use crate::matmul::columns::LANES;

/// Channels of results that are computed at once.
pub(crate) const OUTPUTS: usize = 8;
/// Results of a channel that are computed at once, in registers of [`LANES`].
pub(crate) const WIDE: usize = 3;
/// Channels that portable code computes at once, for processors with fewer registers.
const NARROW: usize = 4;
/// Places over which gradients of weights are summed in registers: their planes stay in the first cache.
pub(crate) const LONGEST: usize = 512;

/// Whether pairs of bf16 are multiplied: not with AMX, where that is slower than f32 ([`Isa::best`]).
pub(super) fn pairs(isa: Isa, factors: Factors) -> bool {
    factors == Factors::Bf16 && isa == Isa::Avx512Bf16
}

/// What planes of a convolution hold.
pub(super) trait Product: Cell {
    /// `out[o][p] = Σ weights[channel, tap][o] · planes[channel][p + tap]`, with lines of `out` of whole registers.
    fn filter(isa: Isa, planes: &Planes<Self>, weights: &[[Self; OUTPUTS]], out: &mut Vec<f32>);
}

/// Checks that all that is read is there, and makes room; gives the length of a line of results.
fn checked<C>(planes: &Planes<C>, weights: usize, out: &mut Vec<f32>) -> usize {
    let len = planes.places.next_multiple_of(LANES);
    let channels = planes.cells.len() / planes.channel;
    assert!(planes.taps.iter().all(|tap| tap + len <= planes.channel), "taps outside the planes");
    assert!(weights == channels * planes.taps.len(), "{weights} weights");
    out.resize(OUTPUTS * len, 0.0);
    len
}

impl Product for f32 {
    fn filter(isa: Isa, planes: &Planes<Self>, weights: &[[Self; OUTPUTS]], out: &mut Vec<f32>) {
        let len = checked(planes, weights.len(), out);
        #[cfg(target_arch = "x86_64")]
        // SAFETY, of all calls: an `Isa` above the baseline is there only if the processor has it; the sizes were checked. The
        // kernels of AVX-512 are compiled for BF16 too, but for values of f32 no such instruction is in them.
        #[allow(unsafe_code)]
        match isa {
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => {
                return unsafe {
                    crate::avx512::conv::filter(&planes.cells, planes.channel, &planes.taps, weights, len, out)
                };
            }
            Isa::Avx2 => return unsafe { filter_avx2(planes, weights, len, out) },
            Isa::Baseline | Isa::Dot => {}
        }
        let _ = isa;
        filter::<false>(planes, weights, len, out);
    }
}

impl Product for [bf16; 2] {
    fn filter(isa: Isa, planes: &Planes<Self>, weights: &[[Self; OUTPUTS]], out: &mut Vec<f32>) {
        let len = checked(planes, weights.len(), out);
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512Bf16 {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            return unsafe {
                crate::avx512::conv::filter(&planes.cells, planes.channel, &planes.taps, weights, len, out)
            };
        }
        unreachable!("pairs are made where they are multiplied, not for {isa} and {len} places");
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn filter_avx2(planes: &Planes<f32>, weights: &[[f32; OUTPUTS]], len: usize, out: &mut [f32]) {
    filter::<true>(planes, weights, len, out);
}

#[inline(always)]
fn add<const FUSED: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { a * b + sum }
}

#[inline(always)]
fn filter<const FUSED: bool>(planes: &Planes<f32>, weights: &[[f32; OUTPUTS]], len: usize, out: &mut [f32]) {
    for first in (0..OUTPUTS).step_by(NARROW) {
        for place in (0..len).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; NARROW];
            let parts = planes.cells.chunks_exact(planes.channel).zip(weights.chunks_exact(planes.taps.len()));
            for (x, weights) in parts {
                for (tap, weights) in planes.taps.iter().zip(weights) {
                    let x = &x[place + tap..][..LANES];
                    for o in 0..NARROW {
                        for lane in 0..LANES {
                            sums[o][lane] = add::<FUSED>(x[lane], weights[first + o], sums[o][lane]);
                        }
                    }
                }
            }
            for (o, sums) in sums.iter().enumerate() {
                out[(first + o) * len + place..][..LANES].copy_from_slice(sums);
            }
        }
    }
}

/// What planes of a gradient of weights hold.
pub(super) trait Correlated: Cell {
    /// Adds `Σ y[o][p] · x[channel][p + tap]` to `sums[channel, tap][o]`; lines of `y` are whole steps.
    fn sums(isa: Isa, x: &Planes<Self>, y: &[Self], sums: &mut [[f32; OUTPUTS]]);
}

/// [`Correlated::sums`], with its sizes checked.
pub(super) fn correlate<C: Correlated>(isa: Isa, x: &Planes<C>, y: &[C], sums: &mut [[f32; OUTPUTS]]) {
    let (len, channels) = (y.len() / OUTPUTS, x.cells.len() / x.channel);
    assert!(x.taps.iter().all(|tap| tap + len <= x.channel), "taps outside the planes");
    assert!(len.is_multiple_of(super::slide::SLACK) && y.len() == OUTPUTS * len, "lines of {len}");
    assert_eq!(sums.len(), channels * x.taps.len(), "sums");
    C::sums(isa, x, y, sums);
}

impl Correlated for f32 {
    fn sums(isa: Isa, x: &Planes<Self>, y: &[Self], sums: &mut [[f32; OUTPUTS]]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY, of all calls: an `Isa` above the baseline is there only if the processor has it; the sizes were checked. The
        // kernels of AVX-512 are compiled for BF16 too, but for values of f32 no such instruction is in them.
        #[allow(unsafe_code)]
        match isa {
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => {
                return unsafe { crate::avx512::conv::correlate(&x.cells, x.channel, &x.taps, y, sums) };
            }
            Isa::Avx2 => return unsafe { sums_avx2(x, y, sums) },
            Isa::Baseline | Isa::Dot => {}
        }
        let _ = isa;
        sums_of::<false>(x, y, sums);
    }
}

impl Correlated for bf16 {
    fn sums(isa: Isa, x: &Planes<Self>, y: &[Self], sums: &mut [[f32; OUTPUTS]]) {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512Bf16 {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            return unsafe { crate::avx512::conv::correlate(&x.cells, x.channel, &x.taps, y, sums) };
        }
        unreachable!(
            "bf16 is made where it is multiplied, not for {isa}: {} of {}, {}",
            y.len(),
            x.channel,
            sums.len()
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn sums_avx2(x: &Planes<f32>, y: &[f32], sums: &mut [[f32; OUTPUTS]]) {
    sums_of::<true>(x, y, sums);
}

#[inline(always)]
fn sums_of<const FUSED: bool>(x: &Planes<f32>, y: &[f32], sums: &mut [[f32; OUTPUTS]]) {
    let len = y.len() / OUTPUTS;
    for from in (0..len).step_by(LONGEST) {
        let count = LONGEST.min(len - from);
        for (cells, sums) in x.cells.chunks_exact(x.channel).zip(sums.chunks_exact_mut(x.taps.len())) {
            for (sums, tap) in sums.iter_mut().zip(&x.taps) {
                let cells = &cells[from + tap..][..count];
                for first in (0..OUTPUTS).step_by(NARROW) {
                    let y: [&[f32]; NARROW] = std::array::from_fn(|o| &y[(first + o) * len + from..][..count]);
                    let mut lanes = [[0.0f32; LANES]; NARROW];
                    for place in (0..count).step_by(LANES) {
                        let cells = &cells[place..][..LANES];
                        for o in 0..NARROW {
                            let y = &y[o][place..][..LANES];
                            for lane in 0..LANES {
                                lanes[o][lane] = add::<FUSED>(cells[lane], y[lane], lanes[o][lane]);
                            }
                        }
                    }
                    for (sum, lanes) in sums[first..].iter_mut().zip(lanes) {
                        *sum += lanes.iter().sum::<f32>();
                    }
                }
            }
        }
    }
}
