//! A driver of an IDE disk at the PIIX3, as short as it can be (ATA/ATAPI-6; 82371SB data sheet, section 2.7).

use guest::memory::{self, PAGE};
use guest::pci::{Function, register};
use guest::ring0::{inb, outb, outl};
use guest::{exit, println, ring0, ring0_routines};

use super::{Places, SECTOR, Work, time};

/// Ports of the first channel.
mod port {
    pub const DATA: u16 = 0x1f0;
    pub const COUNT: u16 = 0x1f2;
    pub const LBA: u16 = 0x1f3;
    pub const DEVICE: u16 = 0x1f6;
    pub const COMMAND: u16 = 0x1f7;
    pub const CONTROL: u16 = 0x3f6;
}

mod command {
    pub const READ_MULTIPLE: u8 = 0xc4;
    pub const WRITE_MULTIPLE: u8 = 0xc5;
    pub const SET_MULTIPLE: u8 = 0xc6;
    pub const READ_DMA: u8 = 0xc8;
    pub const WRITE_DMA: u8 = 0xca;
    pub const IDENTIFY: u8 = 0xec;
}

/// Status: busy, data request, error.
const BSY: u8 = 1 << 7;
const DRQ: u8 = 1 << 3;
const ERR: u8 = 1 << 0;
/// Master, by LBA.
const MASTER: u8 = 0xe0;
/// No interrupts.
const NIEN: u8 = 1 << 1;
/// Sectors that go at a time.
const MULTIPLE: u64 = 16;

/// The controller, its bus master's base address register, and where that goes if nobody has placed it.
const CONTROLLER: Function = Function { bus: 0, device: 1, function: 1 };
const BAR4: u8 = 0x20;
const BUS_MASTER: u32 = 0xcc00;
/// I/O Space and Bus Master Enable.
const COMMAND: u16 = 0x5;
/// Registers of the bus master.
mod bus_master {
    pub const COMMAND: u16 = 0;
    pub const STATUS: u16 = 2;
    pub const TABLE: u16 = 4;
    /// Command: go, and to memory.
    pub const START: u8 = 1 << 0;
    pub const TO_MEMORY: u8 = 1 << 3;
    /// Status: active, failed, interrupt.
    pub const ACTIVE: u8 = 1 << 0;
    pub const ERROR: u8 = 1 << 1;
    pub const INTERRUPT: u8 = 1 << 2;
}

ring0_routines! {
    // Until no bit of AH is set in the register.
    wait_clear: "2:", "in al, dx", "test al, ah", "jnz 2b";
    wait_set: "2:", "in al, dx", "test al, ah", "jz 2b";
    read_words: "rep insw";
    write_words: "rep outsw";
}

/// Makes `work` requests of the master of the first channel.
pub fn run(work: &Work, dma: bool) {
    outb(port::CONTROL, NIEN);
    outb(port::DEVICE, MASTER);
    outb(port::COUNT, MULTIPLE as u8);
    outb(port::COMMAND, command::SET_MULTIPLE);
    check(wait(port::COMMAND, BSY, false));
    let buffer = pages(work.size.max(PAGE));
    outb(port::COMMAND, command::IDENTIFY);
    check(wait(port::COMMAND, BSY, false));
    words(false, buffer, SECTOR);
    // SAFETY: a page of this program's, which no device writes to now.
    let identity = unsafe { memory::slice::<u16>(buffer, 256) }.unwrap_or_default();
    let sectors = u64::from(identity[60]) | u64::from(identity[61]) << 16;

    let mut places = Places::new(work, sectors);
    if !dma {
        return time(work, || (0..work.count).for_each(|_| programmed(work, places.next(), buffer)));
    }
    if CONTROLLER.read32(BAR4) & !3 == 0 {
        CONTROLLER.write32(BAR4, BUS_MASTER);
    }
    CONTROLLER.write16(register::COMMAND, COMMAND);
    let base = (CONTROLLER.read32(BAR4) & !3) as u16;
    // Each entry may describe 64 KiB, which is written as 0.
    let table = pages(PAGE);
    let mut entry = table as *mut [u32; 2];
    for at in (0..work.size).step_by(64 << 10) {
        let len = (work.size - at).min(64 << 10);
        let last = if at + len == work.size { 1 << 31 } else { 0 };
        // SAFETY: one or two entries at the beginning of a page of this program's.
        unsafe { entry.write_volatile([(buffer + at) as u32, (len as u32 & 0xffff) | last]) };
        entry = entry.wrapping_add(1);
    }
    outl(base + bus_master::TABLE, table as u32);
    outb(port::CONTROL, 0);
    time(work, || (0..work.count).for_each(|_| by_bus_master(work, places.next(), base)));
}

