use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{BusMaster, GuestRam, shared};

const RAM: usize = 4 << 20;

struct Rig {
    ram: GuestRam,
    chip: Shared<I8257>,
    width: Width,
}

fn rig(width: Width) -> Rig {
    let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap());
    let chip = shared(I8257::new(width, Dma::new(Arc::clone(&ram), BusMaster::always())));
    Rig { ram, chip, width }
}

impl Rig {
    /// Ports as the data sheet numbers them: 0 to 7 channels, 8 to F control.
    fn out(&self, port: u64, value: u8) {
        let (region, register) = if port < 8 { (window::CHANNELS, port) } else { (window::CONTROL, port - 8) };
        lock(&self.chip).write(region, register << self.width.shift(), 1, value.into());
    }

    fn inb(&self, port: u64) -> u8 {
        let (region, register) = if port < 8 { (window::CHANNELS, port) } else { (window::CONTROL, port - 8) };
        lock(&self.chip).read(region, register << self.width.shift(), 1) as u8
    }

    fn out16(&self, port: u64, value: u16) {
        self.out(0xc, 0);
        value.to_le_bytes().into_iter().for_each(|byte| self.out(port, byte));
    }

    fn in16(&self, port: u64) -> u16 {
        self.out(0xc, 0);
        u16::from_le_bytes([self.inb(port), self.inb(port)])
    }

    /// Programs channel 2 as a floppy driver does; `count` is one less than the number of transfers.
    fn program(&self, mode: u8, page: u8, address: u16, count: u16) {
        self.out(0xa, 0x06);
        self.out(0xb, mode | 2);
        self.out16(4, address);
        self.out16(5, count);
        lock(&self.chip).write(window::PAGES, 0, 1, page.into());
        self.out(0xa, 0x02);
    }

    fn channel(&self) -> Box<dyn DmaChannel> {
        let mut channel = channel(&self.chip, 2);
        channel.request(true);
        channel
    }

    fn memory(&self, address: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.ram.read_slice(&mut data, GuestAddress(address)).unwrap();
        data
    }

    fn fill(&self, address: u64, data: &[u8]) {
        self.ram.write_slice(data, GuestAddress(address)).unwrap();
    }
}

fn moved(bytes: usize, terminal_count: bool) -> DmaProgress {
    DmaProgress { bytes, terminal_count }
}

/// Mode bits: single transfers that write memory, that read memory, that verify.
const WRITE: u8 = 0x44;
const READ: u8 = 0x48;
const VERIFY: u8 = 0x40;
const AUTO: u8 = 0x10;
const DOWN: u8 = 0x20;
/// Turns single mode into block mode.
const BLOCK: u8 = 0xc0;

#[test]
fn keeps_the_contract() {
    for width in [Width::Bits8, Width::Bits16] {
        let shift = width.shift();
        contract::check(
            || {
                let Rig { ram, chip, .. } = rig(width);
                Subject { device: chip, regions: I8257::regions(width).to_vec(), irqs: Vec::new(), keep: Box::new(ram) }
            },
            // QEMU 7.2, `i /b` on a stopped machine.
            &[
                ResetValue { region: window::CHANNELS, offset: 0, size: 1, value: 0 },
                ResetValue { region: window::CHANNELS, offset: 1 << shift, size: 1, value: 0 },
                ResetValue { region: window::CONTROL, offset: 0, size: 1, value: 0 },
                ResetValue { region: window::CONTROL, offset: 1 << shift, size: 1, value: 0xff },
                ResetValue { region: window::CONTROL, offset: 5 << shift, size: 1, value: 0 },
                ResetValue { region: window::PAGES, offset: 0, size: 1, value: 0 },
                ResetValue { region: window::PAGE_0, offset: 0, size: 1, value: 0 },
            ],
        );
    }
}

