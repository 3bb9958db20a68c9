//! The tables of plain data: FACS, FADT, MADT, HPET, WAET.

use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

use super::{Cpu, Inputs, Oem};
use crate::machine::board::{irq, port, smi};
use crate::machine::layout::{HPET, IOAPIC, LOCAL_APIC};

/// Length of the FADT in ACPI 3.0 and 4.0.
const FADT_LEN: usize = 244;
/// SRST and RCPU of the PIIX3's reset control register: a hard reset, started by this very write.
const RESET_VALUE: u8 = 1 << 1 | 1 << 2;
/// IAPC_BOOT_ARCH of the FADT.
mod boot_arch {
    /// There are devices on the ISA bus.
    pub const LEGACY_DEVICES: u16 = 1 << 0;
    /// There is a keyboard controller at ports 60 and 64.
    pub const I8042: u16 = 1 << 1;
    /// VGA registers must not be probed.
    pub const VGA_NOT_PRESENT: u16 = 1 << 2;
}

/// A system description table: header, then `body`. Its checksum is right for the bytes as they are.
pub(super) fn sdt(signature: &[u8; 4], revision: u8, oem: &Oem, body: &[u8]) -> Vec<u8> {
    let mut sdt = Sdt::new(*signature, 36, revision, oem.id, oem.table_id, 1);
    sdt.append_slice(body);
    sdt.write_bytes(28, b"BXPC");
    sdt.write_u32(32, 1);
    sdt.as_slice().to_vec()
}

/// Firmware ACPI control structure.
pub(super) fn facs() -> Vec<u8> {
    let mut bytes = Vec::new();
    FACS::new().to_aml_bytes(&mut bytes);
    bytes
}

/// Fixed ACPI description table: the power management registers of the PIIX4 and what is known of the board.
pub(super) fn fadt(inputs: &Inputs<'_>, oem: &Oem) -> Vec<u8> {
    let devices = &inputs.devices;
    let io = |port: u16, bytes: u8, access| GAS::new(AddressSpace::SystemIo, bytes * 8, 0, access, port.into());
    let base = inputs.pm_base;
    let (pm1_evt, pm1_cnt, pm_tmr) = (base, base + 4, base + 8);

    let mut fadt = FADTBuilder::new(oem.id, oem.table_id, 1)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // The power button is a fixed register (flag clear), a sleep button there is none.
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::UsePlatformClock)
        .gpe_info(port::GPE0.into(), 0, 4, 0, 0);
    // Flat logical destinations address eight processors.
    if inputs.cpus.len() > 8 {
        fadt = fadt.flag(Flags::ForceApicClusterModel);
    }
    fadt.length = (FADT_LEN as u32).into();
    fadt.major_version = 4;
    fadt.fadt_minor_version = 0;
    fadt.creator_id = *b"BXPC";
    fadt.creator_revision = 1u32.to_le_bytes();
    fadt.sci_int = u16::from(irq::SCI).into();
    if devices.smm {
        fadt.smi_cmd = u32::from(port::APM_CONTROL).into();
        fadt.acpi_enable = smi::ACPI_ENABLE;
        fadt.acpi_disable = smi::ACPI_DISABLE;
    }
    fadt.pm1a_evt_blk = u32::from(pm1_evt).into();
    fadt.pm1a_cnt_blk = u32::from(pm1_cnt).into();
    fadt.pm_tmr_blk = u32::from(pm_tmr).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_len = 4;
    fadt.x_pm1a_evt_blk = io(pm1_evt, 4, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = io(pm1_cnt, 2, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = io(pm_tmr, 4, AccessSize::DwordAccess);
    fadt.x_gpe0_blk = io(port::GPE0, 4, AccessSize::ByteAccess);
    // Latencies above 100 and 1000 us say that there is neither C2 nor C3.
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.century = 0x32;
    let mut boot_arch = boot_arch::LEGACY_DEVICES;
    if devices.i8042 {
        boot_arch |= boot_arch::I8042;
    }
    if !devices.vga {
        boot_arch |= boot_arch::VGA_NOT_PRESENT;
    }
    fadt.iapc_boot_arch = boot_arch.into();
    fadt.reset_reg = io(port::RESET_CONTROL, 1, AccessSize::ByteAccess);
    fadt.reset_value = RESET_VALUE;

    let mut bytes = Vec::new();
    fadt.finalize().to_aml_bytes(&mut bytes);
    // What later revisions append is zero, so that the checksum holds without it.
    bytes.truncate(FADT_LEN);
    bytes
}

/// Multiple APIC description table.
pub(super) fn madt(oem: &Oem, cpus: &[Cpu]) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + 16 * cpus.len());
    body.dword(LOCAL_APIC as u32);
    body.dword(1); // PCAT_COMPAT: there are 8259s too
    for (uid, cpu) in (0u32..).zip(cpus) {
        madt_processor(&mut body, uid, *cpu);
    }
    let x2apic = (0u32..).zip(cpus).any(|(uid, cpu)| small_ids(uid, *cpu).is_none());
    // I/O APIC 0, inputs from 0.
    body.vec(&[1, 12, 0, 0]);
    body.dword(IOAPIC as u32);
    body.dword(0);
    // Interrupt source overrides: the PIT's other input, and the level triggered, active high PCI interrupts.
    let mut interrupt_override = |source: u8, gsi: u8, flags: u16| {
        body.vec(&[2, 10, 0, source]);
        body.dword(gsi.into());
        body.word(flags);
    };
    interrupt_override(0, irq::PIT_GSI, 0);
    let mut level = irq::PIRQ_CHOICES.to_vec();
    level.push(irq::SCI);
    level.sort_unstable();
    for irq in level {
        interrupt_override(irq, irq, 0b11 << 2 | 0b01);
    }
    // NMI is LINT1 of every processor.
    if x2apic {
        body.vec(&[10, 12, 0, 0]);
        body.dword(u32::MAX);
        body.vec(&[1, 0, 0, 0]);
    } else {
        body.vec(&[4, 6, 0xff, 0, 0, 1]);
    }
    sdt(b"APIC", 3, oem, &body)
}

