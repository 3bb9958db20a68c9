//! Expected values from QEMU's `docs/specs/fw_cfg.rst` and from QEMU 7.2 itself.

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{Bus, BusMaster, GuestRam, Priority, Shared, Space, lock, shared};

const RAM: usize = 0x1_0000;
const DESCRIPTOR: u64 = 0x800;

/// The machine around the device, with the ports where a PC has them.
struct Bench {
    ram: GuestRam,
    device: Shared<FwCfg>,
    bus: Bus,
}

impl Bench {
    fn new(fill: impl FnOnce(&mut FwCfg)) -> Self {
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap());
        let mut device = FwCfg::new(Dma::new(Arc::clone(&ram), BusMaster::always()), 0x20);
        fill(&mut device);
        let device = shared(device);
        let bus = Bus::new(Space::Port);
        for (base, region) in [0x510, 0x514].into_iter().zip(FwCfg::REGIONS) {
            bus.map(base, region, Priority::Fixed, device.clone());
        }
        Self { ram, device, bus }
    }

    fn select(&self, selector: u16) {
        self.bus.write(0x510, &selector.to_le_bytes());
    }

    fn byte(&self) -> u8 {
        let mut byte = [0];
        self.bus.read(0x511, &mut byte);
        byte[0]
    }

    fn bytes<const N: usize>(&self, selector: u16) -> [u8; N] {
        self.select(selector);
        std::array::from_fn(|_| self.byte())
    }

    /// Starts a transfer as SeaBIOS does and returns the control field afterwards.
    fn dma(&self, control: u32, len: u32, address: u64) -> u32 {
        let parts = [&control.to_be_bytes()[..], &len.to_be_bytes(), &address.to_be_bytes()].concat();
        self.ram.write_slice(&parts, GuestAddress(DESCRIPTOR)).unwrap();
        self.bus.write(0x514, &((DESCRIPTOR >> 32) as u32).to_be_bytes());
        self.bus.write(0x518, &(DESCRIPTOR as u32).to_be_bytes());
        u32::from_be_bytes(self.ram.read_obj(GuestAddress(DESCRIPTOR)).unwrap())
    }

    fn memory<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }
}

const SELECT: u32 = 8;
const READ: u32 = 2;
const SKIP: u32 = 4;
const WRITE: u32 = 16;
const ERROR: u32 = 1;

#[test]
fn keeps_the_contract() {
    let make = || {
        let bench = Bench::new(|device| {
            device.add_file("opt/fixed", vec![7; 100]).unwrap();
            device.add_produced_files(&[("opt/made", 3)], || vec![vec![1, 2]]).unwrap();
            device.add_writable_file("opt/written", vec![0; 8], |_| {}).unwrap();
        });
        Subject {
            device: bench.device.clone(),
            regions: FwCfg::REGIONS.to_vec(),
            irqs: Vec::new(),
            keep: Box::new(bench.ram),
        }
    };
    let signature = u64::from_le_bytes(*b"QEMU CFG");
    let data = ResetValue { region: 0, offset: 0, size: 1, value: b'Q'.into() };
    let words = ResetValue { region: 0, offset: 0, size: 2, value: 0 };
    contract::check(make, &[data, words, ResetValue { region: 1, offset: 0, size: 8, value: signature }]);
}

#[test]
fn signature_features_and_the_dma_register() {
    let bench = Bench::new(|_| {});
    assert_eq!(bench.bytes::<6>(0x00), *b"QEMU\0\0", "zeros follow the end");
    assert_eq!(bench.bytes::<4>(0x01), [3, 0, 0, 0]);
    let mut word = [0; 4];
    bench.bus.read(0x514, &mut word);
    assert_eq!(word, *b"QEMU");
    bench.bus.read(0x518, &mut word);
    assert_eq!(word, *b" CFG");
    let mut half = [0; 2];
    bench.bus.read(0x517, &mut half);
    assert_eq!(half, *b"U ");
}

#[test]
fn both_data_ports_read_and_only_a_word_at_510_selects() {
    let bench = Bench::new(|_| {});
    bench.select(0x00);
    let mut byte = [0];
    bench.bus.read(0x510, &mut byte);
    assert_eq!(byte, *b"Q");
    bench.bus.write(0x510, &[1]);
    bench.bus.write(0x511, &[1]);
    bench.bus.write(0x511, &[1, 0]);
    assert_eq!(bench.byte(), b'E', "still the same item, at the next byte");
    let mut word = [0xff; 2];
    bench.bus.read(0x510, &mut word);
    assert_eq!(word, [0, 0], "data is read by bytes");
    assert_eq!(bench.byte(), b'M', "and a refused read takes nothing");
}

