//! Products in tiles (AMX): a register of sixteen lines of 64 bytes, and an instruction that multiplies two of them. Whether there
//! are any, and their sizes.

// Every function here needs the instructions it is written in.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

mod float;
mod integers;

use std::arch::asm;
use std::arch::x86_64::*;

pub(crate) use self::float::bf16;
pub(crate) use self::integers::integers;

/// Whether there are these instructions, and the system lets the program use them: it keeps room for tiles of threads only if
/// it is asked to (Linux, Documentation/arch/x86/xstate.rst).
pub(crate) fn is_there() -> bool {
    #[cfg(target_os = "linux")]
    {
        const REQUEST: i32 = 0x1023; // ARCH_REQ_XCOMP_PERM
        const TILES: i32 = 18; // XFEATURE_XTILEDATA
        static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        // AMX-BF16, AMX-TILE, AMX-INT8
        let features = 1 << 22 | 1 << 24 | 1 << 25;
        // SAFETY: the call changes what the kernel saves of this process, nothing that the program sees.
        *ALLOWED.get_or_init(|| {
            __cpuid(0).eax >= 7
                && __cpuid_count(7, 0).edx & features == features
                && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) } == 0
        })
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The sizes of the tiles of a thread, given back when it is dropped.
pub(crate) struct Tiles;

/// `palette, first line, …, bytes of a line of each tile, lines of each tile`
#[repr(C, align(64))]
pub(crate) struct Sizes([u8; 64]);

impl Sizes {
    /// Bytes of a line and lines.
    const fn new(tiles: [(u8, u8); 8]) -> Self {
        let mut sizes = [0; 64];
        sizes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            sizes[16 + 2 * tile] = tiles[tile].0;
            sizes[48 + tile] = tiles[tile].1;
            tile += 1;
        }
        Self(sizes)
    }
}

/// Eight whole tiles.
pub(crate) static MANY: Sizes = Sizes::new([(64, 16); 8]);

impl Tiles {
    /// # Safety
    /// [`is_there`].
    pub(crate) unsafe fn new(sizes: &'static Sizes) -> Self {
        asm!("ldtilecfg [{}]", in(reg) sizes, options(nostack, preserves_flags));
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there are tiles, or there would be no `Tiles`.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    }
}
