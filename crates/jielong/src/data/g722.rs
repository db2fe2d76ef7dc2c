//! Speech in G.722 → samples: ITU-T G.722 (09/2012) at 64 kbit/s, mode 1.
//!
//! A byte is two samples at 16 kHz. Six bits code the lower half of the spectrum and two the upper half, each as the difference
//! from what was expected, in steps that follow the signal (ADPCM); two filters put the halves together. Names of variables in
//! comments are those of the recommendation's block diagrams.

/// Values of the quantisers (tables 7 to 10 of the recommendation), in 1/8 of a step, signs as the codes have them.
const LOWER4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const LOWER6: [i32; 30] = [
    24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944,
    4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
];
const UPPER2: [i32; 4] = [-7408, -1616, 7408, 1616];

/// What a code does to the logarithm of its step.
const LOWER_GROWTH: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const UPPER_GROWTH: [i32; 4] = [798, -214, 798, -214];

/// 2048 · 2^(n/32)
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Half of the coefficients of the synthesis filter; the other half mirrors it.
const FILTER: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Samples a second.
pub(super) const RATE: u32 = 16_000;

/// Decodes a stream from its beginning: two samples a byte, 16 bits each.
pub(super) fn decode(bytes: &[u8]) -> Vec<i16> {
    let mut lower = Band::new(32);
    let mut upper = Band::new(8);
    let mut filter = [0i32; 24];
    let mut samples = Vec::with_capacity(2 * bytes.len());
    for &byte in bytes {
        let (low_code, high_code) = (usize::from(byte & 0x3f), usize::from(byte >> 6));
        // The output uses all six bits, the prediction only four, so that the others may be taken for data.
        let fine = (lower.step * lower6(low_code)) >> 15;
        let low = (lower.predicted + fine).clamp(-16384, 16383);
        let coarse = (lower.step * LOWER4[low_code >> 2]) >> 15;
        lower.adapt(coarse, LOWER_GROWTH[low_code >> 2], 18432, 8);
        let difference = (upper.step * UPPER2[high_code]) >> 15;
        let high = (upper.predicted + difference).clamp(-16384, 16383);
        upper.adapt(difference, UPPER_GROWTH[high_code], 22528, 10);

        filter.copy_within(2.., 0);
        (filter[22], filter[23]) = (low + high, low - high);
        let (mut even, mut odd) = (0, 0);
        for (n, &coefficient) in FILTER.iter().enumerate() {
            odd += filter[2 * n] * coefficient;
            even += filter[2 * n + 1] * FILTER[11 - n];
        }
        samples.extend([even, odd].map(|sum| (sum >> 11).clamp(-32768, 32767) as i16));
    }
    samples
}

/// The value of a code of six bits: four codes that no encoder sends, then falling magnitudes, negative ones first.
fn lower6(code: usize) -> i32 {
    match code {
        0..4 => -136,
        4..32 => -LOWER6[code - 4],
        32..62 => LOWER6[code - 32],
        62 => -432,
        _ => -136,
    }
}

/// A half of the spectrum: its step and its predictor of two poles and six zeros.
struct Band {
    /// The step, DET.
    step: i32,
    /// Its logarithm, NB.
    log: i32,
    /// What the next sample is expected to be, S.
    predicted: i32,
    /// Of which the zeros' part, SZ.
    zeros: i32,
    /// The last samples as they were reconstructed, RLT.
    reconstructed: [i32; 2],
    /// The signs of the last partial reconstructions, PLT.
    partial: [i32; 2],
    /// Coefficients of the poles, AL.
    poles: [i32; 2],
    /// The last differences, DLT.
    differences: [i32; 6],
    /// Coefficients of the zeros, BL.
    coefficients: [i32; 6],
}

impl Band {
    fn new(step: i32) -> Self {
        Self {
            step,
            log: 0,
            predicted: 0,
            zeros: 0,
            reconstructed: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            differences: [0; 6],
            coefficients: [0; 6],
        }
    }

    /// Learns from a difference.
    fn adapt(&mut self, difference: i32, growth: i32, most: i32, shift: i32) {
        // LOGSCL and SCALEL.
        self.log = (((self.log * 127) >> 7) + growth).clamp(0, most);
        let power = POWERS[(self.log >> 6 & 31) as usize];
        let exponent = shift - (self.log >> 11);
        self.step = if exponent < 0 { power << -exponent } else { power >> exponent } << 2;

        let saturated = |x: i32| x.clamp(-32768, 32767);
        let reconstructed = saturated(self.predicted + difference);
        let partial = saturated(self.zeros + difference);
        let same = |a: i32, b: i32| (a < 0) == (b < 0);
        // UPPOL2, then UPPOL1, which is bounded by it.
        let first = saturated(self.poles[0] << 2);
        let turned = if same(partial, self.partial[0]) { saturated(-first) } else { first };
        let towards = if same(partial, self.partial[1]) { 128 } else { -128 };
        let second = ((turned >> 7) + towards + ((self.poles[1] * 32512) >> 15)).clamp(-12288, 12288);
        let towards = if same(partial, self.partial[0]) { 192 } else { -192 };
        let bound = 15360 - second;
        let first = (((self.poles[0] * 32640) >> 15) + towards).clamp(-bound, bound);
        self.poles = [first, second];
        // UPZERO.
        let grow = if difference == 0 { 0 } else { 128 };
        for (coefficient, &before) in self.coefficients.iter_mut().zip(&self.differences) {
            let towards = if same(difference, before) { grow } else { -grow };
            *coefficient = saturated(towards + ((*coefficient * 32640) >> 15));
        }
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];
        // FILTEP, FILTEZ, PREDIC.
        let product = |value: i32, coefficient: i32| (coefficient * saturated(2 * value)) >> 15;
        let poles: i32 = (0..2).map(|n| product(self.reconstructed[n], self.poles[n])).sum();
        let zeros: i32 = (0..6).map(|n| product(self.differences[n], self.coefficients[n])).sum();
        self.zeros = saturated(zeros);
        self.predicted = saturated(saturated(poles) + self.zeros);
    }
}