#[test]
fn the_flip_flop_orders_bytes() {
    let rig = rig(Width::Bits8);
    rig.out(0xc, 0);
    rig.out(0, 0x34);
    rig.out(0, 0x12);
    assert_eq!([rig.inb(0), rig.inb(0)], [0x34, 0x12]);
    rig.out(0, 0x78);
    // Half a write; clearing the flip-flop starts over.
    assert_eq!(rig.in16(0), 0x1278);
    rig.inb(1);
    rig.out(0xd, 0);
    assert_eq!([rig.inb(0), rig.inb(0)], [0x78, 0x12], "master clear clears it, and keeps addresses");
}

#[test]
fn masks_are_set_one_by_one_and_together() {
    let rig = rig(Width::Bits8);
    rig.out(0xe, 0);
    assert_eq!(rig.inb(0x9), 0);
    rig.out(0xa, 0x05);
    rig.out(0xa, 0x07);
    rig.out(0xa, 0x01);
    assert_eq!([rig.inb(0x9), rig.inb(0xf)], [0x08, 0x08]);
    rig.out(0xf, 0x05);
    assert_eq!(rig.inb(0x9), 0x05);
    rig.out(0xd, 0);
    assert_eq!(rig.inb(0x9), 0xff);
}

#[test]
fn a_peripheral_fills_memory_until_terminal_count() {
    let rig = rig(Width::Bits8);
    rig.program(WRITE, 0x12, 0x3456, 5);
    let mut channel = rig.channel();
    assert_eq!(channel.write_memory(&[1, 2, 3, 4]), moved(4, false));
    assert_eq!([rig.in16(4), rig.in16(5)], [0x345a, 1]);
    assert_eq!(rig.inb(8), 0x40, "requesting, terminal count not reached");
    assert_eq!(channel.write_memory(&[5, 6, 7]), moved(2, true));
    assert_eq!(rig.memory(0x12_3456, 7), [1, 2, 3, 4, 5, 6, 0]);
    assert_eq!([rig.in16(4), rig.in16(5)], [0x345c, 0xffff]);
    channel.request(false);
    assert_eq!([rig.inb(8), rig.inb(8)], [0x04, 0x00], "reading clears terminal count");
    assert_eq!(rig.inb(9) & 0x0f, 0x0f, "terminal count masks");
    channel.request(true);
    assert_eq!(channel.write_memory(&[8]), moved(0, false));
}

#[test]
fn what_is_not_allowed_moves_nothing() {
    let rig = rig(Width::Bits8);
    rig.program(WRITE, 0, 0x1000, 15);
    let mut channel = rig.channel();
    assert_eq!(channel.read_memory(&mut [0; 4]), moved(0, false), "the other direction");
    channel.request(false);
    assert_eq!(channel.write_memory(&[1]), moved(0, false), "no request");
    channel.request(true);
    rig.out(8, 0x04);
    assert_eq!(channel.write_memory(&[1]), moved(0, false), "disabled");
    rig.out(8, 0x00);
    rig.out(0xa, 0x06);
    assert_eq!(channel.write_memory(&[1]), moved(0, false), "masked");
    rig.out(0xe, 0x00);
    rig.out(0xb, 0xc6);
    assert_eq!(channel.write_memory(&[1]), moved(0, false), "cascade");
    rig.out(0xb, WRITE | 2);
    rig.out(8, 0x40);
    assert_eq!(channel.write_memory(&[1]), moved(0, false), "DREQ is active low");
    rig.out(8, 0x00);
    assert_eq!(channel.write_memory(&[1]), moved(1, false));
    drop(channel);
    assert_eq!(rig.inb(8), 0, "a peripheral that is gone requests nothing");
}

#[test]
fn memory_is_read_up_and_down_and_wraps_in_its_page() {
    let rig = rig(Width::Bits8);
    rig.fill(0x1_fffe, &[1, 2, 0xee]);
    rig.fill(0x1_0000, &[3, 4]);
    rig.program(READ, 1, 0xfffe, 0xff);
    let mut buf = [0; 4];
    assert_eq!(rig.channel().read_memory(&mut buf), moved(4, false));
    assert_eq!(buf, [1, 2, 3, 4]);
    rig.program(READ | DOWN, 1, 0x0001, 0xff);
    assert_eq!(rig.channel().read_memory(&mut buf), moved(4, false));
    assert_eq!(buf, [4, 3, 2, 1]);
    assert_eq!(rig.in16(4), 0xfffd);
    rig.program(WRITE | DOWN, 2, 0x0102, 2);
    assert_eq!(rig.channel().write_memory(&[7, 8, 9]), moved(3, true));
    assert_eq!(rig.memory(0x2_0100, 3), [9, 8, 7]);
}

