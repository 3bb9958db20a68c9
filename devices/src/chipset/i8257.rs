//! The DMA controllers of the PC: a pair of 8237A with their page registers, as the PIIX3 has them.
//!
//! Follows the 8237A data sheet and Intel 290550 (PIIX3). Named as QEMU names its model. Ports of the 8-bit controller on a
//! PC: 00h to 0Fh and pages 81h-83h, 87h; of the 16-bit controller C0h to DFh, two ports a register, and pages 89h-8Bh, 8Fh.
//!
//! Emulated: base and current registers with the flip-flop, all modes, masks, requests by line and by software,
//! terminal count, auto-initialization. An address wraps within its page of 64 Ki transfers. What is not RAM reads
//! as ones. As in QEMU the masks can be read, and the cascade input of the 16-bit controller is open whatever its mask
//! says. Not emulated: memory-to-memory transfers (the PIIX3 has none), priorities and timing (a transfer takes no
//! time), the sense of DACK.
//!
//! A peripheral moves its data itself, by the [`DmaChannel`] that [`channel`] gives it.

mod registers;
#[cfg(test)]
mod tests;

use registers::{Command, Kind, Mode, SetBit, Transfer, control};

use crate::base::isa_dma::{DmaChannel, DmaProgress};
use crate::base::{AccessRule, Device, Dma, Inspector, IoDevice, Region, ResetKind, Shared, State, StateError, lock};

/// Channels of one controller.
const CHANNELS: usize = 4;
/// The channels whose page registers the window of three has, in its order.
const PAGED: [usize; 3] = [2, 3, 1];

/// Windows.
mod window {
    pub const CHANNELS: u16 = 0;
    pub const CONTROL: u16 = 1;
    /// Three page registers.
    pub const PAGES: u16 = 2;
    /// The page register of channel 0.
    pub const PAGE_0: u16 = 3;
}

/// What one request of a channel transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Bytes.
    Bits8,
    /// Aligned words. Addresses and counts are in words, bit 0 of the page is unused.
    Bits16,
}

impl Width {
    /// Two to the power of this is the number of bytes of a transfer, and of ports from a register to the next.
    fn shift(self) -> u8 {
        match self {
            Self::Bits8 => 0,
            Self::Bits16 => 1,
        }
    }
}

/// A 16-bit register that is accessed as two bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counter {
    base: u16,
    current: u16,
}

impl Counter {
    fn write(&mut self, high: bool, value: u8) {
        for register in [&mut self.base, &mut self.current] {
            let mut bytes = register.to_le_bytes();
            bytes[usize::from(high)] = value;
            *register = u16::from_le_bytes(bytes);
        }
    }

    fn read(self, high: bool) -> u8 {
        self.current.to_le_bytes()[usize::from(high)]
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    address: Counter,
    count: Counter,
    mode: Mode,
    page: u8,
    /// The request line.
    dreq: bool,
}

/// Data of a transfer.
enum Data<'a> {
    ToMemory(&'a [u8]),
    FromMemory(&'a mut [u8]),
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Self::ToMemory(data) => data.len(),
            Self::FromMemory(buf) => buf.len(),
        }
    }
}

/// One controller.
pub struct I8257 {
    memory: Dma,
    width: Width,
    channels: [Channel; CHANNELS],
    command: Command,
    /// One bit a channel. The upper four are storage, which QEMU's readers see.
    mask: u8,
    /// Requests by software.
    request: u8,
    terminal_count: u8,
    /// The next access to an address or count is to its high byte.
    flip_flop: bool,
}

/// A peripheral's end of channel `number` (0 to 3) of `controller`.
#[must_use]
pub fn channel(controller: &Shared<I8257>, number: u8) -> Box<dyn DmaChannel> {
    Box::new(PeripheralChannel { controller: controller.clone(), number: usize::from(number & 3) })
}

impl I8257 {
    /// A controller in its reset state, which transfers units of `width` to and from `memory`.
    #[must_use]
    pub fn new(width: Width, memory: Dma) -> Self {
        Self {
            memory,
            width,
            channels: [Channel::default(); CHANNELS],
            command: Command::new(),
            mask: u8::MAX,
            request: 0,
            terminal_count: 0,
            flip_flop: false,
        }
    }

