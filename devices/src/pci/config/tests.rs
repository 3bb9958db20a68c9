use super::*;
use crate::base::AccessRule;

fn config() -> PciConfig {
    let io = Bar { region: Region::ports(0, "io", 0x40, AccessRule::BYTE), kind: BarKind::Io };
    let memory = |id, len, kind| Bar { region: Region::memory(id, "memory", len, AccessRule::DWORD), kind };
    PciConfigBuilder::new(0x8086, 0x100e, 0x02_0000)
        .revision(3)
        .bar(0, memory(1, 0x2_0000, BarKind::Memory32 { prefetchable: false }))
        .bar(1, io)
        .bar(2, memory(2, 0x4000, BarKind::Memory64 { prefetchable: true }))
        .bar(ROM_BAR, memory(3, 0x4_0000, BarKind::Rom))
        .write_1_clears(0x06, &[0, 0xf9])
        .capability(0xdc, 0x01, &[0x22, 0xc8, 0, 0], &[0, 0, 3, 0])
        .build()
}

#[test]
fn header_as_the_specification_lays_it_out() {
    let config = config();
    assert_eq!(config.read_u32(0x00), 0x100e_8086);
    assert_eq!(config.read_u32(0x08), 0x0200_0003);
    assert_eq!(config.read_u32(0x2c), 0x1100_1af4);
    assert_eq!(config.read_u32(0x34), 0xdc);
    assert_eq!(config.read_u16(0x06) & 0x10, 0x10);
    assert_eq!(config.read_u32(0xfe), 0);
}

#[test]
fn sizing_shows_the_length_of_every_bar() {
    let mut config = config();
    for (offset, mask) in [
        (0x10, 0xfffe_0000),
        (0x14, 0xffff_ffc1),
        (0x18, 0xffff_c00c),
        (0x1c, 0xffff_ffff),
        (0x20, 0),
        (0x30, 0xfffc_0001_u32),
    ] {
        config.write(offset, 4, u32::MAX);
        assert_eq!(config.read_u32(offset), mask, "{offset:#x}");
    }
}

#[test]
fn bars_decode_when_enabled_and_placed() {
    let mut config = config();
    config.write(0x10, 4, 0xfebc_0000);
    config.write(0x14, 4, 0xc000);
    config.write(0x18, 4, 0x0000_4000);
    config.write(0x1c, 4, 0x0000_0001);
    config.write(0x30, 4, 0xfeb0_0001);
    assert_eq!((0..=ROM_BAR).filter_map(|bar| config.bar_address(bar)).count(), 0);
    config.write(0x04, 2, 0x0003);
    assert_eq!(config.bar_address(0), Some(0xfebc_0000));
    assert_eq!(config.bar_address(1), Some(0xc000));
    assert_eq!(config.bar_address(2), Some(0x1_0000_4000));
    assert_eq!(config.bar_address(ROM_BAR), Some(0xfeb0_0000));
    config.write(0x30, 4, 0xfeb0_0000);
    assert_eq!(config.bar_address(ROM_BAR), None);
    for nowhere in [0, u32::MAX] {
        config.write(0x10, 4, nowhere);
        config.write(0x14, 4, nowhere);
        assert_eq!((config.bar_address(0), config.bar_address(1)), (None, None));
    }
}

#[test]
fn read_only_and_write_1_to_clear_bits() {
    let mut config = config();
    config.write(0x00, 4, 0);
    config.write(0x08, 4, 0);
    assert_eq!((config.read_u32(0x00), config.read_u32(0x08)), (0x100e_8086, 0x0200_0003));
    config.write(0x04, 2, 0xffff);
    assert_eq!(config.read_u16(0x04), 0x0507);
    config.put(0x06, &[0x10, 0x22]);
    config.write(0x06, 2, 0x2000);
    assert_eq!(config.read_u16(0x06), 0x0210);
    config.write(0xdc, 4, u32::MAX);
    config.write(0xe0, 2, 0xffff);
    assert_eq!((config.read_u32(0xdc), config.read_u16(0xe0)), (0xc822_0001, 0x0003));
    config.write(0x50, 4, 0x1234_5678);
    assert_eq!(config.read_u32(0x50), 0x1234_5678);
}

#[test]
fn the_interrupt_follows_status_and_disable() {
    let (line, probe) = IrqLine::probed();
    let gate = BusMaster::closed();
    let mut config = PciConfigBuilder::new(1, 2, 3).interrupt(1, line).bus_master(gate.clone()).build();
    config.set_interrupt(true);
    assert!(probe.level());
    assert_eq!(config.read_u16(0x06) & 8, 8);
    config.write(0x04, 2, 0x0404);
    assert!(!probe.level() && gate.is_open());
    assert_eq!(config.read_u16(0x06) & 8, 8, "the status bit ignores the disable bit");
    let saved = config.save();
    config.write(0x04, 2, 0);
    assert!(probe.level() && !gate.is_open());
    config.reset();
    assert!(!probe.level());
    config.load(&saved).unwrap();
    assert!(!probe.level() && gate.is_open());
    assert_eq!(config.save(), saved);
}

#[test]
fn the_state_of_another_function_is_refused() {
    let mut config = config();
    let other = PciConfigBuilder::new(0x10ec, 0x8139, 0x02_0000).build().save();
    assert!(config.load(&other).is_err());
    // What no guest writes and no device changes: a type, a chain of capabilities that ends nowhere, a capability's contents.
    for (offset, value) in [(0x0e, 1), (0x06, 0x90), (0x06, 0), (0x34, 0x40), (0xdd, 0xdc), (0xde, 0x23), (0xe0, 4)] {
        let mut bad = config.save();
        bad.bytes[offset] = value;
        assert!(config.load(&bad).is_err(), "{offset:#x} {value:#x}");
    }
    let short = PciConfigState { bytes: vec![0; 4], interrupt: false };
    assert!(config.load(&short).is_err());
}
