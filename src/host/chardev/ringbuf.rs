//! A buffer in memory that keeps the newest output.

use std::collections::VecDeque;

/// The buffer of a `ringbuf` character device.
#[derive(Debug)]
pub(super) struct Ringbuf {
    bytes: VecDeque<u8>,
    size: usize,
}

impl Ringbuf {
    /// An empty buffer of `size` bytes, which is a power of two as in QEMU. Memory is taken as it fills.
    pub fn new(size: u32) -> Self {
        Self { bytes: VecDeque::new(), size: size as usize }
    }

    pub fn write(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(self.size)..];
        let surplus = (self.bytes.len() + data.len()).saturating_sub(self.size);
        self.bytes.drain(..surplus);
        self.bytes.extend(data);
    }

    /// Takes up to `count` of the oldest bytes.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        self.bytes.drain(..count.min(self.bytes.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_stay() {
        let mut ring = Ringbuf::new(8);
        ring.write(b"abcdef");
        ring.write(b"ghij");
        assert_eq!(ring.read(3), b"cde");
        assert_eq!(ring.read(100), b"fghij");
        ring.write(b"0123456789");
        assert_eq!(ring.read(100), b"23456789");
        assert_eq!(ring.read(1), b"");
    }
}
