//! Tests of the transport and of the block device, by a driver that knows nothing of their code: its numbers and layouts are those
//! of the specification, written down a second time.

mod block;
mod contract;
mod doorbells;
mod flaws;
mod interrupts;
mod negotiation;
mod rings;

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::block::{BlockOptions, VirtioBlock};
use super::{Doorbell, DoorbellWatch, PciOptions, QueueClient, RingOptions, VirtioPci, Wiring};
use crate::backend::block::MemoryBlock;
use crate::backend::disk::{DiskPort, ErrorPolicy, ErrorReport, ErrorReporter, ScriptedDisk};
use crate::base::msi::{Msi, MsiSink};
use crate::base::{BusMaster, Delivery, Device, GuestRam, IoDevice, IrqLine, IrqProbe, Region, Space, lock};
use crate::pci::{MessagePort, PciFunction};

/// Bytes of RAM. Queue n is at n * 1_0000h + 1_0000h; data from 10_0000h on.
pub const RAM: u64 = 0x20_0000;
pub const DATA: u64 = 0x10_0000;
/// Sectors of the disk.
pub const SECTORS: usize = 2048;

// Descriptor flags.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

// Features.
pub const F_NOTIFY_ON_EMPTY: u64 = 1 << 24;
pub const F_INDIRECT: u64 = 1 << 28;
pub const F_EVENT_IDX: u64 = 1 << 29;
pub const F_VERSION_1: u64 = 1 << 32;
pub const F_PACKED: u64 = 1 << 34;
pub const F_RING_RESET: u64 = 1 << 40;
pub const F_FLUSH: u64 = 1 << 9;
pub const F_CONFIG_WCE: u64 = 1 << 11;

// Windows, by BAR.
const LEGACY: u16 = 0;
const MSIX: u16 = 1;
const MODERN: u16 = 4;

/// A queue as the driver keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    pub number: u16,
    pub size: u16,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    /// Index of the available ring; place in a packed one.
    pub next: u16,
    pub next_wrap: bool,
    /// Used entries seen.
    pub seen: u16,
    pub seen_wrap: bool,
}

#[derive(Default)]
pub struct Apics(Mutex<Vec<Msi>>);

impl MsiSink for Apics {
    fn send(&self, message: Msi) -> Delivery {
        lock(&self.0).push(message);
        Delivery::Delivered
    }
}

struct Quiet;

impl ErrorReporter for Quiet {
    fn disk_error(&self, _report: &ErrorReport<'_>) {}
}

/// The driver, with its machine.
pub struct Driver {
    pub function: VirtioPci<VirtioBlock>,
    pub medium: MemoryBlock,
    pub disk: ScriptedDisk,
    pub ram: GuestRam,
    pub pin: IrqProbe,
    pub apics: Arc<Apics>,
    /// Where doorbells are heard.
    pub heard: Arc<Heard>,
    pub packed: bool,
}

/// Takes note of the doorbells that are to be heard.
#[derive(Default)]
pub struct Heard(Mutex<Vec<Doorbell>>);

impl DoorbellWatch for Heard {
    fn doorbells_moved(&self, doorbells: &[Doorbell]) {
        *lock(&self.0) = doorbells.to_vec();
    }
}

pub const PLAIN: PciOptions = PciOptions {
    legacy: true,
    modern: true,
    vectors: 3,
    page_per_vq: false,
    rings: RingOptions {
        indirect_desc: true,
        event_idx: true,
        any_layout: true,
        notify_on_empty: true,
        packed: true,
        queue_reset: true,
    },
};

impl Driver {
    pub fn with(options: PciOptions, block: BlockOptions, policy: ErrorPolicy) -> Self {
        let contents = (0..SECTORS * 512).map(|at| (at / 512) as u8 ^ at as u8).collect();
        let medium = MemoryBlock::new(contents);
        let disk = ScriptedDisk::new(medium.clone());
        let port = DiskPort::new(Some(Box::new(disk.clone())), policy, Arc::new(Quiet));
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap());
        let (gate, (intx, pin), apics) = (BusMaster::closed(), IrqLine::probed(), Arc::<Apics>::default());
        let messages = MessagePort::new(Arc::clone(&apics) as _, Arc::clone(&ram), gate.clone());
        let heard = Arc::<Heard>::default();
        let wiring = Wiring { ram: Arc::clone(&ram), gate, intx, messages, watch: Some(Arc::clone(&heard) as _) };
        let function = VirtioPci::new(VirtioBlock::new(port, block), options, wiring);
        let mut driver = Self { function, medium, disk, ram, pin, apics, heard, packed: false };
        driver.config_write(0x04, 2, 0x0007);
        driver
    }