#[test]
fn the_directory_is_sorted_and_selectors_follow_it() {
    let bench = Bench::new(|device| {
        device.add_file("opt/b", b"BB").unwrap();
        device.add_file("etc/z", b"Z").unwrap();
        device.add_file("opt/a", vec![0x41; 300]).unwrap();
    });
    let directory = bench.bytes::<200>(0x19);
    assert_eq!(directory[..4], [0, 0, 0, 3]);
    for (index, (name, size)) in [("etc/z", 1_u32), ("opt/a", 300), ("opt/b", 2)].into_iter().enumerate() {
        let entry = &directory[4 + 64 * index..][..64];
        assert_eq!(entry[..4], size.to_be_bytes());
        assert_eq!(entry[4..8], [0, 0x20 + index as u8, 0, 0]);
        assert_eq!(&entry[8..8 + name.len()], name.as_bytes());
        assert!(entry[8 + name.len()..].iter().all(|byte| *byte == 0));
    }
    assert_eq!(directory[196..], [0; 4]);
    assert_eq!(bench.bytes::<3>(0x22), *b"BB\0");
    assert_eq!(bench.bytes::<1>(0x4020), *b"Z", "the write bit of old means nothing");
    assert_eq!(bench.bytes::<1>(0xc000), [0], "the architecture's items are others");
}

#[test]
fn names_and_room_are_checked() {
    let bench = Bench::new(|device| {
        let long = "x".repeat(55);
        device.add_file(&long, b"").unwrap();
        assert_eq!(device.add_file(&long, b""), Err(FileError::Duplicate(long)));
        let longer = "x".repeat(56);
        assert_eq!(device.add_file(&longer, b""), Err(FileError::LongName { name: longer }));
        assert_eq!(device.add_file("", b""), Err(FileError::BadName(String::new())));
        assert_eq!(device.add_file("a\0b", b""), Err(FileError::BadName("a\0b".into())));
        for index in 1..0x20 {
            device.add_file(&format!("{index}"), [index]).unwrap();
        }
        assert_eq!(device.add_file("z", b""), Err(FileError::Full { name: "z".into(), slots: 0x20 }));
    });
    // Sorted as text: 1, 10, 11, ... 19, 2, ... 9, xxx.
    assert_eq!(bench.bytes::<1>(0x21), [10]);
    assert_eq!(bench.bytes::<1>(0x3e), [9]);
    assert_eq!(bench.bytes::<1>(0x3f), [0]);
}

#[test]
fn dma_selects_skips_reads_and_fills_up_with_zeros() {
    let bench = Bench::new(|device| device.add_file("opt/x", b"0123456789").unwrap());
    bench.ram.write_slice(&[0xff; 16], GuestAddress(0x1000)).unwrap();
    assert_eq!(bench.dma(0x20 << 16 | SELECT | SKIP, 4, 0), 0);
    assert_eq!(bench.dma(READ, 3, 0x1000), 0);
    assert_eq!(bench.memory(0x1000), *b"456\xff");
    assert_eq!(bench.dma(READ, 8, 0x1000), 0);
    assert_eq!(bench.memory(0x1000), *b"789\0\0\0\0\0\xff");
    assert_eq!(bench.byte(), 0, "the ports see the same position");
    assert_eq!(bench.dma(0x20 << 16 | SELECT, 100, u64::MAX), 0, "selecting alone moves nothing");
    assert_eq!(bench.byte(), b'0');
    assert_eq!(bench.dma(SKIP, u32::MAX, 0), 0);
    assert_eq!(bench.byte(), 0);
}

#[test]
fn dma_errors_set_bit_0() {
    let bench = Bench::new(|device| device.add_file("opt/x", vec![0x55; 32]).unwrap());
    let select = 0x20 << 16 | SELECT;
    assert_eq!(bench.dma(select | READ, 1, RAM as u64), ERROR);
    assert_eq!(bench.dma(select | READ, 32, RAM as u64 - 16), ERROR);
    assert_eq!(bench.dma(select | READ, 1, u64::MAX), ERROR);
    assert_eq!(bench.dma(select | WRITE, 1, 0x1000), ERROR, "not a writable file");
    assert_eq!(bench.dma(0x7fff << 16 | SELECT | WRITE, 1, 0x1000), ERROR, "no such item");
    assert_eq!(bench.dma(0x7fff << 16 | SELECT | READ, 1, 0x1000), 0, "reads as zero");
    // A descriptor outside RAM, or half of it: nobody can be told, nothing happens.
    bench.bus.write(0x514, &u64::MAX.to_be_bytes()[..4]);
    bench.bus.write(0x518, &u64::MAX.to_be_bytes()[..4]);
    bench.bus.write(0x518, &(RAM as u32 - 8).to_be_bytes());
    assert_eq!(bench.memory(RAM as u64 - 8), 1_u32.to_be_bytes(), "its control field is in RAM and says so");
}

