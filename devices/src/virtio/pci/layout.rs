//! Where everything is: ids, BARs and capabilities, as QEMU 7.2 has them on a conventional PCI bus.

use super::registers::legacy;
use super::{MessagePort, PciOptions};
use crate::base::{AccessRule, BusMaster, IrqLine, Region};
use crate::pci::{Bar, BarKind, Msix, PciConfig, PciConfigBuilder};
use crate::virtio::Kind;

const VENDOR: u16 = 0x1af4;
/// The id of a function without legacy interface is its type's plus this.
const MODERN_ID: u16 = 0x1040;
/// The subsystem of such a function. With a legacy interface it is the type.
const MODERN_SUBSYSTEM: u16 = 0x1100;
const MODERN_REVISION: u8 = 1;

/// BARs, and the windows in them.
pub const LEGACY_BAR: usize = 0;
pub const MSIX_BAR: usize = 1;
pub const MODERN_BAR: usize = 4;
pub const LEGACY: u16 = LEGACY_BAR as u16;
pub const MSIX: u16 = MSIX_BAR as u16;
pub const MODERN: u16 = MODERN_BAR as u16;

/// Vendor-specific: id of virtio's capabilities.
const CAP_VENDOR: u8 = 0x09;

/// Types of virtio's capabilities.
mod cfg_type {
    pub const COMMON: u8 = 1;
    pub const NOTIFY: u8 = 2;
    pub const ISR: u8 = 3;
    pub const DEVICE: u8 = 4;
    pub const PCI: u8 = 5;
}

/// Offsets in the modern BAR.
pub const COMMON_AT: u64 = 0x0000;
pub const ISR_AT: u64 = 0x1000;
pub const DEVICE_AT: u64 = 0x2000;
pub const NOTIFY_AT: u64 = 0x3000;
const PART: u64 = 0x1000;
/// Queues for which there are doorbells.
const DOORBELLS: u64 = 1024;

/// The capability by which the BARs are accessed without being mapped.
pub mod window {
    /// The capability.
    pub const AT: u8 = 0x84;
    pub const BAR: u8 = AT + 4;
    pub const OFFSET: u8 = AT + 8;
    pub const LENGTH: u8 = AT + 12;
    pub const DATA: u8 = AT + 16;
    pub const END: u8 = AT + 20;
}

/// Distance of the doorbells of two queues.
pub fn doorbell_step(options: &PciOptions) -> u64 {
    if options.page_per_vq { 0x1000 } else { 4 }
}

/// The window with all structures of the modern interface.
pub fn modern_region(options: &PciOptions) -> Region {
    let len = (NOTIFY_AT + DOORBELLS * doorbell_step(options)).next_power_of_two();
    Region::memory(MODERN, "virtio-pci-modern", len, AccessRule::UP_TO_DWORD)
}

/// A capability that says that a structure is in the modern BAR: what follows id and next pointer.
fn structure(kind: u8, offset: u64, len: u64, more: &[u8]) -> Vec<u8> {
    let mut body = vec![16 + more.len() as u8, kind, MODERN_BAR as u8, 0, 0, 0];
    body.extend_from_slice(&(offset as u32).to_le_bytes());
    body.extend_from_slice(&(len as u32).to_le_bytes());
    body.extend_from_slice(more);
    body
}

/// The configuration space of a function, and its MSI-X if it has vectors. `config_len` is the length of the device's own
/// configuration structure.
pub fn build(
    kind: &Kind,
    options: &PciOptions,
    config_len: usize,
    gate: BusMaster,
    intx: IrqLine,
    messages: MessagePort,
) -> (PciConfig, Option<Msix>) {
    let id = if options.legacy { kind.transitional_id } else { MODERN_ID + kind.id };
    let mut builder = PciConfigBuilder::new(VENDOR, id, kind.class).bus_master(gate).interrupt(1, intx);
    if options.legacy {
        let registers = if options.vectors == 0 { legacy::LEN } else { legacy::LEN_MSIX };
        let len = (registers + config_len as u64).next_power_of_two();
        let region = Region::ports(LEGACY, "virtio-pci", len, AccessRule::UP_TO_DWORD);
        builder = builder.subsystem(VENDOR, kind.id).bar(LEGACY_BAR, Bar { region, kind: BarKind::Io });
    } else {
        builder = builder.subsystem(VENDOR, MODERN_SUBSYSTEM).revision(MODERN_REVISION);
    }
    let mut msix_at = 0x40;
    if options.modern {
        let step = doorbell_step(options);
        let region = modern_region(options);
        let cfg = [20, cfg_type::PCI, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let writable = [0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let notify = structure(cfg_type::NOTIFY, NOTIFY_AT, DOORBELLS * step, &(step as u32).to_le_bytes());
        builder = builder
            .bar(MODERN_BAR, Bar { region, kind: BarKind::Memory64 { prefetchable: true } })
            .capability(0x40, CAP_VENDOR, &structure(cfg_type::COMMON, COMMON_AT, PART, &[]), &[])
            .capability(0x50, CAP_VENDOR, &structure(cfg_type::ISR, ISR_AT, PART, &[]), &[])
            .capability(0x60, CAP_VENDOR, &structure(cfg_type::DEVICE, DEVICE_AT, PART, &[]), &[])
            .capability(0x70, CAP_VENDOR, &notify, &[])
            .capability(window::AT, CAP_VENDOR, &cfg, &writable);
        msix_at = 0x98;
    }
    let mut msix = None;
    if options.vectors > 0 {
        let (with, capability) = Msix::add(builder, msix_at, (MSIX_BAR, MSIX), options.vectors, messages);
        (builder, msix) = (with, Some(capability));
    }
    (builder.build(), msix)
}