    pub fn new() -> Self {
        let block = BlockOptions { queues: 2, queue_size: 16, serial: "S1".into(), ..BlockOptions::default() };
        Self::with(PLAIN, block, ErrorPolicy::default())
    }

    /// A driver that has gone all the way to DRIVER_OK with these features and two queues of `size` entries.
    pub fn started(features: u64, size: u16) -> (Self, [Ring; 2]) {
        let mut driver = Self::new();
        let rings = driver.start(features, size);
        (driver, rings)
    }

    pub fn start(&mut self, features: u64, size: u16) -> [Ring; 2] {
        self.status(0);
        self.status(1);
        self.status(3);
        self.accept(features | F_VERSION_1);
        self.status(0xb);
        assert_eq!(self.common(0x14, 1), 0xb, "FEATURES_OK stays");
        self.packed = features & F_PACKED != 0;
        let rings = [0, 1].map(|number| self.enable(number, size));
        self.status(0xf);
        rings
    }

    /// Sets up a queue by the registers of virtio 1.
    pub fn enable(&mut self, number: u16, size: u16) -> Ring {
        let base = 0x1_0000 * (u64::from(number) + 1);
        let ring = Ring {
            number,
            size,
            descriptors: base,
            available: base + 0x4000,
            used: base + 0x5000,
            next_wrap: true,
            seen_wrap: true,
            ..Ring::default()
        };
        self.ram.write_slice(&vec![0; 0x6000], GuestAddress(base)).unwrap();
        self.set_common(0x16, 2, number.into());
        self.set_common(0x18, 2, size.into());
        for (at, address) in [(0x20, ring.descriptors), (0x28, ring.available), (0x30, ring.used)] {
            self.set_common(at, 4, address as u32);
            self.set_common(at + 4, 4, (address >> 32) as u32);
        }
        self.set_common(0x1c, 2, 1);
        ring
    }

    pub fn offered(&mut self) -> u64 {
        (0..2).fold(0, |features, half| {
            self.set_common(0x00, 4, half);
            features | u64::from(self.common(0x04, 4)) << (32 * half)
        })
    }

    pub fn accept(&mut self, features: u64) {
        for half in 0..2 {
            self.set_common(0x08, 4, half);
            self.set_common(0x0c, 4, (features >> (32 * half)) as u32);
        }
    }

    pub fn status(&mut self, value: u8) {
        self.set_common(0x14, 1, value.into());
    }

    pub fn needs_reset(&mut self) -> bool {
        self.common(0x14, 1) & 0x40 != 0
    }

    pub fn common(&mut self, offset: u64, size: u8) -> u32 {
        self.function.read(MODERN, offset, size) as u32
    }

    pub fn set_common(&mut self, offset: u64, size: u8, value: u32) {
        self.function.write(MODERN, offset, size, value.into());
    }

    pub fn isr(&mut self) -> u8 {
        self.function.read(MODERN, 0x1000, 1) as u8
    }

    pub fn device_config(&mut self, offset: u64, size: u8) -> u32 {
        self.function.read(MODERN, 0x2000 + offset, size) as u32
    }

    pub fn set_device_config(&mut self, offset: u64, size: u8, value: u32) {
        self.function.write(MODERN, 0x2000 + offset, size, value.into());
    }

    pub fn kick(&mut self, queue: u16) {
        self.function.write(MODERN, 0x3000 + 4 * u64::from(queue), 2, queue.into());
    }

    pub fn port(&mut self, offset: u64, size: u8) -> u32 {
        self.function.read(LEGACY, offset, size) as u32
    }

    pub fn set_port(&mut self, offset: u64, size: u8, value: u32) {
        self.function.write(LEGACY, offset, size, value.into());
    }

    pub fn set_msix(&mut self, offset: u64, value: u32) {
        self.function.write(MSIX, offset, 4, value.into());
    }

    pub fn pending_messages(&mut self) -> u32 {
        self.function.read(MSIX, 0x800, 4) as u32
    }

    pub fn config_read(&mut self, offset: u8, size: u8) -> u32 {
        self.function.config_wanted(offset, size);
        self.function.config().read(offset, size)
    }

    pub fn config_write(&mut self, offset: u8, size: u8, value: u32) {
        self.function.config_mut().write(offset, size, value);
        self.function.config_written(offset, size);
    }

    pub fn take_messages(&self) -> Vec<u32> {
        std::mem::take(&mut *lock(&self.apics.0)).iter().map(|message| message.data).collect()
    }

    pub fn poke<T: vm_memory::ByteValued>(&self, address: u64, value: T) {
        self.ram.write_obj(value, GuestAddress(address)).unwrap();
    }