#[test]
fn verifying_counts_and_moves_nothing() {
    let rig = rig(Width::Bits8);
    rig.fill(0x1000, &[1, 2]);
    rig.program(VERIFY, 0, 0x1000, 1);
    let mut buf = [9; 1];
    assert_eq!(rig.channel().read_memory(&mut buf), moved(1, false));
    assert_eq!(rig.channel().write_memory(&[7]), moved(1, true));
    assert_eq!(buf, [9]);
    assert_eq!(rig.memory(0x1000, 2), [1, 2]);
}

#[test]
fn auto_initialization_starts_over_unmasked() {
    let rig = rig(Width::Bits8);
    rig.program(WRITE | AUTO, 0, 0x1000, 1);
    let mut channel = rig.channel();
    assert_eq!(channel.write_memory(&[1, 2, 3]), moved(2, true));
    assert_eq!([rig.in16(4), rig.in16(5)], [0x1000, 1]);
    assert_eq!(channel.write_memory(&[3]), moved(1, false));
    assert_eq!(rig.memory(0x1000, 2), [3, 2]);
}

#[test]
fn words_have_their_own_pages_and_whole_units() {
    let rig = rig(Width::Bits16);
    // Bit 0 of the page is not an address bit: 128 KiB pages.
    rig.program(WRITE, 0x13, 0xffff, 2);
    let mut channel = rig.channel();
    assert_eq!(channel.write_memory(&[1, 2, 3]), moved(2, false));
    assert_eq!(channel.write_memory(&[3, 4, 5, 6]), moved(4, true));
    assert_eq!(rig.memory(0x13_fffe, 2), [1, 2]);
    assert_eq!(rig.memory(0x12_0000, 4), [3, 4, 5, 6]);
    rig.program(READ | DOWN, 0x12, 0x0001, 1);
    let mut buf = [0; 4];
    assert_eq!(rig.channel().read_memory(&mut buf), moved(4, true));
    assert_eq!(buf, [5, 6, 3, 4], "words go down, their bytes do not");
}

#[test]
fn page_registers_belong_to_their_channels() {
    let rig = rig(Width::Bits8);
    for (offset, value) in [(0, 0x22), (1, 0x33), (2, 0x11)] {
        lock(&rig.chip).write(window::PAGES, offset, 1, value);
        assert_eq!(lock(&rig.chip).read(window::PAGES, offset, 1), value);
    }
    lock(&rig.chip).write(window::PAGE_0, 0, 1, 0x10);
    assert_eq!(lock(&rig.chip).read(window::PAGE_0, 0, 1), 0x10);
    assert_eq!(lock(&rig.chip).channels.map(|channel| channel.page), [0x10, 0x11, 0x22, 0x33]);
}

#[test]
fn outside_ram_reads_ones_and_writes_vanish() {
    let rig = rig(Width::Bits8);
    rig.fill(RAM as u64 - 2, &[1, 2]);
    rig.program(READ, (RAM >> 16) as u8 - 1, 0xfffe, 0xff);
    let mut buf = [0; 2];
    assert_eq!(rig.channel().read_memory(&mut buf), moved(2, false));
    assert_eq!(buf, [1, 2]);
    rig.program(READ, (RAM >> 16) as u8, 0, 1);
    assert_eq!(rig.channel().read_memory(&mut buf), moved(2, true));
    assert_eq!(buf, [0xff, 0xff]);
    rig.program(WRITE, 0xff, 0, 1);
    assert_eq!(rig.channel().write_memory(&[0; 2]), moved(2, true));
}

