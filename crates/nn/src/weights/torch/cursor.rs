//! Bytes read from front to back.

/// What of some bytes is not read yet.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many are not.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let left = self.left();
        if count > left as u64 {
            return Err(format!("{count} bytes are needed, {left} follow"));
        }
        let taken = &self.bytes[self.at..][..count as usize];
        self.at += taken.len();
        Ok(taken)
    }

    /// The next bytes up to this one, which is passed.
    pub(super) fn until(&mut self, end: u8) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == end) else {
            return Err("a line without an end".into());
        };
        self.at += length + 1;
        Ok(&rest[..length])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }
}