/// The high half of the address is forgotten once a transfer has started.
#[test]
fn the_high_half_of_the_address_is_used_once() {
    let bench = Bench::new(|_| {});
    bench.bus.write(0x514, &1_u32.to_be_bytes());
    bench.bus.write(0x518, &(DESCRIPTOR as u32).to_be_bytes());
    let descriptor = [(READ | SELECT).to_be_bytes(), 4_u32.to_be_bytes(), [0; 4], 0x1000_u32.to_be_bytes()].concat();
    bench.ram.write_slice(&descriptor, GuestAddress(DESCRIPTOR)).unwrap();
    bench.bus.write(0x518, &(DESCRIPTOR as u32).to_be_bytes());
    assert_eq!(bench.memory(0x1000), *b"QEMU");
    bench.bus.write(0x514, &DESCRIPTOR.to_be_bytes());
    assert_eq!(bench.memory(DESCRIPTOR), [0; 4], "64 bits at once");
}

#[test]
fn writable_files_take_whole_writes_and_reset_forgets_them() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let bench = Bench::new(|device| {
        let written = move |bytes: &[u8]| lock(&sink).push(bytes.to_vec());
        device.add_writable_file("etc/w", b"....".to_vec(), written).unwrap();
    });
    bench.ram.write_slice(b"abcdef", GuestAddress(0x1000)).unwrap();
    let select = 0x20 << 16 | SELECT;
    assert_eq!(bench.dma(select | SKIP, 1, 0), 0);
    assert_eq!(bench.dma(WRITE, 2, 0x1000), 0);
    assert_eq!(bench.bytes::<5>(0x20), *b".ab.\0");
    assert_eq!(bench.dma(select | WRITE, 5, 0x1000), ERROR, "past the end");
    assert_eq!(bench.dma(select | WRITE, 4, RAM as u64 - 1), ERROR);
    assert_eq!(bench.bytes::<4>(0x20), *b".ab.", "failed writes change nothing");
    assert_eq!(*lock(&told), [b".ab.".to_vec()]);
    bench.bus.write(0x511, b"x");
    assert_eq!(bench.bytes::<4>(0x20), *b".ab.", "the data port does not write");

    let saved = lock(&bench.device).save();
    lock(&bench.device).reset(ResetKind::System);
    assert_eq!(lock(&told).last().unwrap(), b"....");
    lock(&bench.device).load(&saved).unwrap();
    assert_eq!(lock(&told).last().unwrap(), b".ab.");
}

#[test]
fn contents_are_made_on_selection_once_per_reset() {
    let mut round = 0;
    let bench = Bench::new(|device| {
        let produce = move || {
            round += 1;
            vec![vec![round; 8]]
        };
        device.add_produced_files(&[("etc/p", 4)], produce).unwrap();
    });
    assert_eq!(bench.bytes::<4>(0x19), [0, 0, 0, 1]);
    assert_eq!(bench.bytes::<5>(0x20), [1, 1, 1, 1, 0], "cut to the size in the directory");
    assert_eq!(bench.bytes::<1>(0x20), [1]);
    let saved = lock(&bench.device).save();
    lock(&bench.device).reset(ResetKind::System);
    assert_eq!(bench.byte(), b'Q', "reset selects the signature");
    assert_eq!(bench.bytes::<1>(0x20), [2]);
    lock(&bench.device).load(&saved).unwrap();
    assert_eq!(bench.byte(), 1, "a loaded state brings its own contents");
}

