//! The ACPI tables: what the operating system learns of the board that it can't find out by itself.
//!
//! They follow ACPI 4.0 (FADT revision 4, MADT revision 3) where QEMU stays with 1.0: later revisions bring the reset
//! register, 64-bit pointers, processor numbers above 255 and the flags for absent legacy devices, and every system
//! since Windows 2000 and Linux 2.4 that knows only the earlier ones still finds its part of each table. Names,
//! routing and resources are those of QEMU's `pc`, so that a guest moved here sees the same machine.
//!
//! [`AcpiTables::build`] makes the tables position independent; [`AcpiTables::place`] fixes them to an address.
//!
//! Only power-off (S5) is offered: there is no way yet to wake a machine from S3 or S4, nor to add CPUs or PCI devices
//! to a running one.

mod aml;
mod dsdt;
mod image;
mod tables;

#[cfg(test)]
mod tests;

pub use image::{AcpiTables, Checksum, Part, PlacedTables, Pointer, RSDP_LEN};

use super::layout::MemoryLayout;

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
}

/// Which of the parts that can be left out are on the board.
#[derive(Clone, Copy, Debug, Default)]
pub struct Devices {
    /// HPET.
    pub hpet: bool,
    /// Keyboard and mouse controller.
    pub i8042: bool,
    /// A display adapter with VGA registers.
    pub vga: bool,
    /// COM1 to COM4.
    pub com: [bool; 4],
    /// LPT1.
    pub lpt: bool,
    /// Floppy controller, and which of its drives there are.
    pub fdc: Option<[bool; 2]>,
    /// Firmware configuration device.
    pub fw_cfg: bool,
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
    /// Where the windows for PCI memory lie.
    pub layout: &'a MemoryLayout,
    /// Who they are for.
    pub purpose: Purpose,
    /// What else is on the board.
    pub devices: Devices,
}

impl AcpiTables {
    /// Build all tables of a machine.
    ///
    /// The order is QEMU's: FACS, DSDT, FADT, MADT, HPET, WAET, RSDT, XSDT.
    pub fn build(inputs: &Inputs<'_>) -> Self {
        let oem = &inputs.oem;
        let mut image = image::Builder::new(&tables::facs());
        let dsdt = image.add(&tables::sdt(b"DSDT", 2, oem, &dsdt::body(inputs)));
        let mut listed = vec![image.add_fadt(&tables::fadt(inputs), dsdt), image.add(&tables::madt(oem, inputs.cpus))];
        if inputs.devices.hpet {
            listed.push(image.add(&tables::hpet(oem)));
        }
        listed.push(image.add(&tables::waet(oem)));
        image.finish(oem, &listed)
    }
}
