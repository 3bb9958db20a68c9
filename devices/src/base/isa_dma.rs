//! ISA DMA as a peripheral sees it: one channel of the board's DMA controllers.
//!
//! The peripheral raises its request line and then moves data itself, as far as the channel's programming lets it; what
//! it could not move it offers again later, or reports as an overrun or underrun as its data sheet says. The controller
//! never calls the peripheral: a channel may be used with the peripheral's lock held.

#[cfg(any(test, feature = "testing"))]
use std::sync::{Arc, Mutex};

#[cfg(any(test, feature = "testing"))]
use super::lock;

/// What became of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaProgress {
    /// Bytes that were transferred, or only counted where the channel is programmed to verify. On a 16-bit channel an
    /// even number.
    pub bytes: usize,
    /// The last of them was the last one programmed: the peripheral saw its terminal count input.
    pub terminal_count: bool,
}

/// A peripheral's end of a DMA channel.
pub trait DmaChannel: Send {
    /// Drives the channel's request line, DREQ.
    fn request(&mut self, on: bool);

    /// Moves data from memory to the peripheral: as much of `buf` as the channel's count, mask, mode and direction allow.
    /// Nothing beyond [`DmaProgress::bytes`] is written; in verify mode nothing at all.
    fn read_memory(&mut self, buf: &mut [u8]) -> DmaProgress;

    /// Moves data from the peripheral to memory: as much of `data` as the channel's count, mask, mode and direction
    /// allow. In verify mode nothing is moved, but all is counted.
    fn write_memory(&mut self, data: &[u8]) -> DmaProgress;
}

/// What a [`MemoryDma`] allows its peripheral.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Nothing: masked, or not programmed.
    #[default]
    Masked,
    /// Counts without moving.
    Verify,
    /// [`DmaChannel::write_memory`].
    ToMemory,
    /// [`DmaChannel::read_memory`].
    FromMemory,
}

/// What is behind a [`MemoryDma`].
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub struct DmaMemory {
    /// The programmed buffer.
    pub memory: Vec<u8>,
    /// Where in it the next transfer begins; terminal count is at its end, and masks the channel.
    pub position: usize,
    /// What is allowed.
    pub direction: Direction,
    /// The level of the request line.
    pub requested: bool,
}

/// A channel for tests of peripherals, over a plain buffer.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Default)]
pub struct MemoryDma(Arc<Mutex<DmaMemory>>);

#[cfg(any(test, feature = "testing"))]
impl MemoryDma {
    /// A channel that is programmed to transfer `memory` in `direction`. A clone looks at the same channel.
    #[must_use]
    pub fn new(memory: Vec<u8>, direction: Direction) -> Self {
        let channel = Self::default();
        channel.program(memory, direction);
        channel
    }

    /// Programs it anew; the request line stays as it is.
    pub fn program(&self, memory: Vec<u8>, direction: Direction) {
        let mut inner = lock(&self.0);
        *inner = DmaMemory { memory, position: 0, direction, requested: inner.requested };
    }

    /// Looks at the channel. `look` must not use the channel: that would wait for itself for ever.
    pub fn with<R>(&self, look: impl FnOnce(&mut DmaMemory) -> R) -> R {
        look(&mut lock(&self.0))
    }

    fn advance(&self, len: usize, needed: Direction, copy: impl FnOnce(&mut [u8])) -> DmaProgress {
        let mut inner = lock(&self.0);
        let start = inner.position;
        let bytes = len.min(inner.memory.len().saturating_sub(start));
        if !inner.requested || bytes == 0 || (inner.direction != needed && inner.direction != Direction::Verify) {
            return DmaProgress::default();
        }
        if inner.direction == needed {
            copy(&mut inner.memory[start..start + bytes]);
        }
        inner.position += bytes;
        let terminal_count = inner.position == inner.memory.len();
        if terminal_count {
            inner.direction = Direction::Masked;
        }
        DmaProgress { bytes, terminal_count }
    }
}

#[cfg(any(test, feature = "testing"))]
impl DmaChannel for MemoryDma {
    fn request(&mut self, on: bool) {
        lock(&self.0).requested = on;
    }

    fn read_memory(&mut self, buf: &mut [u8]) -> DmaProgress {
        self.advance(buf.len(), Direction::FromMemory, |memory| buf[..memory.len()].copy_from_slice(memory))
    }

    fn write_memory(&mut self, data: &[u8]) -> DmaProgress {
        self.advance(data.len(), Direction::ToMemory, |memory| memory.copy_from_slice(&data[..memory.len()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_double_moves_what_it_is_programmed_for() {
        let look = MemoryDma::new(vec![0; 4], Direction::ToMemory);
        let mut channel = look.clone();
        assert_eq!(channel.write_memory(&[1]), DmaProgress::default(), "not requested");
        channel.request(true);
        assert_eq!(channel.read_memory(&mut [0; 4]), DmaProgress::default(), "the other direction");
        assert_eq!(channel.write_memory(&[1, 2, 3]), DmaProgress { bytes: 3, terminal_count: false });
        assert_eq!(channel.write_memory(&[4, 5]), DmaProgress { bytes: 1, terminal_count: true });
        assert_eq!(channel.write_memory(&[6]), DmaProgress::default(), "masked by terminal count");
        assert_eq!(look.with(|dma| dma.memory.clone()), [1, 2, 3, 4]);

        look.program(vec![7, 8], Direction::FromMemory);
        let mut buf = [0; 3];
        assert_eq!(channel.read_memory(&mut buf), DmaProgress { bytes: 2, terminal_count: true });
        assert_eq!(buf, [7, 8, 0]);
        look.program(vec![7, 8], Direction::Verify);
        assert_eq!(channel.write_memory(&[0; 2]), DmaProgress { bytes: 2, terminal_count: true });
        assert_eq!(look.with(|dma| dma.memory.clone()), [7, 8], "verifying moves nothing");
    }
}
