//! Devices that are added, and where they sit.

use super::*;

#[test]
fn devices_take_their_properties_then_globals_then_defaults() {
    let devices = |line: &str| machine(&format!("-nodefaults -chardev null,id=c -chardev null,id=d {line}")).devices;
    let exit = |iobase, iosize| DeviceConfig::IsaDebugExit(IsaDebugExit { id: None, iobase, iosize });
    assert_eq!(devices("-device isa-debug-exit"), [exit(0x501, 2)]);
    assert_eq!(devices("-device isa-debug-exit,iobase=0xf4,iosize=0x04,bus=isa.0"), [exit(0xf4, 4)]);
    assert_eq!(devices("-device {\"driver\":\"isa-debug-exit\",\"iobase\":244}"), [exit(0xf4, 2)]);
    assert_eq!(
        devices(
            "-global isa-debug-exit.iobase=0xf4 -device isa-debug-exit -device isa-debug-exit,iobase=1 -global driver=isa-debug-exit,property=iosize,value=1"
        ),
        [exit(0xf4, 1), exit(1, 1)]
    );
    assert_eq!(
        devices(
            "-debugcon null -global isa-debugcon.iobase=0x402 -device isa-debugcon,chardev=c,id=x,iobase=5,readback=0"
        ),
        [
            DeviceConfig::IsaDebugcon(IsaDebugcon {
                id: None,
                iobase: 0x402,
                readback: 0xe9,
                chardev: "debugcon".into()
            }),
            DeviceConfig::IsaDebugcon(IsaDebugcon {
                id: Some("x".into()),
                iobase: 5,
                readback: 0,
                chardev: "c".into()
            }),
        ]
    );
    let serial = |index, iobase, irq, chardev: &str| {
        DeviceConfig::IsaSerial(IsaSerial { id: None, index, iobase, irq, chardev: chardev.into() })
    };
    assert_eq!(
        devices(
            "-serial none -serial null -device isa-serial,chardev=c -device isa-serial,chardev=d,index=0,iobase=0x100,irq=7"
        ),
        [serial(2, None, None, "c"), serial(0, Some(0x100), Some(7), "d")]
    );
    let board =
        machine("-global kvm-pit.lost_tick_policy=discard -global PIIX4_PM.disable_s3=1 -global PIIX4_PM.s4_val=4");
    assert_eq!(board.platform.pit_lost_ticks, Some(LostTickPolicy::Discard));
    assert_eq!(board.platform.power, PowerConfig { disable_s3: true, disable_s4: false, s4_value: 4 });
    let hpet = |line: &str| machine(line).platform.hpet_properties;
    assert_eq!(
        hpet("-global hpet.timers=24 -global hpet.msi=on -global hpet.hpet-intcap=0xf00104"),
        HpetConfig { timers: 24, messages: true, routes: 0xf0_0104 }
    );
    assert_eq!(hpet("-global hpet.hpet-intcap=0"), HpetConfig::default());

    check_errors(&[
        (
            "-device pci-testdev,membar=3M",
            "-device pci-testdev,membar=3M: membar is a size that a PCI window can have: a power of two from 16 to 4P",
        ),
        ("-device foo", "-device foo: there is no device 'foo'; natoma has isa-debug-exit, isa-debugcon, isa-serial"),
        (
            "-device isa_debug_exit",
            "-device isa_debug_exit: there is no device 'isa_debug_exit'; natoma has isa-debug-exit, isa-debugcon, isa-serial, isa-parallel, floppy, ide-hd, ide-cd, pvpanic, ib700, pc-testdev, pci-bridge, pci-serial, pci-serial-2x, pci-serial-4x, pvpanic-pci, i6300esb, pci-testdev, virtio-blk-pci, virtio-blk-pci-transitional, virtio-blk-pci-non-transitional, virtio-scsi-pci, virtio-scsi-pci-transitional, virtio-scsi-pci-non-transitional, scsi-hd, scsi-cd; did you mean 'isa-debug-exit'?",
        ),
        (
            "-device virtio-net-pci,netdev=n",
            "-device virtio-net-pci,netdev=n: the device 'virtio-net-pci' is not supported yet; natoma has no network yet",
        ),
        (
            "-device isa-debug-exit,iosize=3",
            "-device isa-debug-exit,iosize=3: iosize is the number of ports: 1, 2 or 4",
        ),
        (
            "-device isa-debug-exit,iobase=0x10000",
            "-device isa-debug-exit,iobase=0x10000: iobase=0x10000: expected a number from 0 to 65535",
        ),
        (
            "-device isa-debug-exit,id=a -device isa-debug-exit,id=a",
            "-device isa-debug-exit,id=a: there are two devices with the id 'a'",
        ),
        ("-device isa-debugcon", "-device isa-debugcon: 'chardev' is missing: give chardev=ID of a -chardev"),
        (
            "-serial null -chardev null,id=c -device isa-serial,index=0,chardev=c",
            "-device isa-serial,index=0,chardev=c: there already is a COM1: choose another index",
        ),
        ("-debugcon null -debugcon null", "-debugcon null: there already is a debug console on that port"),
        ("-debugcon none", "-debugcon none: a debug console needs a character device"),
        ("-global foo.bar=1", "-global foo.bar=1: the machine has no device 'foo'; -global help lists them"),
        (
            "-global isa-debgcon.iobase=1",
            "-global isa-debgcon.iobase=1: the machine has no device 'isa-debgcon'; did you mean 'isa-debugcon'?",
        ),
        (
            "-global isa-debugcon.iobsae=1",
            "-global isa-debugcon.iobsae=1: 'isa-debugcon' has no property 'iobsae'; did you mean 'iobase'?; it has chardev, iobase, readback",
        ),
        ("-global isa-debugcon.iobase=x", "-global isa-debugcon.iobase=x: iobase=x: expected a number"),
        (
            "-global isa-debugcon.iobase",
            "-global isa-debugcon.iobase: there is no parameter 'isa-debugcon.iobase' here",
        ),
        ("-global driver=isa-debugcon", "-global driver=isa-debugcon: expected DRIVER.PROPERTY=VALUE"),
        (
            "-global kvm-pit.lost_tick_policy=slew",
            "-global kvm-pit.lost_tick_policy=slew: lost_tick_policy=slew: expected delay, discard",
        ),
    ]);
}

