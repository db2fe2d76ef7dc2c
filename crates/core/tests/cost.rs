//! The closed sums of costs, held to loops over every step.

use jielong_core::cost::{Cost, LayerShape, Shape, Speed, cost, seconds, step};
use proptest::prelude::*;

/// What one pass over `tokens` tokens behind `before` others costs, counted one by one.
fn pass(shape: &Shape, before: usize, tokens: usize) -> Cost {
    let mut cost = Cost { steps: 1, weight_bytes: shape.weight_bytes().into(), ..Cost::default() };
    let big = |n: usize| n as u128;
    for layer in &shape.layers {
        let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let matrices = [
            [q, shape.hidden],
            [kv, shape.hidden],
            [kv, shape.hidden],
            [shape.hidden, q],
            [layer.intermediate, shape.hidden],
            [layer.intermediate, shape.hidden],
            [shape.hidden, layer.intermediate],
            [layer.router, shape.hidden],
        ];
        for position in before..before + tokens {
            cost.linear_flops += matrices.iter().map(|[rows, columns]| 2 * big(rows * columns)).sum::<u128>();
            for key in 0..=position {
                if layer.window.is_none_or(|window| position - key < window) {
                    cost.attention_flops += big(shape.heads * (2 * shape.head_dim + 2 * shape.head_dim));
                }
            }
        }
        let seen_by_any = (0..before + tokens).filter(|key| layer.window.is_none_or(|w| before < key + w)).count();
        cost.cache_bytes += big(seen_by_any * 2 * shape.kv_heads) * u128::from(shape.kv_bytes);
    }
    cost.head_flops = 2 * big(shape.hidden * shape.vocab);
    cost.kv_cache_bytes = big((before + tokens) * shape.layers.len() * 2 * shape.kv_heads) * u128::from(shape.kv_bytes);
    cost
}

fn passes(shape: &Shape, prompt: usize, new: usize) -> Vec<Cost> {
    let further = (0..new.saturating_sub(1)).map(|index| pass(shape, prompt + index, 1));
    (new > 0).then(|| pass(shape, 0, prompt)).into_iter().chain(further).collect()
}

fn sum(passes: &[Cost]) -> Cost {
    passes.iter().fold(Cost::default(), |sum, pass| Cost {
        steps: sum.steps + pass.steps,
        linear_flops: sum.linear_flops + pass.linear_flops,
        head_flops: sum.head_flops + pass.head_flops,
        attention_flops: sum.attention_flops + pass.attention_flops,
        kv_cache_bytes: pass.kv_cache_bytes,
        weight_bytes: sum.weight_bytes + pass.weight_bytes,
        cache_bytes: sum.cache_bytes + pass.cache_bytes,
    })
}

prop_compose! {
    fn layer()(intermediate in 1usize..20, router in 0usize..4, window in prop::option::of(1usize..60)) -> LayerShape {
        LayerShape { intermediate, router, window }
    }
}

prop_compose! {
    fn shape()(
        hidden in 1usize..20, kv_heads in 1usize..4, group in 1usize..4, head_dim in 1usize..9,
        layers in prop::collection::vec(layer(), 1..5), vocab in 1usize..50,
        layer_bytes in 0u64..1000, head_bytes in 0u64..1000, kv_bytes in 1u64..40,
    ) -> Shape {
        Shape { hidden, heads: kv_heads * group, kv_heads, head_dim, layers, vocab, layer_bytes, head_bytes, kv_bytes }
    }
}

proptest! {
    #[test]
    fn sums_are_those_of_a_loop(shape in shape(), prompt in 1usize..40, new in 0usize..80) {
        prop_assert_eq!(cost(&shape, prompt, new), sum(&passes(&shape, prompt, new)));
    }

    #[test]
    fn a_step_is_a_pass_over_one_token(shape in shape(), before in 0usize..80) {
        let alone = Cost { kv_cache_bytes: shape.position_bytes().into(), ..pass(&shape, before, 1) };
        prop_assert_eq!(step(&shape, before + 1), alone);
    }

    #[test]
    fn a_generation_takes_the_longer_time_of_each_step(
        shape in shape(), prompt in 1usize..40, new in 0usize..120, bandwidth in 1f64..1e4, ratio in -3f64..3.0,
    ) {
        let speed = Speed { bandwidth, flops: bandwidth * 10f64.powf(ratio) };
        let longer = |cost: &Cost| (cost.bytes_moved() as f64 / speed.bandwidth).max(cost.flops() as f64 / speed.flops);
        let expected: f64 = passes(&shape, prompt, new).iter().map(longer).sum();
        prop_assert!((seconds(&shape, prompt, new, speed) - expected).abs() <= 1e-9 * expected);
    }

    #[test]
    fn what_is_computed_of_a_head_is_what_is_legal(shape in shape(), new in 1usize..9, rows in 1usize..50) {
        let rows = rows.min(shape.vocab);
        let (whole, part) = (cost(&shape, 1, new), cost(&shape.with_head(rows), 1, new));
        prop_assert_eq!(part.head_flops * shape.vocab as u128, whole.head_flops * rows as u128);
        prop_assert!(part.weight_bytes <= whole.weight_bytes && part.linear_flops == whole.linear_flops);
        prop_assert_eq!(cost(&shape.with_head(shape.vocab), 1, new), whole);
    }
}

/// The largest works that the program takes do not overflow.
#[test]
fn a_picture_of_a_billion_pixels_is_counted() {
    let layers = vec![LayerShape { intermediate: 1 << 16, router: 0, window: None }; 128];
    let (heads, kv_heads, head_dim) = (128, 128, 128);
    let (hidden, vocab, kv_bytes) = (1 << 14, 1 << 18, 512);
    let shape =
        Shape { hidden, heads, kv_heads, head_dim, layers, vocab, layer_bytes: 1 << 40, head_bytes: 1 << 32, kv_bytes };
    let large = cost(&shape, 1, 1 << 32);
    assert_eq!(large.attention_flops, 4 * 128 * 128 * 128 * ((1u128 << 32) * ((1 << 32) + 1) / 2));
    assert!(seconds(&shape, 1, 1 << 32, Speed { bandwidth: 1e10, flops: 1e11 }).is_finite());
}
