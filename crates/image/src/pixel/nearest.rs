//! The nearest of some points in RGB, exactly: colours fall into 4096 cells, and each cell knows which points can be nearest
//! to any of its colours.

/// Colours of a cell along one axis.
const SIDE: usize = 16;
/// Cells along one axis.
const CELLS: usize = 256 / SIDE;

#[derive(Clone, Debug)]
pub(super) struct Nearest {
    points: Vec<[f32; 3]>,
    /// Candidates of all cells, one cell after the other; within a cell in order.
    candidates: Vec<u16>,
    /// Where the candidates of each cell begin, and where the last ones end.
    starts: Vec<usize>,
}

impl Nearest {
    /// At most 65536 points.
    pub(super) fn new(points: Vec<[f32; 3]>) -> Self {
        let mut nearest = Self { candidates: Vec::new(), starts: vec![0], points };
        let mut least = vec![0.0; nearest.points.len()];
        for cell in 0..CELLS * CELLS * CELLS {
            let low = [cell / (CELLS * CELLS), cell / CELLS % CELLS, cell % CELLS].map(|i| (i * SIDE) as f32);
            let mut bound = f32::INFINITY;
            for (least, point) in least.iter_mut().zip(&nearest.points) {
                let (near, far) = bounds(point, &low);
                *least = near;
                bound = bound.min(far);
            }
            // Rounding must not lose a candidate.
            let bound = bound * 1.00001 + 0.001;
            let close = least.iter().enumerate().filter(|(_, least)| **least <= bound);
            nearest.candidates.extend(close.map(|(index, _)| index as u16));
            nearest.starts.push(nearest.candidates.len());
        }
        nearest
    }

    /// The index of the nearest point, the first of several, and the square of its distance.
    pub(super) fn find(&self, colour: [u8; 3]) -> (u16, f32) {
        let [r, g, b] = colour.map(|value| usize::from(value) / SIDE);
        let cell = (r * CELLS + g) * CELLS + b;
        let mut best = (0, f32::INFINITY);
        for &index in &self.candidates[self.starts[cell]..self.starts[cell + 1]] {
            let square = square(&self.points[usize::from(index)], colour);
            if square < best.1 {
                best = (index, square);
            }
        }
        best
    }
}

/// The square of the distance between a point and a colour.
pub(super) fn square(point: &[f32; 3], colour: [u8; 3]) -> f32 {
    let [r, g, b] = [0, 1, 2].map(|axis: usize| point[axis] - f32::from(colour[axis]));
    r * r + g * g + b * b
}

/// Squares of the least and the largest distance between a point and the colours of a cell.
fn bounds(point: &[f32; 3], low: &[f32; 3]) -> (f32, f32) {
    let (mut near, mut far) = (0.0, 0.0);
    for (&x, &low) in point.iter().zip(low) {
        let high = low + (SIDE - 1) as f32;
        let (below, above) = (low - x, x - high);
        near += below.max(above).max(0.0).powi(2);
        far += below.abs().max(above.abs()).powi(2);
    }
    (near, far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_point_is_nearer(
            points in prop::collection::vec(prop::array::uniform3(0f32..255.0), 1..200),
            colours in prop::collection::vec(any::<[u8; 3]>(), 1..200),
        ) {
            let nearest = Nearest::new(points.clone());
            for colour in colours {
                let squares = points.iter().map(|point| square(point, colour));
                let best = squares.enumerate().fold((0, f32::INFINITY), |a, b| if b.1 < a.1 { b } else { a });
                let (index, square) = nearest.find(colour);
                prop_assert_eq!((usize::from(index), square), best);
            }
        }
    }
}
