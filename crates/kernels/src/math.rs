//! Elementwise functions, written so that a compiler makes vectors of them; the same bits with every set of instructions.

/// `eˣ` to within 2 units in the last place for `x ≤ 88`; 0 below −87.3, NaN for NaN. Range reduction to `±ln 2 / 2` and the
/// Taylor polynomial of degree 7 (Muller, *Elementary Functions*, §11).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4]; // exact in few bits, and the rest
    let clamped = if x < -87.3 { -87.3 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    // Adding and taking 1.5 · 2²³ rounds to the nearest integer, which the lower bits of the sum then hold.
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = n.mul_add(-LN2[0], clamped);
    let r = n.mul_add(-LN2[1], r);
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let y = p * power;
    if x < -87.3 { 0.0 } else { y }
}

/// `tanh x` to within 1e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs()); // 0 for large x
    let y = (1.0 - e) / (1.0 + e);
    y.copysign(x)
}

/// Sine and cosine of `x` less a whole number of half turns, to within 2e-7 for `|x|` up to some thousands; of what has that
/// period, like the square of the sine. The Taylor polynomials of degree 11 and 12.
#[inline(always)]
pub(crate) fn sin_cos_mod_pi(x: f32) -> [f32; 2] {
    const PI: [f32; 2] = [3.140_625, 9.676_536e-4]; // exact in few bits, and the rest
    let n = x.mul_add(std::f32::consts::FRAC_1_PI, 12_582_912.0) - 12_582_912.0;
    let r = n.mul_add(-PI[1], n.mul_add(-PI[0], x));
    let z = r * r;
    let mut sin = -1.0 / 39_916_800.0;
    for c in [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0] {
        sin = z.mul_add(sin, c);
    }
    let mut cos = 1.0 / 479_001_600.0;
    for c in [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0] {
        cos = z.mul_add(cos, c);
    }
    [r * sin, cos]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_of_sines_agree_with_those_of_f64() {
        for i in -300_000..300_000 {
            let x = i as f32 * 1e-2;
            let ([sin, cos], (exact_sin, exact_cos)) = (sin_cos_mod_pi(x).map(f64::from), f64::from(x).sin_cos());
            let off = (sin * sin - exact_sin * exact_sin).abs().max((sin * cos - exact_sin * exact_cos).abs());
            assert!(off < 4e-7, "{x}: off by {off}");
        }
        assert!(sin_cos_mod_pi(f32::NAN)[0].is_nan() && sin_cos_mod_pi(f32::INFINITY)[0].is_nan());
    }

    #[test]
    fn exp_and_tanh_agree_with_those_of_f64() {
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3;
            let (y, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((y - exact).abs() <= 2.5e-7 * exact, "exp {x}: {y} is not {exact}");
            let x = x * 0.1;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "tanh {x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((tanh(1e9), tanh(-1e9)), (1.0, -1.0));
    }
}
