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

#[cfg(test)]
mod tests {
    use super::*;

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