#[test]
fn pci_devices_say_where_they_sit() {
    let devices = |line: &str| machine(&format!("-nodefaults -chardev null,id=c -chardev null,id=d {line}")).devices;
    let card = PciDevice {
        id: None,
        bus: None,
        addr: None,
        multifunction: false,
        rom: None,
        acpi_index: None,
        function: PciFunction::PciSerial(PciSerial { chardevs: vec![Some("c".into())], prog_if: 2 }),
    };
    assert_eq!(devices("-device pci-serial,chardev=c"), [DeviceConfig::Pci(card.clone())]);
    let bridge = PciDevice {
        id: Some("b".into()),
        addr: Some(PciPlace { slot: 0x1f, function: 7 }),
        multifunction: true,
        function: PciFunction::PciBridge(PciBridge {
            chassis_nr: 7,
            shpc: false,
            msi: false,
            reserve: PciReserve::default(),
        }),
        ..card.clone()
    };
    let behind = PciDevice {
        bus: Some("b".into()),
        addr: Some(PciPlace { slot: 5, function: 0 }),
        rom: Some(PciRom { file: "/r".into(), size: Some(4096), bar: true }),
        acpi_index: Some(3),
        function: PciFunction::PciSerial(PciSerial { chardevs: vec![None, Some("d".into())], prog_if: 6 }),
        ..card
    };
    assert_eq!(
        devices(
            "-global pci-serial-2x.prog_if=6 -device pci-bridge,id=b,chassis_nr=7,addr=0x1f.7,multifunction=on,shpc=off \
             -device {\"driver\":\"pci-serial-2x\",\"bus\":\"b\",\"addr\":\"0x5\",\"chardev2\":\"d\",\"romfile\":\"/r\",\"romsize\":4096,\"acpi-index\":3}"
        ),
        [DeviceConfig::Pci(bridge), DeviceConfig::Pci(behind)]
    );
    // An empty file name means that there is no ROM, rombar=0 that firmware gets it.
    let rom = |option: &str| match devices(&format!("-device pci-serial,{option}")).remove(0) {
        DeviceConfig::Pci(device) => device.rom,
        other => panic!("{other:?}"),
    };
    assert_eq!(rom("romfile="), None);
    assert_eq!(rom("romfile=/r,rombar=0"), Some(PciRom { file: "/r".into(), size: None, bar: false }));

    let bridge = |options: &str| match devices(&format!("-device pci-bridge,chassis_nr=1{options}")).remove(0) {
        DeviceConfig::Pci(PciDevice { function: PciFunction::PciBridge(bridge), .. }) => bridge,
        other => panic!("{other:?}"),
    };
    let plain = PciBridge { chassis_nr: 1, shpc: true, msi: true, reserve: PciReserve::default() };
    assert_eq!(bridge(""), plain);
    assert_eq!(bridge(",msi=off"), PciBridge { msi: false, ..plain.clone() });
    assert_eq!(bridge(",shpc=off,msi=on"), PciBridge { shpc: false, msi: false, ..plain.clone() });
    let reserve = PciReserve {
        buses: Some(3),
        io: Some(4096),
        memory: Some(2 << 20),
        prefetchable_32: None,
        prefetchable_64: Some(8 << 30),
    };
    assert_eq!(
        bridge(",bus-reserve=3,io-reserve=4K,mem-reserve=2M,pref64-reserve=8G"),
        PciBridge { reserve, ..plain.clone() }
    );

    check_errors(&[
        ("-device pci-bridge", "-device pci-bridge: 'chassis_nr' is missing: give each bridge a chassis_nr of its own"),
        (
            "-device pci-bridge,chassis_nr=1,mem-reserve=4G",
            "-device pci-bridge,chassis_nr=1,mem-reserve=4G: mem-reserve has to be less than 4G",
        ),
        (
            "-device pci-bridge,chassis_nr=1,pref32-reserve=1M,pref64-reserve=1M",
            "-device pci-bridge,chassis_nr=1,pref32-reserve=1M,pref64-reserve=1M: a bridge has one prefetchable window",
        ),
        (
            "-device pci-bridge,chassis_nr=1,id=a -device pci-bridge,chassis_nr=1",
            "-device pci-bridge,chassis_nr=1: chassis_nr=1 is that of pci-bridge,id=a already",
        ),
        (
            "-device pci-serial,bus=b -device pci-bridge,chassis_nr=1,id=b",
            "-device pci-serial,bus=b: there is no PCI bus 'b'; there is pci.0 (a bridge has to stand before",
        ),
        (
            "-device pci-bridge,chassis_nr=1 -device pci-serial,bus=pci.2",
            "-device pci-serial,bus=pci.2: there is no PCI bus 'pci.2'; there is pci.0, pci.1 (",
        ),
        ("-device pci-serial,addr=20", "-device pci-serial,addr=20: addr is SLOT or SLOT.FUNCTION"),
        ("-device pci-serial,addr=1.8", "-device pci-serial,addr=1.8: addr is SLOT or SLOT.FUNCTION"),
        ("-device pci-serial,addr=+1", "-device pci-serial,addr=+1: addr is SLOT or SLOT.FUNCTION"),
        ("-device pci-serial,romsize=3", "-device pci-serial,romsize=3: romsize has to be a power of two"),
        (
            "-device pci-serial,romsize=4096",
            "-device pci-serial,romsize=4096: romsize is the size of an option ROM, and there is none",
        ),
        (
            "-device pci-serial,adr=3",
            "-device pci-serial,adr=3: there is no parameter 'adr' of device 'pci-serial'; did you mean 'addr'?",
        ),
        (
            "-device pci-serial,acpi-index=1 -device pci-serial,acpi-index=1",
            "-device pci-serial,acpi-index=1: a PCI device with acpi-index = 1 already exists: pci-serial",
        ),
        (
            "-chardev null,id=c -device pci-serial,chardev=c -device pci-serial-2x,chardev2=c",
            "-device pci-serial-2x,chardev2=c: character device 'c' is already used by pci-serial; pci-serial-2x can",
        ),
    ]);
}

#[test]
fn a_number_of_acpi_without_acpi_is_told_to_be_of_no_use() {
    let warnings = |line: &str| command_line(line).unwrap().warnings;
    let card = "-device pci-serial,id=a,acpi-index=3";
    assert_eq!(
        warnings(&format!("-no-acpi {card}")),
        ["-device pci-serial,id=a,acpi-index=3: not used, as there is no ACPI"]
    );
    assert_eq!(warnings(card), [""; 0]);
}
