//! A parallel NOR flash chip with Intel's command set (CFI primary command set 0001h), which holds PC firmware.
//!
//! Follows the Common Flash Interface (JESD68.01) and Intel's data sheet of the 28F640J3 family for commands and status, with
//! the parameters of QEMU's chip: an 8-bit bus, erase blocks of 4 KiB, a buffer of 256 bytes, manufacturer and device 0.
//! Emulated: array, status, identifier and query modes; byte and buffered program; block erase. Operations are complete when
//! the next access comes. The array is kept in memory, and what changes is written to the back end at once.
//!
//! The query table announces neither suspension nor block locking: the lock commands are accepted without effect. As in
//! QEMU, and as OVMF expects of it, Clear Status clears the ready bit too and goes back to the array, an unknown command goes
//! back to the array, and a wide access is one bus cycle, whose low byte is the command. Unlike in QEMU, program
//! only clears bits, an erase waits for its confirmation, and a buffered program writes nothing before it is confirmed.
//!
//! While the chip shows its array, processors may read (and execute) it directly; [`ArrayWindow`] is told when that changes.

mod registers;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use vm_memory::{MmapRegion, VolatileMemory};

use self::registers::{BLOCK, BUFFER, Status, command};
use crate::backend::block::{BlockBackend, BlockError};
use crate::base::{AccessRule, Device, GuestLog, Inspector, IoDevice, Region, ResetKind, State, StateError};

/// The cells, which processors may read directly.
pub type Array = Arc<MmapRegion>;

/// Whoever lets processors read the array directly.
pub trait ArrayWindow: Send {
    /// Reads go to the array (`true`), or come to the device.
    fn show_array(&mut self, shown: bool);
}

/// Why a medium can't be a flash chip.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// The length does not fit.
    #[error("it has {0} bytes: a flash chip is made of blocks of {BLOCK} bytes, at least one")]
    Length(u64),
    /// The host gives no memory for it.
    #[error("the host gives no memory for a flash chip of {len} bytes")]
    Memory {
        /// Length of the medium.
        len: u64,
        /// Why.
        #[source]
        source: vm_memory::mmap::MmapRegionError,
    },
    /// The medium can't be read.
    #[error("it can't be read")]
    Read(#[from] BlockError),
}

/// Reads the contents of a chip from its medium.
///
/// # Errors
/// The medium can't be a chip, or can't be read.
pub fn read_array(medium: &mut dyn BlockBackend) -> Result<Array, MediumError> {
    let len = medium.len();
    if len == 0 || !len.is_multiple_of(BLOCK as u64) {
        return Err(MediumError::Length(len));
    }
    let bytes = usize::try_from(len).map_err(|_| MediumError::Length(len))?;
    let array = MmapRegion::new(bytes).map_err(|source| MediumError::Memory { len, source })?;
    let mut block = [0; BLOCK];
    for offset in (0..bytes).step_by(BLOCK) {
        medium.read_at(offset as u64, &mut block)?;
        let _ = array.get_slice(offset, BLOCK).map(|slice| slice.copy_from(&block));
    }
    Ok(Arc::new(array))
}

/// What the chip is waiting for, and what it answers to reads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Reads give the cells.
    Array,
    /// Reads give the status register. All modes below do the same.
    Status,
    /// Reads give manufacturer and device.
    Identifier,
    /// Reads give the query table.
    Query,
    /// Program: the next write is the data.
    Program,
    /// Block erase: the next write confirms.
    Erase,
    /// Lock: the next write says what.
    Lock,
    /// Write to buffer: the next write is the number of writes, less one.
    BufferCount,
    /// Write to buffer: data.
    Buffer { left: u8, writes: Vec<Write> },
    /// Write to buffer: the next write confirms.
    BufferConfirm { writes: Vec<Write> },
}

/// One write into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Write {
    offset: u64,
    value: u32,
    size: u8,
}

/// The chip.
pub struct Cfi01 {
    array: Array,
    medium: Box<dyn BlockBackend>,
    window: Box<dyn ArrayWindow>,
    query: [u8; 0x52],
    log: GuestLog,
    /// What the window was told last.
    shown: bool,
    mode: Mode,
    status: Status,
}

impl Cfi01 {
    /// A chip with the contents `array`, which [`read_array`] has read from `medium`. `window` shows the array at the start.
    #[must_use]
    pub fn new(array: Array, medium: Box<dyn BlockBackend>, window: Box<dyn ArrayWindow>) -> Self {
        Self {
            query: registers::query(array.len()),
            array,
            medium,
            window,
            log: GuestLog::default(),
            shown: true,
            mode: Mode::Array,
            status: Status::new().with_ready(true),
        }
    }

    /// The chip's window.
    #[must_use]
    pub fn region(&self) -> Region {
        Region::memory(0, "system.flash", self.array.len() as u64, AccessRule::native(1, 4))
    }