/// A transfer crosses holes in RAM, in both directions of counting.
#[test]
fn holes_are_passed_over() {
    let part = |start, len| (GuestAddress(start), len);
    let ram = GuestMemoryMmap::from_ranges(&[part(0, 0x2000), part(0x4000, 0x1000), part(0x5000, 0x1000)]).unwrap();
    let ram: GuestRam = Arc::new(ram);
    for (mode, address) in [(0, 0x1000), (0x20, 0x6fff)] {
        let chip = shared(I8257::new(Width::Bits8, Dma::new(Arc::clone(&ram), BusMaster::always())));
        let rig = Rig { ram: Arc::clone(&ram), chip, width: Width::Bits8 };
        rig.program(WRITE | mode, 0, address, 0x5fff);
        assert_eq!(rig.channel().write_memory(&[0x5a; 0x6000]), moved(0x6000, true));
        rig.program(READ | mode, 0, address, 0x5fff);
        let mut buf = vec![0; 0x6000];
        assert_eq!(rig.channel().read_memory(&mut buf), moved(0x6000, true));
        if mode != 0 {
            buf.reverse();
        }
        for (page, byte) in [0x5a, 0xff, 0xff, 0x5a, 0x5a, 0xff].into_iter().enumerate() {
            assert!(buf[page << 12..][..0x1000].iter().all(|found| *found == byte), "{mode:#x} page {page}");
        }
        ram.write_slice(&[0; 0x1000], GuestAddress(0x4000)).unwrap();
    }
}

#[test]
fn a_software_request_runs_over_an_idle_bus_in_block_mode_only() {
    let rig = rig(Width::Bits8);
    rig.program(WRITE, 0, 0x1000, 1);
    rig.out(9, 0x06);
    assert_eq!(rig.inb(8), 0x40, "single mode: it stays, as in QEMU");
    rig.out(9, 0x02);
    assert_eq!(rig.inb(8), 0x00);
    rig.program(WRITE ^ BLOCK, 0, 0x1000, 1);
    rig.out(0xf, 0x0f);
    rig.out(9, 0x06);
    assert_eq!(rig.inb(8), 0x04, "not maskable, and over at terminal count");
    assert_eq!(rig.memory(0x1000, 3), [0xff, 0xff, 0]);
    rig.program((READ ^ BLOCK) | AUTO, 0, 0x1000, 0xffff);
    rig.out(9, 0x06);
    assert_eq!(rig.inb(8), 0x04, "auto-initialization does not repeat it");
}

/// CVE-2015-3456's neighbour and the endless transfers of other models: whatever is programmed, one call ends after at
/// most 64 Ki units.
#[test]
fn a_transfer_is_bounded_whatever_is_programmed() {
    let rig = rig(Width::Bits16);
    rig.program(READ | AUTO, 0xff, 0xffff, 0xffff);
    let mut buf = vec![0; 0x4_0000];
    assert_eq!(rig.channel().read_memory(&mut buf), moved(0x2_0000, true));
}

#[test]
fn a_state_with_impossible_channels_is_refused() {
    let rig = rig(Width::Bits8);
    let saved = lock(&rig.chip).save();
    for field in ["request", "terminal_count"] {
        let mut bad = saved.clone();
        bad.data[field] = 0x10.into();
        assert!(lock(&rig.chip).load(&bad).is_err(), "{field}");
    }
    let mut bad = saved.clone();
    bad.data["channels"][2]["mode"] = 0x47.into();
    assert!(lock(&rig.chip).load(&bad).is_err(), "the mode of channel 3");
}

#[test]
fn a_transfer_goes_on_in_a_loaded_twin() {
    let rig = rig(Width::Bits8);
    rig.program(WRITE, 0, 0x1000, 3);
    let mut channel = rig.channel();
    channel.write_memory(&[1, 2]);
    let saved = lock(&rig.chip).save();
    channel.write_memory(&[9, 9]);
    lock(&rig.chip).load(&saved).unwrap();
    assert_eq!(channel.write_memory(&[3, 4]), moved(2, true));
    assert_eq!(rig.memory(0x1000, 4), [1, 2, 3, 4]);
}
