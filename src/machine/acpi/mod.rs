//! The ACPI tables: what the operating system learns of the board that it can't find out by itself.
//!
//! They follow ACPI 4.0 (FADT revision 4, MADT revision 3) where QEMU stays with 1.0: later revisions bring the reset
//! register, 64-bit pointers, processor numbers above 255 and the flags for absent legacy devices, and every system
//! since Windows 2000 and Linux 2.4 that knows only the earlier ones still finds its part of each table. Names,
//! routing and resources are those of QEMU's `pc`, so that a guest moved here sees the same machine.
//!
//! [`AcpiTables::build`] makes the tables position independent; [`AcpiTables::place`] fixes them to an address, or
//! [`FirmwareTables`] hands them to firmware, which does it.
//!
//! A kernel that is started directly is offered power-off (S5) only: it takes firmware to come back from S3, and to hand
//! over to the system on disk from S4.

mod aml;
mod dsdt;
mod firmware;
mod image;
mod loader;
mod numa;
mod tables;
pub mod user;

#[cfg(test)]
mod tests;

pub use firmware::FirmwareTables;
pub use image::{AcpiTables, Checksum, Part, PlacedTables, Pointer, RSDP_LEN};
pub use numa::fw_cfg_item;

use std::ops::Range;

use devices::chipset::piix4_pm::SleepStates;
use devices::floppy::DriveKind;

use super::layout::MemoryLayout;
use crate::config::NumaConfig;

/// The strings by which the tables name their maker (`x-oem-id` and `x-oem-table-id` of the machine), space padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oem {
    /// OEM ID.
    pub id: [u8; 6],
    /// OEM table ID.
    pub table_id: [u8; 8],
}

impl Default for Oem {
    /// What QEMU's tables say: systems whose licence hangs on them run on unchanged.
    fn default() -> Self {
        Self { id: *b"BOCHS ", table_id: *b"BXPC    " }
    }
}

/// A processor that is there, or that there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its local APIC's id.
    pub apic_id: u32,
    /// Whether it is there from the start.
    pub present: bool,
    /// Its NUMA node, on a machine that has some.
    pub node: Option<u32>,
}

impl Cpu {
    /// A processor of a machine without NUMA nodes.
    #[must_use]
    pub fn new(apic_id: u32, present: bool) -> Self {
        Self { apic_id, present, node: None }
    }
}

/// What sits in the slots of a PCI bus. Masks have a bit for each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Number of the bus in the hot-plug registers.
    pub number: u32,
    /// Slots with a function 0.
    pub present: u32,
    /// Slots in which a device may come or from which it may go while the machine runs.
    pub pluggable: u32,
    /// Slots with a display.
    pub displays: u32,
    /// Bridges, by their slots, and what sits behind each.
    pub bridges: Vec<(u8, Slots)>,
}

/// Which of the parts that can be left out are on the board.
#[derive(Clone, Copy, Debug, Default)]
pub struct Devices {
    /// HPET: the low half of its capability register.
    pub hpet: Option<u32>,
    /// Keyboard and mouse controller.
    pub i8042: bool,
    /// A display adapter with VGA registers.
    pub vga: bool,
    /// COM1 to COM4.
    pub com: [bool; 4],
    /// LPT1.
    pub lpt: bool,
    /// Floppy controller, and which of its drives there are.
    pub fdc: Option<[Option<DriveKind>; 2]>,
    /// Firmware configuration device.
    pub fw_cfg: bool,
    /// Port of the panic notifier.
    pub pvpanic: Option<u16>,
    /// System management mode, through which firmware hands over the power management registers. Without it they
    /// belong to the operating system from the start.
    pub smm: bool,
}

/// Who the tables are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Firmware, which programs the PIIX3's route control registers as it likes and passes the tables on: all that QEMU's
    /// tables have.
    Firmware,
    /// A kernel that is started directly: without what it is told elsewhere. It costs Linux half as much as [`Firmware`]
    /// until its first process runs. There are no link devices to route interrupts by, but where the interrupts go; and
    /// the HPET is left to its own table.
    ///
    /// [`Firmware`]: Self::Firmware
    DirectBoot {
        /// What PIRQA to PIRQD are routed to.
        pirqs: [u8; 4],
        /// Slots of PCI bus 0 with interrupt pins, as a bit mask.
        slots: u32,
    },
}

/// All that the tables are made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Who made them.
    pub oem: Oem,
    /// The processors in the order of their numbers.
    pub cpus: &'a [Cpu],
    /// Where RAM and the window for 32-bit PCI memory lie.
    pub layout: &'a MemoryLayout,
    /// The window for 64-bit PCI memory; may be empty.
    pub pci_hole64: Range<u64>,
    /// Where the power management block of the PIIX4 is.
    pub pm_base: u16,
    /// The PCI root bus, for firmware.
    pub slots: &'a Slots,
    /// What to offer besides S5, for firmware.
    pub sleep: SleepStates,
    /// Who they are for.
    pub purpose: Purpose,
    /// What else is on the board.
    pub devices: Devices,
    /// NUMA nodes.
    pub numa: &'a NumaConfig,
    /// Tables of the user's, complete.
    pub user_tables: &'a [Vec<u8>],
}

impl AcpiTables {
    /// Build all tables of a machine.
    ///
    /// The order is QEMU's: FACS, DSDT, FADT, MADT, HPET, SRAT, SLIT, WAET, the user's, RSDT, XSDT.
    pub fn build(inputs: &Inputs<'_>) -> Self {
        let oem = &inputs.oem;
        let licensed = user::licence(inputs.user_tables).unwrap_or(*oem);
        let mut image = image::Builder::new(&tables::facs());
        let dsdt = image.add(&tables::sdt(b"DSDT", 2, oem, &dsdt::body(inputs)));
        let mut listed =
            vec![image.add_fadt(&tables::fadt(inputs, &licensed), dsdt), image.add(&tables::madt(oem, inputs.cpus))];
        if let Some(id) = inputs.devices.hpet {
            listed.push(image.add(&tables::hpet(oem, id)));
        }
        if !inputs.numa.memory.is_empty() {
            listed.push(image.add(&numa::srat(oem, inputs.cpus, inputs.layout, &inputs.numa.memory)));
        }
        if !inputs.numa.distances.is_empty() {
            listed.push(image.add(&numa::slit(oem, &inputs.numa.distances)));
        }
        listed.push(image.add(&tables::waet(oem)));
        listed.extend(inputs.user_tables.iter().map(|table| image.add_complete(table)));
        image.finish(&licensed, &listed)
    }
}
