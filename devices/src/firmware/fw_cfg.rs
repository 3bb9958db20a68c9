//! fw_cfg, the device through which QEMU's firmware learns about its machine, with the interface of
//! `docs/specs/fw_cfg.rst` as of QEMU 7.2: selector and data port, and DMA.
//!
//! Items have numbers ([`registers::key`]) or, from 20h on, names: a directory lists the files, sorted by name. A read past
//! the end of an item gives zeros. Items are written by DMA only, and only those that were made for it, never past their
//! end; the way to write through the data port, which QEMU gave up, does not exist. The device reaches RAM only: a
//! descriptor or a buffer elsewhere is an error of the transfer.
//!
//! A transfer stops at the first address that is not RAM. Unlike in QEMU one that asks for more zeros than any reader of an
//! item could want is an error: the processor could not be stopped while 4 GiB of them are written.

mod items;
pub mod registers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::base::{Device, Dma, DmaError, GuestLog, Inspector, IoDevice, Region, ResetKind, State, StateError};
use items::{Contents, File, Items};
use registers::{DESCRIPTOR_LEN, DMA_ADDRESS, DMA_SIGNATURE, FEATURES, SELECTOR_AND_DATA, control, key};

pub use items::FileError;

/// Bytes past the end of an item that one transfer may ask for.
const MOST_ZEROS: usize = 4 << 20;
/// Where zeros come from.
static ZEROS: [u8; 4096] = [0; 4096];

/// The device.
///
/// Everything it calls is a leaf: producers of contents and those who are told of writes must not call devices.
pub struct FwCfg {
    dma: Dma,
    items: Items,
    selector: u16,
    /// Where the next byte of the selected item is read; never past its end.
    offset: usize,
    /// The DMA address register as far as it has been written.
    dma_address: u64,
    log: GuestLog,
}

impl FwCfg {
    /// The windows: selector and data, then the DMA address.
    pub const REGIONS: [Region; 2] = [SELECTOR_AND_DATA, DMA_ADDRESS];

    /// A device with room for `slots` files that holds its own two items only.
    #[must_use]
    pub fn new(dma: Dma, slots: u16) -> Self {
        let mut items = Items::new(slots);
        items.set(key::SIGNATURE, Box::new(b"QEMU"));
        items.set(key::ID, Box::new(FEATURES.to_le_bytes()));
        Self { dma, items, selector: key::SIGNATURE, offset: 0, dma_address: 0, log: GuestLog::default() }
    }

    /// Gives the item with number `key` ([`key`]) its contents.
    pub fn set_item(&mut self, key: u16, contents: impl AsRef<[u8]> + Send + Sync + 'static) {
        self.items.set(key, Box::new(contents));
    }