    /// Its windows: addresses and counts, control, the page registers of channels 2, 3 and 1, that of channel 0.
    #[must_use]
    pub fn regions(width: Width) -> [Region; 4] {
        let ports = 8 << width.shift();
        [
            Region::ports(window::CHANNELS, "dma-chan", ports, AccessRule::BYTE),
            Region::ports(window::CONTROL, "dma-cont", ports, AccessRule::BYTE),
            Region::ports(window::PAGES, "dma-page", 3, AccessRule::BYTE),
            Region::ports(window::PAGE_0, "dma-page", 1, AccessRule::BYTE),
        ]
    }

    /// The channels that want service.
    fn requests(&self) -> u8 {
        let active = |channel: &Channel| u8::from(channel.dreq != self.command.dreq_low());
        (0..).zip(&self.channels).fold(self.request, |all, (bit, channel)| all | active(channel) << bit)
    }

    fn master_clear(&mut self) {
        self.command = Command::new();
        self.mask = u8::MAX;
        self.request = 0;
        self.terminal_count = 0;
        self.flip_flop = false;
    }

    /// The register of channel `number / 2` that the channel window has at `number`, and whether to access its high byte.
    fn counter(&mut self, number: u64) -> (&mut Counter, bool) {
        let high = self.flip_flop;
        self.flip_flop = !high;
        let channel = &mut self.channels[(number >> 1) as usize % CHANNELS];
        (if number & 1 == 0 { &mut channel.address } else { &mut channel.count }, high)
    }

    fn write_control(&mut self, register: u64, value: u8) {
        let bit = |set: SetBit| 1_u8 << set.channel();
        let set = SetBit::from(value);
        match register {
            control::STATUS_COMMAND => self.command = Command::from(value),
            control::REQUEST if set.set() => self.request |= bit(set),
            control::REQUEST => self.request &= !bit(set),
            control::SINGLE_MASK if set.set() => self.mask |= bit(set),
            control::SINGLE_MASK => self.mask &= !bit(set),
            control::MODE => {
                let mode = Mode::from(value);
                self.channels[usize::from(mode.channel())].mode = mode;
            }
            control::CLEAR_FLIP_FLOP => self.flip_flop = false,
            control::MASTER_CLEAR => self.master_clear(),
            control::CLEAR_MASK => self.mask = 0,
            control::ALL_MASK => self.mask = value,
            _ => {}
        }
        self.serve_software();
    }

    /// Serves the requests of software, for which the data sheet demands block mode. No peripheral answers (one that
    /// wants service moves its data itself), so that memory is given what an idle bus carries.
    fn serve_software(&mut self) {
        for number in 0..CHANNELS {
            let channel = &self.channels[number];
            let asked = self.request & 1 << number != 0 && !channel.dreq;
            if !asked || channel.mode.kind() != Kind::Block || self.command.disable() {
                continue;
            }
            let bytes = (usize::from(channel.count.current) + 1) << self.width.shift();
            let mut bus = vec![u8::MAX; bytes];
            match channel.mode.transfer() {
                Transfer::Read => self.transfer(number, Data::FromMemory(&mut bus)),
                _ => self.transfer(number, Data::ToMemory(&bus)),
            };
        }
    }