/// Ids as a processor local APIC entry can hold them. Id 255 addresses all processors.
pub(super) fn small_ids(uid: u32, cpu: Cpu) -> Option<(u8, u8)> {
    let apic_id = u8::try_from(cpu.apic_id).ok().filter(|id| *id != u8::MAX)?;
    Some((u8::try_from(uid).ok()?, apic_id))
}

/// What the multiple APIC description table, and `_MAT`, say of a processor.
pub(super) fn madt_processor(sink: &mut dyn AmlSink, uid: u32, cpu: Cpu) {
    let flags = u32::from(cpu.present);
    match small_ids(uid, cpu) {
        // Processor local APIC.
        Some((uid, apic_id)) => {
            sink.vec(&[0, 8, uid, apic_id]);
            sink.dword(flags);
        }
        // Processor local x2APIC.
        None => {
            sink.vec(&[9, 16, 0, 0]);
            sink.dword(cpu.apic_id);
            sink.dword(flags);
            sink.dword(uid);
        }
    }
}

/// High precision event timer table (IA-PC HPET specification 1.0a) of the block that calls itself `id`.
pub(super) fn hpet(oem: &Oem, id: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.dword(id);
    GAS::new(AddressSpace::SystemMemory, 0, 0, AccessSize::Undefined, HPET.start).to_aml_bytes(&mut body);
    body.byte(0); // number of this HPET
    body.word(0); // least tick that periodic mode keeps up with
    body.byte(0); // no protection promised for the rest of its page
    sdt(b"HPET", 1, oem, &body)
}

/// Windows ACPI emulated devices table: the PM timer needs no second reading.
pub(super) fn waet(oem: &Oem) -> Vec<u8> {
    sdt(b"WAET", 1, oem, &(1u32 << 1).to_le_bytes())
}