    fn enter(&mut self, mode: Mode) {
        let shown = mode == Mode::Array;
        self.mode = mode;
        if shown != self.shown {
            self.shown = shown;
            self.window.show_array(shown);
        }
    }

    /// A command without what belongs to it.
    fn sequence_error(&mut self) {
        self.status.set_program_error(true);
        self.status.set_erase_error(true);
        self.status.set_ready(true);
        self.enter(Mode::Array);
    }

    fn command(&mut self, value: u8) {
        let mode = match value {
            command::READ_STATUS => Mode::Status,
            command::READ_ID => Mode::Identifier,
            command::READ_QUERY => Mode::Query,
            command::PROGRAM | command::ALTERNATE_PROGRAM => Mode::Program,
            command::BLOCK_ERASE | command::ALTERNATE_BLOCK_ERASE => Mode::Erase,
            command::WRITE_TO_BUFFER => {
                self.status.set_ready(true);
                Mode::BufferCount
            }
            command::LOCK_SETUP => Mode::Lock,
            command::CLEAR_STATUS => {
                self.status = Status::new();
                Mode::Array
            }
            command::READ_ARRAY | command::AMD_RESET => Mode::Array,
            _ => {
                self.log.warn("cfi01", format_args!("command {value:#04x} is not known"));
                Mode::Array
            }
        };
        self.enter(mode);
    }

    /// The cells at `offset`, `size` bytes of them.
    fn cells(&self, offset: u64, size: u8) -> u32 {
        let mut data = [0xff; 4];
        let size = usize::from(size).min(data.len());
        if let Ok(cells) = self.array.get_slice(offset as usize, size) {
            cells.copy_to(&mut data[..size]);
            data[size..].fill(0);
        }
        u32::from_le_bytes(data)
    }

    /// Gives cells new contents, on the medium first.
    fn store(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let result = self.medium.write_at(offset, data);
        match &result {
            Ok(()) => {
                let _ = self.array.get_slice(offset as usize, data.len()).map(|cells| cells.copy_from(data));
            }
            // The guest sees that the chip is protected.
            Err(BlockError::ReadOnly) => {}
            Err(error) => self.log.warn("cfi01", format_args!("the contents can't be changed: {error}")),
        }
        result
    }

    /// Clears bits.
    fn program(&mut self, Write { offset, value, size }: Write) {
        let cells = self.cells(offset, size) & value;
        let failed = self.store(offset, &cells.to_le_bytes()[..usize::from(size).min(4)]).is_err();
        self.status.set_program_error(self.status.program_error() | failed);
        self.status.set_ready(true);
    }

    fn erase(&mut self, offset: u64) {
        let failed = self.store(offset - offset % BLOCK as u64, &[0xff; BLOCK]).is_err();
        self.status.set_erase_error(self.status.erase_error() | failed);
        self.status.set_ready(true);
        self.enter(Mode::Status);
    }

    /// The buffer's writes lie in one block, or nothing is done.
    fn program_buffer(&mut self, writes: &[Write]) {
        let block = |write: &Write| write.offset / BLOCK as u64;
        let bytes: usize = writes.iter().map(|write| usize::from(write.size)).sum();
        let together = writes.windows(2).all(|pair| block(&pair[0]) == block(&pair[1]));
        if !together || bytes > BUFFER {
            self.sequence_error();
            return;
        }
        writes.iter().for_each(|write| self.program(*write));
        self.enter(Mode::Status);
    }
}

impl IoDevice for Cfi01 {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        match &self.mode {
            Mode::Array => self.cells(offset, size).into(),
            // No manufacturer, no device.
            Mode::Identifier => 0,
            Mode::Query => self.query.get(offset as usize & 0xff).copied().unwrap_or(0).into(),
            _ => {
                let status = u64::from(self.status.into_bits());
                // As if a wide access reached two chips, as in QEMU.
                if size > 2 { status | status << 16 } else { status }
            }
        }
    }

    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        let write = Write { offset, value: value as u32, size };
        let [byte, ..] = value.to_le_bytes();
        match std::mem::replace(&mut self.mode, Mode::Status) {
            Mode::Array | Mode::Status | Mode::Identifier | Mode::Query => self.command(byte),
            Mode::Program => self.program(write),
            Mode::Erase => match byte {
                command::CONFIRM => self.erase(offset),
                command::READ_ARRAY => self.enter(Mode::Array),
                _ => self.sequence_error(),
            },
            Mode::Lock => match byte {
                command::CONFIRM | command::LOCK => self.status.set_ready(true),
                command::READ_ARRAY => self.enter(Mode::Array),
                _ => self.sequence_error(),
            },
            Mode::BufferCount => self.mode = Mode::Buffer { left: byte, writes: Vec::new() },
            Mode::Buffer { left, mut writes } => {
                writes.push(write);
                self.mode = match left.checked_sub(1) {
                    Some(left) => Mode::Buffer { left, writes },
                    None => Mode::BufferConfirm { writes },
                };
            }
            Mode::BufferConfirm { writes } => match byte {
                command::CONFIRM => self.program_buffer(&writes),
                _ => self.sequence_error(),
            },
        }
    }
}