    /// Adds a file whose contents do not change.
    ///
    /// # Errors
    /// The name is unusable or taken, or there is no room.
    pub fn add_file(
        &mut self,
        name: &str,
        contents: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<(), FileError> {
        self.items.add(name, Contents::Fixed(Box::new(contents)))
    }

    /// Adds files, of which the name and the length are given, whose contents `produce` makes together, in this order, when
    /// the guest first selects one of them after a reset; they are then kept. Each is cut, or filled up with zeros, to its
    /// length, which is what the directory says. `produce` must not call devices.
    ///
    /// # Errors
    /// As [`Self::add_file`].
    pub fn add_produced_files(
        &mut self,
        files: &[(&str, u32)],
        produce: impl FnMut() -> Vec<Vec<u8>> + Send + 'static,
    ) -> Result<(), FileError> {
        self.items.add_produced(files, Box::new(produce))
    }

    /// Adds a file that the guest may write. `written` is told the whole contents after each change (a write, a reset
    /// that brings back `initial`, a loaded state); it must not call devices. No device of the machine has such a file so far:
    /// `vmcoreinfo` and `vmgenid` do in QEMU's.
    ///
    /// # Errors
    /// As [`Self::add_file`].
    pub fn add_writable_file(
        &mut self,
        name: &str,
        initial: Vec<u8>,
        written: impl FnMut(&[u8]) + Send + 'static,
    ) -> Result<(), FileError> {
        self.items.add(name, Contents::Writable { now: initial.clone(), initial, written: Box::new(written) })
    }

    /// Names and sizes of the files, in the order of the directory.
    pub fn files(&self) -> impl Iterator<Item = (&str, usize)> {
        self.items.files().iter().map(|File { name, contents }| (name.as_str(), contents.len()))
    }

    fn select(&mut self, selector: u16) {
        self.selector = selector;
        self.offset = 0;
        self.items.prepare(selector);
    }

    /// What is left of the selected item.
    fn rest(&self) -> &[u8] {
        self.items.bytes(self.selector).get(self.offset..).unwrap_or_default()
    }

    fn read_byte(&mut self) -> u8 {
        match self.rest().first() {
            Some(byte) => {
                let byte = *byte;
                self.offset += 1;
                byte
            }
            None => 0,
        }
    }

    /// Carries out the transfer that the descriptor at `address` describes.
    fn transfer(&mut self, address: u64) {
        let mut descriptor = [0; DESCRIPTOR_LEN];
        let result = match self.dma.read(address, &mut descriptor) {
            Ok(()) => self.obey(&descriptor),
            Err(error) => Err(error.into()),
        };
        let outcome = match result {
            Ok(()) => 0,
            Err(error) => {
                self.log.warn("fw_cfg", format_args!("transfer by the descriptor at {address:#x}: {error}"));
                control::ERROR
            }
        };
        // Without RAM there is nobody to tell.
        let _ = self.dma.write(address, &outcome.to_be_bytes());
    }

    fn obey(&mut self, descriptor: &[u8; DESCRIPTOR_LEN]) -> Result<(), TransferError> {
        let descriptor = u128::from_be_bytes(*descriptor);
        let (what, len, address) = ((descriptor >> 96) as u32, (descriptor >> 64) as u32 as usize, descriptor as u64);
        if what & control::SELECT != 0 {
            self.select((what >> 16) as u16);
        }
        if what & control::READ != 0 {
            self.copy_out(address, len)
        } else if what & control::WRITE != 0 {
            self.copy_in(address, len)
        } else {
            if what & control::SKIP != 0 {
                self.offset += len.min(self.rest().len());
            }
            Ok(())
        }
    }

    /// From the item to memory, zeros after its end.
    fn copy_out(&mut self, address: u64, len: usize) -> Result<(), TransferError> {
        let rest = self.rest();
        let known = rest.get(..len).unwrap_or(rest);
        let (copied, mut missing) = (known.len(), len - known.len());
        if missing > MOST_ZEROS {
            return Err(TransferError::FarPastEnd);
        }
        self.dma.write(address, known)?;
        self.offset += copied;
        let mut at = address.wrapping_add(copied as u64);
        while missing > 0 {
            let zeros = ZEROS.get(..missing).unwrap_or(&ZEROS);
            self.dma.write(at, zeros)?;
            at = at.wrapping_add(zeros.len() as u64);
            missing -= zeros.len();
        }
        Ok(())
    }

    /// From memory to the item, all of it or nothing.
    fn copy_in(&mut self, address: u64, len: usize) -> Result<(), TransferError> {
        if len == 0 {
            return Ok(());
        }
        let (contents, written) = self.items.writable(self.selector).ok_or(TransferError::ReadOnly)?;
        let end = self.offset.checked_add(len).ok_or(TransferError::PastEnd)?;
        let target = contents.get_mut(self.offset..end).ok_or(TransferError::PastEnd)?;
        let mut bytes = vec![0; len];
        self.dma.read(address, &mut bytes)?;
        target.copy_from_slice(&bytes);
        self.offset = end;
        written(contents);
        Ok(())
    }
}

/// Why a transfer fails.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error(transparent)]
    Memory(#[from] DmaError),
    #[error("the item can't be written")]
    ReadOnly,
    #[error("a write past the end of the item")]
    PastEnd,
    #[error("a read of more than {MOST_ZEROS} bytes past the end of the item")]
    FarPastEnd,
}

impl IoDevice for FwCfg {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        if region == DMA_ADDRESS.id {
            let bytes = DMA_SIGNATURE.to_be_bytes();
            let mut value = [0; 8];
            for (to, from) in value.iter_mut().zip(bytes.iter().skip(offset as usize).take(size.into())) {
                *to = *from;
            }
            return u64::from_le_bytes(value);
        }
        if size == 1 { self.read_byte().into() } else { 0 }
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        if region == DMA_ADDRESS.id {
            // Big-endian: what the bus hands on as a little-endian number has its first byte lowest.
            match (offset, size) {
                (0, 4) => self.dma_address = u64::from((value as u32).swap_bytes()) << 32,
                (4, 4) => {
                    let address = self.dma_address | u64::from((value as u32).swap_bytes());
                    self.dma_address = 0;
                    self.transfer(address);
                }
                (0, 8) => {
                    self.dma_address = 0;
                    self.transfer(value.swap_bytes());
                }
                _ => {}
            }
        } else if size == 2 {
            self.select(value as u16);
        }
    }
}

mod state {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub selector: u16,
        pub offset: usize,
        pub dma_address: u64,
        /// Contents of the files that the guest wrote or that were made for it, by name.
        pub files: BTreeMap<String, Vec<u8>>,
    }
}

impl Device for FwCfg {
    fn name(&self) -> &'static str {
        "fw_cfg"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.items.reset();
        self.select(key::SIGNATURE);
        self.dma_address = 0;
    }

    /// Items and files themselves are part of the machine's configuration, not of its state.
    fn save(&self) -> State {
        let Self { dma: _, items, selector, offset, dma_address, log: _ } = self;
        let changing = |file: &File| Some((file.name.clone(), file.contents.changing()?.to_vec()));
        let files: BTreeMap<_, _> = items.files().iter().filter_map(changing).collect();
        let state = state::V1 { selector: *selector, offset: *offset, dma_address: *dma_address, files };
        State::of(state::VERSION, &state)
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { selector, offset, dma_address, files } = state.decode(state::VERSION)?;
        for (name, bytes) in &files {
            let wrong = |why: &str| Err(StateError::invalid("files", format!("\"{name}\" {why}")));
            match self.items.find(name) {
                None => return wrong("is not a file of this machine"),
                Some(Contents::Fixed(_)) => return wrong("does not change on this machine"),
                Some(contents) if contents.len() != bytes.len() => return wrong("has another size on this machine"),
                Some(Contents::Produced { .. } | Contents::Writable { .. }) => {}
            }
        }
        let writable = |file: &&File| matches!(file.contents, Contents::Writable { .. });
        if let Some(file) = self.items.files().iter().filter(writable).find(|file| !files.contains_key(&file.name)) {
            return Err(StateError::invalid("files", format!("\"{}\" is missing", file.name)));
        }
        if offset > self.items.len(selector) {
            return Err(StateError::invalid("offset", "it is past the end of the selected item"));
        }
        if dma_address << 32 != 0 {
            return Err(StateError::invalid("dma_address", "its low half starts a transfer and is never kept"));
        }
        self.items.restore(&files);
        self.select(selector);
        self.offset = offset;
        self.dma_address = dma_address;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("selector", self.selector, 16);
        out.number("offset", self.offset as u64);
        out.register("DMA address", self.dma_address, 64);
        for (name, size) in self.files() {
            out.number(name, size as u64);
        }
    }
}