    /// Moves as much as the channel's programming allows.
    fn transfer(&mut self, number: usize, mut data: Data<'_>) -> DmaProgress {
        let shift = self.width.shift();
        let channel = self.channels[number];
        let bit = 1_u8 << number;
        // A mask is for the request line only.
        let requested = (self.requests() & !self.mask | self.request) & bit != 0;
        let matches = match channel.mode.transfer() {
            Transfer::Write => matches!(data, Data::ToMemory(_)),
            Transfer::Read => matches!(data, Data::FromMemory(_)),
            Transfer::Verify | Transfer::Illegal => true,
        };
        if self.command.disable() || !requested || !matches || channel.mode.kind() == Kind::Cascade {
            return DmaProgress::default();
        }
        let moves = matches!(channel.mode.transfer(), Transfer::Write | Transfer::Read);
        let programmed = usize::from(channel.count.current) + 1;
        let units = (data.len() >> shift).min(programmed);
        let mut done = 0;
        while done < units {
            let address = self.channels[number].address.current;
            let room = if channel.mode.decrement() { usize::from(address) } else { usize::from(!address) } + 1;
            let len = room.min(units - done);
            if moves {
                self.move_run(channel, address, (done << shift)..((done + len) << shift), &mut data);
            }
            // At most 10000h units, the whole page: truncation is the wrap.
            let step = len as u16;
            let address = &mut self.channels[number].address.current;
            *address = if channel.mode.decrement() { address.wrapping_sub(step) } else { address.wrapping_add(step) };
            done += len;
        }
        let count = &mut self.channels[number].count.current;
        *count = count.wrapping_sub(units as u16);
        let terminal_count = units == programmed;
        if terminal_count {
            self.finish(number);
        }
        DmaProgress { bytes: units << shift, terminal_count }
    }

    /// Terminal count.
    fn finish(&mut self, number: usize) {
        let bit = 1_u8 << number;
        self.terminal_count |= bit;
        self.request &= !bit;
        let channel = &mut self.channels[number];
        if channel.mode.auto_initialize() {
            channel.address.current = channel.address.base;
            channel.count.current = channel.count.base;
        } else {
            self.mask |= bit;
        }
    }

    /// Moves a run of units that does not cross the end of its page. `address` is that of the first, `bytes` their place
    /// in `data`.
    fn move_run(&self, channel: Channel, address: u16, bytes: std::ops::Range<usize>, data: &mut Data<'_>) {
        let unit = 1 << self.width.shift();
        let page = match self.width {
            Width::Bits8 => channel.page,
            Width::Bits16 => channel.page & !1,
        };
        let decrement = channel.mode.decrement();
        let back = if decrement { bytes.len() - unit } else { 0 };
        let start = (u64::from(page) << 16) + (u64::from(address) << self.width.shift()) - back as u64;
        match data {
            Data::ToMemory(data) if decrement => self.store(start, &reversed(&data[bytes], unit)),
            Data::ToMemory(data) => self.store(start, &data[bytes]),
            Data::FromMemory(buf) => {
                let buf = &mut buf[bytes];
                self.fetch(start, buf);
                if decrement {
                    let forward = reversed(buf, unit);
                    buf.copy_from_slice(&forward);
                }
            }
        }
    }

    /// What is not RAM is left out.
    fn store(&self, mut address: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let (run, rest) = data.split_at(self.memory.extent(address, data.len()));
            // Elsewhere nobody is there to take it.
            let _ = self.memory.write(address, run);
            (address, data) = (address + run.len() as u64, rest);
        }
    }

    /// What is not RAM reads as ones.
    fn fetch(&self, mut address: u64, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let (run, rest) = buf.split_at_mut(self.memory.extent(address, buf.len()));
            if self.memory.read(address, run).is_err() {
                run.fill(u8::MAX);
            }
            (address, buf) = (address + run.len() as u64, rest);
        }
    }
}

/// The same units of `unit` bytes, last one first.
fn reversed(data: &[u8], unit: usize) -> Vec<u8> {
    data.rchunks(unit).flatten().copied().collect()
}

impl IoDevice for I8257 {
    fn read(&mut self, region: u16, offset: u64, _size: u8) -> u64 {
        let register = offset >> self.width.shift();
        let value = match (region, register) {
            (window::CHANNELS, _) => {
                let (counter, high) = self.counter(register);
                counter.read(high)
            }
            (window::CONTROL, control::STATUS_COMMAND) => {
                let ended = std::mem::take(&mut self.terminal_count);
                self.requests() << 4 | ended
            }
            (window::CONTROL, control::REQUEST | control::ALL_MASK) => self.mask,
            (window::PAGES, _) => self.channels[PAGED[offset as usize % 3]].page,
            (window::PAGE_0, _) => self.channels[0].page,
            _ => 0,
        };
        value.into()
    }