fn save_mode(mode: &Mode) -> state::Mode {
    let save = |writes: &[Write]| {
        let writes = writes.iter();
        writes.map(|&Write { offset, value, size }| state::Write { offset, value, size }).collect()
    };
    match mode {
        Mode::Array => state::Mode::Array,
        Mode::Status => state::Mode::Status,
        Mode::Identifier => state::Mode::Identifier,
        Mode::Query => state::Mode::Query,
        Mode::Program => state::Mode::Program,
        Mode::Erase => state::Mode::Erase,
        Mode::Lock => state::Mode::Lock,
        Mode::BufferCount => state::Mode::BufferCount,
        Mode::Buffer { left, writes } => state::Mode::Buffer { left: *left, writes: save(writes) },
        Mode::BufferConfirm { writes } => state::Mode::BufferConfirm { writes: save(writes) },
    }
}

fn load_mode(mode: state::Mode) -> Mode {
    let load = |writes: Vec<state::Write>| {
        let writes = writes.into_iter();
        writes.map(|state::Write { offset, value, size }| Write { offset, value, size }).collect()
    };
    match mode {
        state::Mode::Array => Mode::Array,
        state::Mode::Status => Mode::Status,
        state::Mode::Identifier => Mode::Identifier,
        state::Mode::Query => Mode::Query,
        state::Mode::Program => Mode::Program,
        state::Mode::Erase => Mode::Erase,
        state::Mode::Lock => Mode::Lock,
        state::Mode::BufferCount => Mode::BufferCount,
        state::Mode::Buffer { left, writes } => Mode::Buffer { left, writes: load(writes) },
        state::Mode::BufferConfirm { writes } => Mode::BufferConfirm { writes: load(writes) },
    }
}

impl Device for Cfi01 {
    fn name(&self) -> &'static str {
        "cfi.pflash01"
    }

    /// What a program or erase has done stays.
    fn reset(&mut self, _kind: ResetKind) {
        self.status = Status::new().with_ready(true);
        self.enter(Mode::Array);
        if let Err(error) = self.medium.flush() {
            log::warn!("cfi01: the contents may not survive a failure of the host: {error}");
        }
    }

    /// The cells are memory, which is saved as such.
    fn save(&self) -> State {
        let Self { array: _, medium: _, window: _, query: _, log: _, shown: _, mode, status } = self;
        State::of(state::VERSION, &state::V1 { mode: save_mode(mode), status: status.into_bits() })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { mode, status } = state.decode(state::VERSION)?;
        let mode = load_mode(mode);
        let (writes, left) = match &mode {
            Mode::Buffer { left, writes } => (writes.as_slice(), usize::from(*left) + 1),
            Mode::BufferConfirm { writes } => (writes.as_slice(), 0),
            _ => (&[][..], 0),
        };
        if writes.len() + left > usize::from(u8::MAX) + 1 {
            return Err(StateError::invalid("mode", "the buffer takes 256 writes"));
        }
        let len = self.array.len() as u64;
        let fits = |write: &Write| {
            matches!(write.size, 1 | 2 | 4) && write.offset.checked_add(write.size.into()).is_some_and(|end| end <= len)
        };
        if !writes.iter().all(fits) {
            return Err(StateError::invalid("mode", "a write in the buffer is not on the chip"));
        }
        let status = Status::from_bits(status);
        if status.reserved_0() != 0 || status.erase_suspended() {
            return Err(StateError::invalid("status", "bits that the chip never sets"));
        }
        self.status = status;
        self.enter(mode);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        let mode = match &self.mode {
            Mode::Buffer { writes, .. } | Mode::BufferConfirm { writes } => {
                format!("{} writes in the buffer", writes.len())
            }
            mode => format!("{mode:?}"),
        };
        out.text("mode", mode);
        out.register("SR", self.status.into_bits(), 8);
        out.number("blocks", (self.array.len() / BLOCK) as u64);
        out.flag("protected", self.medium.is_read_only());
    }
}

impl Drop for Cfi01 {
    fn drop(&mut self) {
        if let Err(error) = self.medium.flush() {
            log::warn!("cfi01: the contents may not be complete on the host's disk: {error}");
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Write {
        pub offset: u64,
        pub value: u32,
        pub size: u8,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub enum Mode {
        Array,
        Status,
        Identifier,
        Query,
        Program,
        Erase,
        Lock,
        BufferCount,
        Buffer { left: u8, writes: Vec<Write> },
        BufferConfirm { writes: Vec<Write> },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub mode: Mode,
        pub status: u8,
    }
}
