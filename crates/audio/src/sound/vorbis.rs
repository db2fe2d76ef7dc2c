//! What the codebooks of a Vorbis stream take in memory ("Vorbis I specification", section 3.2.1).
//!
//! The decoder unpacks a book of a few bytes to 16 MiB of numbers, and a header has up to 256 of them.

/// The pattern that a codebook begins with, of 24 bits.
const BOOK: u32 = 0x56_4342;
/// Beyond these the decoder refuses a book before it takes memory.
const MOST: (u64, u64) = (32, 128 << 10);

/// Numbers that the codebooks in this header are unpacked to, those for finding a code included.
///
/// Books begin at any bit, and where they end is known once all is decoded; so every place is looked at. One in 2²⁴ places
/// looks like a book by chance.
pub(super) fn numbers(header: &[u8]) -> u64 {
    let mut numbers = 0;
    for at in 0..header.len() {
        let mut next = [0; 16];
        let there = &header[at..header.len().min(at + 9)];
        next[..there.len()].copy_from_slice(there);
        for bit in 0..8 {
            let bits = u128::from_le_bytes(next) >> bit;
            if bits as u32 & 0xff_ffff == BOOK {
                let (dimensions, entries) = ((bits >> 24) as u64 & 0xffff, (bits >> 40) as u64 & 0xff_ffff);
                if dimensions <= MOST.0 && entries <= MOST.1 {
                    numbers += entries * (dimensions + 8);
                }
            }
        }
    }
    numbers
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A book of so many dimensions and entries, so many bits late.
    fn book(dimensions: u128, entries: u128, late: u32) -> Vec<u8> {
        (((u128::from(BOOK) | dimensions << 24 | entries << 40) << late).to_le_bytes()).to_vec()
    }

    #[test]
    fn books_are_found_at_every_bit() {
        for late in 0..60 {
            assert_eq!(numbers(&book(4, 100, late)), 1200, "{late}");
        }
        let many: Vec<u8> = (0..256).flat_map(|late| book(32, 128 << 10, late % 60)).collect();
        assert_eq!(numbers(&many), 256 * 40 * (128 << 10));
        assert_eq!(numbers(&book(33, 100, 0)), 0);
        assert_eq!(numbers(&book(4, 100, 0)[..2]), 0);
        assert_eq!(numbers(b""), 0);
    }

    #[test]
    fn books_of_a_real_file_are_small() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oracle/sounds/tone.ogg");
        let numbers = numbers(&std::fs::read(file).unwrap());
        assert!((1000..1 << 20).contains(&numbers), "{numbers}");
    }
}
