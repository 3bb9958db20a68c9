//! Firmware tables that the user adds or changes.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// An ACPI table of the user's (`-acpitable`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcpiTableConfig {
    /// The files whose contents, one after the other, are the table.
    pub files: Vec<PathBuf>,
    /// The files begin with the table's header; otherwise there is one made.
    pub has_header: bool,
    /// Signature, up to 4 bytes; `None`: that of the header, or of QEMU's default header. So are the others.
    pub signature: Option<String>,
    /// Revision of the table.
    pub revision: Option<u8>,
    /// OEM id, up to 6 bytes.
    pub oem_id: Option<String>,
    /// OEM table id, up to 8 bytes.
    pub oem_table_id: Option<String>,
    /// OEM revision.
    pub oem_revision: Option<u32>,
    /// Id of the compiler, up to 4 bytes.
    pub compiler_id: Option<String>,
    /// Revision of the compiler.
    pub compiler_revision: Option<u32>,
}

/// What the user says of the SMBIOS tables (`-smbios`). `None` and empty: as the machine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosConfig {
    /// Files with structures that take the place of the machine's own of the same types.
    pub files: Vec<PathBuf>,
    /// Type 0; without it firmware makes one.
    pub bios: Option<SmbiosBios>,
    /// Type 1.
    pub system: SmbiosSystem,
    /// Type 2; without it there is none.
    pub board: Option<SmbiosBoard>,
    /// Type 3.
    pub chassis: SmbiosChassis,
    /// Type 4, of each socket.
    pub processor: SmbiosProcessor,
    /// Type 8, one for each.
    pub ports: Vec<SmbiosPort>,
    /// Type 11: texts for software in the guest.
    pub oem_strings: Vec<SmbiosText>,
    /// Type 17, of each module.
    pub memory: SmbiosMemory,
    /// Type 41, one for each.
    pub onboard: Vec<SmbiosOnboard>,
}

/// SMBIOS type 0: the firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosBios {
    /// Who made it.
    pub vendor: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its date.
    pub date: Option<String>,
    /// Major and minor release.
    pub release: Option<(u8, u8)>,
    /// It is UEFI.
    pub uefi: bool,
}

/// SMBIOS type 1: the machine as a product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosSystem {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it is called.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID; `None`: that of the machine.
    pub uuid: Option<Uuid>,
    /// Its stock keeping unit.
    pub sku: Option<String>,
    /// Its family.
    pub family: Option<String>,
}

/// SMBIOS type 2: the board.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosBoard {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it is called.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its asset tag.
    pub asset: Option<String>,
    /// Where in the chassis it is.
    pub location: Option<String>,
}

/// SMBIOS type 3: the chassis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosChassis {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its asset tag.
    pub asset: Option<String>,
    /// Its stock keeping unit.
    pub sku: Option<String>,
}

/// SMBIOS type 4: processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosProcessor {
    /// What the name of each socket begins with.
    pub socket_prefix: Option<String>,
    /// Who made them.
    pub manufacturer: Option<String>,
    /// Their version.
    pub version: Option<String>,
    /// Their serial number.
    pub serial: Option<String>,
    /// Their asset tag.
    pub asset: Option<String>,
    /// Their part number.
    pub part: Option<String>,
    /// Highest speed in MHz.
    pub max_speed: Option<u16>,
    /// Speed in MHz.
    pub current_speed: Option<u16>,
    /// EDX (high half) and EAX of CPUID leaf 1; `None`: those of the processors.
    pub id: Option<u64>,
}

/// SMBIOS type 8: a connector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosPort {
    /// Its name on the board.
    pub internal_reference: Option<String>,
    /// Its name on the chassis.
    pub external_reference: Option<String>,
    /// What it looks like (SMBIOS 2.8, section 7.9.2).
    pub connector_type: u8,
    /// What it is for (section 7.9.3).
    pub port_type: u8,
}

/// A text of SMBIOS type 11.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SmbiosText {
    /// As given.
    Value(String),
    /// The contents of a file.
    File(PathBuf),
}

/// SMBIOS type 17: memory modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosMemory {
    /// What the name of each place begins with.
    pub location_prefix: Option<String>,
    /// The bank they are in.
    pub bank: Option<String>,
    /// Who made them.
    pub manufacturer: Option<String>,
    /// Their serial number.
    pub serial: Option<String>,
    /// Their asset tag.
    pub asset: Option<String>,
    /// Their part number.
    pub part: Option<String>,
    /// Speed in MHz; 0: unknown.
    pub speed: u16,
}

/// SMBIOS type 41: a device on the board.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbiosOnboard {
    /// Its name.
    pub designation: Option<String>,
    /// What it is (SMBIOS 2.8, section 7.42.2).
    pub kind: u8,
    /// Its number among those of its kind, from 1.
    pub instance: u8,
    /// Id of the PCI device that it is.
    pub pci_device: Option<String>,
}