    pub fn peek<T: vm_memory::ByteValued>(&self, address: u64) -> T {
        self.ram.read_obj(GuestAddress(address)).unwrap()
    }

    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Writes descriptor `index` of a table: in the split format the last two are flags and next, in the packed one id and flags.
    pub fn describe(&self, table: u64, index: u16, address: u64, len: u32, third: u16, fourth: u16) {
        let at = table + 16 * u64::from(index);
        self.poke(at, address);
        self.poke(at + 8, len);
        self.poke(at + 12, third);
        self.poke(at + 14, fourth);
    }

    /// Makes a chain of these stretches (address, length, flags) available, its first descriptor being `head`. Returns
    /// what it will be called when it is used.
    pub fn offer(&self, ring: &mut Ring, head: u16, parts: &[(u64, u32, u16)]) -> u16 {
        let last = parts.len() - 1;
        if self.packed {
            let id = 100 + head;
            // The first descriptor is written last.
            let mut places = Vec::new();
            for (at, (address, len, flags)) in parts.iter().enumerate() {
                let more = if at == last { 0 } else { NEXT };
                let (avail, used) = if ring.next_wrap { (1 << 7, 0) } else { (0, 1 << 15) };
                places.push((ring.next, *address, *len, flags | more | avail | used));
                ring.next += 1;
                if ring.next == ring.size {
                    (ring.next, ring.next_wrap) = (0, !ring.next_wrap);
                }
            }
            for (index, address, len, flags) in places.into_iter().rev() {
                self.describe(ring.descriptors, index, address, len, id, flags);
            }
            return id;
        }
        for (at, (address, len, flags)) in parts.iter().enumerate() {
            let index = (head + at as u16) % ring.size;
            let (more, next) = if at == last { (0, 0) } else { (NEXT, (index + 1) % ring.size) };
            self.describe(ring.descriptors, index, *address, *len, flags | more, next);
        }
        self.make_available(ring, head);
        head
    }

    pub fn make_available(&self, ring: &mut Ring, head: u16) {
        self.poke(ring.available + 4 + 2 * u64::from(ring.next % ring.size), head);
        ring.next = ring.next.wrapping_add(1);
        self.poke(ring.available + 2, ring.next);
    }

    /// Takes a used chain: its name and the length that was written. `entries` is what it took of a packed ring.
    pub fn take_used(&self, ring: &mut Ring, entries: u16) -> Option<(u16, u32)> {
        if self.packed {
            let at = ring.descriptors + 16 * u64::from(ring.seen);
            let flags: u16 = self.peek(at + 14);
            let (avail, used) = (flags & 1 << 7 != 0, flags & 1 << 15 != 0);
            if avail != ring.seen_wrap || used != ring.seen_wrap {
                return None;
            }
            ring.seen += entries;
            if ring.seen >= ring.size {
                (ring.seen, ring.seen_wrap) = (ring.seen - ring.size, !ring.seen_wrap);
            }
            return Some((self.peek(at + 12), self.peek(at + 8)));
        }
        if self.peek::<u16>(ring.used + 2) == ring.seen {
            return None;
        }
        let at = ring.used + 4 + 8 * u64::from(ring.seen % ring.size);
        ring.seen = ring.seen.wrapping_add(1);
        Some((self.peek::<u32>(at) as u16, self.peek(at + 4)))
    }

    /// Writes the header of a block request to `at`.
    pub fn header(&self, at: u64, kind: u32, sector: u64) {
        self.poke(at, kind);
        self.poke(at + 4, 0_u32);
        self.poke(at + 8, sector);
    }

    /// Makes a request of 512 bytes available, header and status at `at`, data 1000h further on.
    pub fn request(&self, ring: &mut Ring, head: u16, at: u64, kind: u32, sector: u64) -> u16 {
        self.header(at, kind, sector);
        self.poke(at + 0x800, 0xff_u8);
        let data = if kind == 0 { WRITE } else { 0 };
        self.offer(ring, head, &[(at, 16, 0), (at + 0x1000, 512, data), (at + 0x800, 1, WRITE)])
    }

    /// A request of any kind, from beginning to end: its status.
    pub fn perform(&mut self, ring: &mut Ring, kind: u32, sector: u64, parts: &[(u64, u32, u16)]) -> u8 {
        self.header(DATA, kind, sector);
        self.poke(DATA + 0x800, 0xff_u8);
        let all: Vec<_> = [&[(DATA, 16, 0)], parts, &[(DATA + 0x800, 1, WRITE)]].concat();
        let head = if self.packed { 0 } else { ring.next % ring.size };
        let name = self.offer(ring, head, &all);
        self.kick(ring.number);
        let (used, _) = self.take_used(ring, all.len() as u16).expect("the request is done");
        assert_eq!(used, name);
        self.peek(DATA + 0x800)
    }

    pub fn regions(&self) -> Vec<Region> {
        (0..6).filter_map(|bar| self.function.config().bar(bar)).map(|bar| bar.region).collect()
    }
}
