//! `driver=null-co`: a medium that keeps nothing, to measure or test what is above it.

use std::thread;
use std::time::Duration;

use devices::backend::block::{BlockError, check_range};
use vm_memory::VolatileSlice;

use super::node::{Node, check_transfer};
use super::storage::fill_with_zeroes;
use crate::config::NullConfig;

/// A medium that keeps nothing.
pub(super) struct Null {
    config: NullConfig,
    read_only: bool,
}

impl Null {
    pub fn new(config: NullConfig, read_only: bool) -> Self {
        Self { config, read_only }
    }

    /// What each request takes.
    fn wait(&self) {
        if self.config.latency_ns > 0 {
            thread::sleep(Duration::from_nanos(self.config.latency_ns));
        }
    }

    fn change(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.config.size, offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        self.wait();
        Ok(())
    }
}

impl Node for Null {
    fn len(&self) -> u64 {
        self.config.size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// As QEMU's: unless it is asked for zeroes it leaves the memory as it is.
    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.config.size, offset, to)?;
        self.wait();
        if self.config.read_zeroes {
            to.iter().for_each(fill_with_zeroes);
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], _durable: bool) -> Result<(), BlockError> {
        self.change(offset, super::node::total_len(from) as u64)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.wait();
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.change(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> Result<(), BlockError> {
        self.change(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{read_bytes, write_bytes};
    use super::*;

    #[test]
    fn it_takes_everything_within_its_size_and_gives_nothing_or_zeroes_back() {
        for read_zeroes in [false, true] {
            let null = Null::new(NullConfig { size: 1 << 20, latency_ns: 0, read_zeroes }, false);
            write_bytes(&null, 4096, &mut [7; 512], true).unwrap();
            let mut found = [3; 5000];
            read_bytes(&null, 4000, &mut found).unwrap();
            assert_eq!(found, [if read_zeroes { 0 } else { 3 }; 5000]);
            assert!(matches!(null.write_zeroes(1 << 20, 1, true), Err(BlockError::OutOfRange { .. })));
            assert!(matches!(read_bytes(&null, (1 << 20) - 1, &mut [0; 2]), Err(BlockError::OutOfRange { .. })));
        }
    }
}