/// Memory for a device, at a multiple of 64 KiB: an entry of a table does not cross one.
fn pages(bytes: u64) -> u64 {
    match memory::allocate((bytes + (64 << 10)).div_ceil(PAGE)) {
        Some(pages) => (pages.addr().get() as u64).next_multiple_of(64 << 10),
        None => fail("memory is short"),
    }
}

fn fail(why: &str) -> ! {
    println!("disk: {why}");
    exit::fail();
}

fn check(status: u8) {
    if status & ERR != 0 {
        fail("the disk reports an error");
    }
}

/// Waits until bits of a register are set, or none is, and gives the register.
fn wait(port: u16, bits: u8, set: bool) -> u8 {
    let mut value = u16::from(bits) << 8;
    match set {
        // SAFETY: the routine changes AX only.
        true => unsafe { ring0!(wait_set, in("dx") port, inout("ax") value, options(nostack)) },
        // SAFETY: likewise.
        false => unsafe { ring0!(wait_clear, in("dx") port, inout("ax") value, options(nostack)) },
    }
    value as u8
}

/// Moves the words of a sector or several.
fn words(write: bool, address: u64, bytes: u64) {
    let words = bytes / 2;
    if write {
        // SAFETY: the bytes are pages of this program's; the routine changes RSI and RCX.
        unsafe {
            ring0!(write_words, in("dx") port::DATA, inout("rsi") address => _, inout("rcx") words => _, options(nostack));
        }
    } else {
        // SAFETY: likewise, with RDI and RCX.
        unsafe {
            ring0!(read_words, in("dx") port::DATA, inout("rdi") address => _, inout("rcx") words => _, options(nostack));
        }
    }
}

/// Names the sectors and gives the command.
fn begin(work: &Work, sector: u64, command: u8) {
    outb(port::COUNT, (work.size / SECTOR) as u8);
    for (at, shift) in (0..).zip([0, 8, 16]) {
        outb(port::LBA + at, (sector >> shift) as u8);
    }
    outb(port::DEVICE, MASTER | (sector >> 24) as u8 & 0xf);
    outb(port::COMMAND, command);
}

fn programmed(work: &Work, sector: u64, buffer: u64) {
    begin(work, sector, if work.write { command::WRITE_MULTIPLE } else { command::READ_MULTIPLE });
    for at in (0..work.size).step_by((MULTIPLE * SECTOR) as usize) {
        let status = wait(port::COMMAND, BSY, false);
        check(status);
        if status & DRQ == 0 {
            fail("the disk has no data");
        }
        words(work.write, buffer + at, (work.size - at).min(MULTIPLE * SECTOR));
    }
    check(wait(port::COMMAND, BSY, false));
}

fn by_bus_master(work: &Work, sector: u64, base: u16) {
    use bus_master::{ACTIVE, ERROR, INTERRUPT, START, STATUS, TO_MEMORY};
    let direction = if work.write { 0 } else { TO_MEMORY };
    outb(base + bus_master::COMMAND, direction);
    outb(base + STATUS, ERROR | INTERRUPT);
    begin(work, sector, if work.write { command::WRITE_DMA } else { command::READ_DMA });
    outb(base + bus_master::COMMAND, direction | START);
    if wait(base + STATUS, INTERRUPT, true) & (ACTIVE | ERROR) != 0 {
        fail("the bus master reports an error");
    }
    outb(base + bus_master::COMMAND, 0);
    // Reading it ends the interrupt.
    check(inb(port::COMMAND));
}