#[test]
fn contents_that_belong_together_are_made_at_one_time() {
    let mut round = 0;
    let bench = Bench::new(|device| {
        let produce = move || {
            round += 1;
            vec![vec![round; 2], vec![0x10 + round; 2]]
        };
        // In the directory the second comes first.
        device.add_produced_files(&[("etc/q", 2), ("etc/p", 2)], produce).unwrap();
    });
    assert_eq!((bench.bytes::<2>(0x21), bench.bytes::<2>(0x20)), ([1, 1], [0x11, 0x11]));
    lock(&bench.device).reset(ResetKind::System);
    assert_eq!((bench.bytes::<2>(0x20), bench.bytes::<2>(0x21)), ([0x12, 0x12], [2, 2]));
}

#[test]
fn states_that_the_device_cannot_reach_are_refused() {
    let bench = Bench::new(|device| {
        device.add_file("fixed", b"12").unwrap();
        device.add_writable_file("written", vec![0; 2], |_| {}).unwrap();
    });
    let saved = lock(&bench.device).save();
    let refused = |field: &str, value: serde_json::Value| {
        let mut bad = saved.clone();
        bad.data[field] = value;
        let error = lock(&bench.device).load(&bad).unwrap_err();
        assert!(matches!(error, StateError::Invalid { field: named, .. } if named == field), "{error}");
        assert_eq!(lock(&bench.device).save(), saved);
    };
    refused("offset", 5.into());
    refused("dma_address", 1.into());
    refused("files", serde_json::json!({}));
    refused("files", serde_json::json!({ "written": [1] }));
    refused("files", serde_json::json!({ "written": [1, 2], "fixed": [1, 2] }));
    refused("files", serde_json::json!({ "written": [1, 2], "other": [] }));
}

/// CVE-2016-1714: with a selector outside the table, reads and writes through the data port went past an array.
#[test]
fn cve_2016_1714_selectors_outside_the_table() {
    let bench = Bench::new(|device| device.add_file("opt/x", b"secret").unwrap());
    for selector in [0x40, 0x3fff, 0x403f, 0x7fff, 0x8040, 0xbfff, 0xffff] {
        assert_eq!(bench.bytes::<8>(selector), [0; 8], "{selector:#x}");
        bench.bus.write(0x511, &[0xaa]);
        assert_eq!(bench.dma(READ, 8, 0x1000), 0);
        assert_eq!(bench.memory(0x1000), [0; 8]);
        assert_eq!(bench.dma(WRITE, 8, 0x1000), ERROR);
        assert_eq!(bench.dma(SKIP, 8, 0x1000), 0);
        let saved = lock(&bench.device).save();
        lock(&bench.device).load(&saved).unwrap();
    }
}

/// A transfer that overwrites its own descriptor, one of 4 GiB, and one past the end of RAM: all end.
#[test]
fn hostile_descriptors_end() {
    let bench = Bench::new(|_| {});
    assert_eq!(bench.dma(SELECT | READ, 64, DESCRIPTOR - 16), 0);
    assert_eq!(bench.memory(DESCRIPTOR - 16), *b"QEMU");
    assert_eq!(bench.dma(SELECT | READ, u32::MAX, 0), ERROR, "4 GiB of zeros");
    assert_eq!(bench.dma(SELECT | READ, 0x2_0000, 0), ERROR, "RAM ends first");
    assert_eq!(bench.dma(!(WRITE | READ), u32::MAX, u64::MAX), 0);
}

#[test]
fn inspect_lists_the_files() {
    let bench = Bench::new(|device| device.add_produced_files(&[("etc/p", 4096)], Vec::new).unwrap());
    bench.select(0x19);
    let mut report = Inspector::default();
    lock(&bench.device).inspect(&mut report);
    let text = report.to_string();
    assert!(text.contains("selector = 0x0019") && text.contains("etc/p = 4096"), "{text}");
}

/// Descriptors of 4 GiB, one after the other, kept a processor of a machine with much RAM from being stopped.
#[test]
fn zeros_without_end_are_an_error_before_anything_is_written() {
    let bench = Bench::new(|device| device.add_file("opt/x", vec![7; 4]).unwrap());
    bench.ram.write_slice(&[0x55; 16], GuestAddress(0)).unwrap();
    for selector in [0x3fff_u32, 0x20] {
        assert_eq!(bench.dma(selector << 16 | SELECT | READ, 0x1000_0000, 0), ERROR, "{selector:#x}");
        assert_eq!(bench.memory::<16>(0), [0x55; 16], "{selector:#x}");
    }
    assert_eq!(bench.dma(0x20 << 16 | SELECT | READ, 6, 0), 0);
    assert_eq!(bench.memory::<8>(0), [7, 7, 7, 7, 0, 0, 0x55, 0x55]);
}