    fn write(&mut self, region: u16, offset: u64, _size: u8, value: u64) {
        let register = offset >> self.width.shift();
        let [value, ..] = value.to_le_bytes();
        match region {
            window::CHANNELS => {
                let (counter, high) = self.counter(register);
                counter.write(high, value);
            }
            window::CONTROL => self.write_control(register, value),
            window::PAGES => self.channels[PAGED[offset as usize % 3]].page = value,
            _ => self.channels[0].page = value,
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Channel {
        pub base_address: u16,
        pub current_address: u16,
        pub base_count: u16,
        pub current_count: u16,
        pub mode: u8,
        pub page: u8,
        pub dreq: bool,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub channels: [Channel; super::CHANNELS],
        pub command: u8,
        pub mask: u8,
        pub request: u8,
        pub terminal_count: u8,
        pub flip_flop: bool,
    }
}

impl Device for I8257 {
    fn name(&self) -> &'static str {
        "i8257"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.master_clear();
        for channel in &mut self.channels {
            *channel = Channel { dreq: channel.dreq, ..Channel::default() };
        }
    }

    fn save(&self) -> State {
        let Self { memory: _, width: _, channels, command, mask, request, terminal_count, flip_flop } = self;
        let channels = channels.map(|Channel { address, count, mode, page, dreq }| state::Channel {
            base_address: address.base,
            current_address: address.current,
            base_count: count.base,
            current_count: count.current,
            mode: mode.into(),
            page,
            dreq,
        });
        let state = state::V1 {
            channels,
            command: (*command).into(),
            mask: *mask,
            request: *request,
            terminal_count: *terminal_count,
            flip_flop: *flip_flop,
        };
        State::of(state::VERSION, &state)
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { channels, command, mask, request, terminal_count, flip_flop } = state.decode(state::VERSION)?;
        for (field, value) in [("request", request), ("terminal_count", terminal_count)] {
            if value >> CHANNELS != 0 {
                return Err(StateError::invalid(field, format!("{value:#x} names channels that do not exist")));
            }
        }
        // A channel that was never programmed has zeroes.
        let foreign =
            |(number, channel): (u8, &state::Channel)| ![0, number].contains(&Mode::from(channel.mode).channel());
        if (0..).zip(&channels).any(foreign) {
            return Err(StateError::invalid("channels", "the mode of a channel names another one"));
        }
        self.channels = channels.map(|channel| Channel {
            address: Counter { base: channel.base_address, current: channel.current_address },
            count: Counter { base: channel.base_count, current: channel.current_count },
            mode: Mode::from(channel.mode),
            page: channel.page,
            dreq: channel.dreq,
        });
        self.command = Command::from(command);
        self.mask = mask;
        self.request = request;
        self.terminal_count = terminal_count;
        self.flip_flop = flip_flop;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("Command", u8::from(self.command), 8);
        out.register("Status", self.requests() << 4 | self.terminal_count, 8);
        out.register("Mask", self.mask, 8);
        out.register("Request", self.request, 4);
        for (number, channel) in self.channels.iter().enumerate() {
            out.register(format!("Mode {number}"), u8::from(channel.mode), 8);
            out.register(format!("Page {number}"), channel.page, 8);
            out.register(format!("Base address {number}"), channel.address.base, 16);
            out.register(format!("Current address {number}"), channel.address.current, 16);
            out.register(format!("Base count {number}"), channel.count.base, 16);
            out.register(format!("Current count {number}"), channel.count.current, 16);
        }
    }
}

struct PeripheralChannel {
    controller: Shared<I8257>,
    number: usize,
}

impl DmaChannel for PeripheralChannel {
    fn request(&mut self, on: bool) {
        lock(&self.controller).channels[self.number].dreq = on;
    }

    fn read_memory(&mut self, buf: &mut [u8]) -> DmaProgress {
        lock(&self.controller).transfer(self.number, Data::FromMemory(buf))
    }

    fn write_memory(&mut self, data: &[u8]) -> DmaProgress {
        lock(&self.controller).transfer(self.number, Data::ToMemory(data))
    }
}

impl Drop for PeripheralChannel {
    fn drop(&mut self) {
        self.request(false);
    }
}
