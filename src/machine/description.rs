//! What the machine tells the operating system of itself, gathered from the configuration and the board.

use std::array;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use devices::chipset::piix4_pm::SleepStates;

use super::acpi::{self, AcpiTables, FirmwareTables, Oem, Purpose, Slots};
use super::bios_data::{self, BiosData, Equipment};
use super::board::{irq, port};
use super::layout::MemoryLayout;
use super::pc::{Board, sleep};
use super::smbios::{self, EntryPoint, Processors, Smbios, UserFiles};
use super::{mptable, pci_pins};
use crate::config::{DeviceConfig, MachineConfig, SmbiosEntryPoint};
use crate::kvm::cpuid::Topology;

/// What CPUID leaf 1 says, of which firmware tables keep a copy.
#[derive(Clone, Copy)]
pub struct Identification {
    /// EAX: family, model, stepping.
    pub signature: u32,
    /// EDX: features.
    pub features: u32,
    /// Of ECX: whether it has VMX.
    pub vmx: bool,
}

impl Identification {
    /// What firmware has to write to IA32_FEATURE_CONTROL so that a system can use what the processors have: VMX (bit 2),
    /// with the register locked (bit 0). `None`: nothing.
    #[must_use]
    pub fn feature_control(self) -> Option<u64> {
        self.vmx.then_some(1 << 2 | 1)
    }
}

/// Makes the tables and finds a place for them; `smbios_files` are what the user adds to SMBIOS.
///
/// # Errors
/// A table of the user's can't be read, a device it names does not exist, or there is no place.
pub fn describe(
    config: &MachineConfig,
    board: &Board,
    layout: &MemoryLayout,
    topology: &Topology,
    identification: Identification,
    smbios_files: &UserFiles,
) -> Result<BiosData> {
    let Identification { signature, features, .. } = identification;
    let cpus = processors(config, topology);
    let devices = board.acpi_devices();
    let pins = pci_pins::in_use(&board.pci);
    let slots = pins.iter().fold(0, |slots, pin| slots | 1 << pin.slot);
    let user_tables = user_tables(config)?;
    let acpi = config.platform.acpi.then(|| {
        AcpiTables::build(&acpi::Inputs {
            oem: oem(config),
            cpus: &cpus,
            layout,
            pci_hole64: layout.pci_hole64.clone(),
            pm_base: port::PM,
            slots: &Slots::default(),
            sleep: SleepStates::default(),
            purpose: Purpose::DirectBoot { pirqs: irq::PIRQ_DEFAULT, slots },
            devices,
            numa: &config.numa,
            user_tables: &user_tables,
        })
    });
    let inputs = bios_data::Inputs {
        layout,
        acpi,
        smbios: smbios(config, board, layout, topology, identification, smbios_files, false)?,
        smbios_entry_point: entry_point(config),
        mptable: mptable::build(&mptable::Inputs {
            cpus: &cpus,
            signature,
            features,
            pins: &pins,
            pirqs: irq::PIRQ_DEFAULT,
        }),
        equipment: Equipment { com: devices.com, lpt: devices.lpt, mouse: devices.i8042 },
    };
    Ok(BiosData::lay_out(inputs)?)
}

/// The ACPI tables of a machine with firmware; `user_tables` are those of [`user_tables`].
#[must_use]
pub fn firmware_tables(
    config: &MachineConfig,
    board: &Board,
    layout: &MemoryLayout,
    topology: &Topology,
    user_tables: Vec<Vec<u8>>,
) -> FirmwareTables {
    FirmwareTables {
        oem: oem(config),
        cpus: processors(config, topology),
        layout: layout.clone(),
        slots: board.slots(),
        sleep: sleep::states(config),
        devices: board.acpi_devices(),
        numa: config.numa.clone(),
        user_tables,
        ports: Arc::clone(&board.ports),
        memory: Arc::clone(&board.memory),
    }
}

/// The processors that there are or may be, in the order of their numbers.
pub fn processors(config: &MachineConfig, topology: &Topology) -> Vec<acpi::Cpu> {
    let node = |index: u32| config.numa.cpus.get(index as usize).copied();
    let cpu =
        |index| acpi::Cpu { node: node(index), ..acpi::Cpu::new(topology.apic_id(index), index < config.smp.cpus) };
    (0..config.smp.max_cpus).map(cpu).collect()
}

/// The SMBIOS tables, with `files` of the user's; firmware, if there is some, adds itself to them.
///
/// # Errors
/// A device that the user names does not exist.
pub fn smbios(
    config: &MachineConfig,
    board: &Board,
    layout: &MemoryLayout,
    topology: &Topology,
    Identification { signature, features, .. }: Identification,
    files: &UserFiles,
    firmware: bool,
) -> Result<Smbios> {
    let onboard = config.smbios.onboard.iter().map(|device| match &device.pci_device {
        Some(id) => pci_place(config, board, id).with_context(|| format!("-smbios type=41,pcidev={id}")),
        None => Ok(0),
    });
    Ok(Smbios::build(&smbios::Inputs {
        uuid: config.identity.uuid.map_or([0; 16], uuid::Uuid::into_bytes),
        processors: Processors {
            sockets: u16::try_from(config.smp.cpus.div_ceil(topology.cpus_per_socket())).unwrap_or(u16::MAX),
            cores: config.smp.dies * config.smp.cores,
            threads: config.smp.threads,
            signature,
            features,
        },
        layout,
        firmware,
        user: &config.smbios,
        files,
        onboard_places: &onboard.collect::<Result<Vec<_>>>()?,
    }))
}

/// Slot and function of the PCI device with this id, as one byte.
fn pci_place(config: &MachineConfig, board: &Board, id: &str) -> Result<u8> {
    let device = config.devices.iter().find_map(|device| match device {
        DeviceConfig::Pci(device) if device.id.as_deref() == Some(id) => Some(device.to_string()),
        _ => None,
    });
    let functions = board.pci.functions();
    let place = device.and_then(|name| functions.into_iter().find(|(_, holder)| *holder == name));
    match place {
        Some((address, _)) => Ok(address.slot << 3 | address.function),
        None => bail!("there is no PCI device with this id on the root bus: give one with -device TYPE,id={id}"),
    }
}

/// The form of the SMBIOS entry point.
pub fn entry_point(config: &MachineConfig) -> EntryPoint {
    match config.platform.smbios_entry_point {
        SmbiosEntryPoint::V21 => EntryPoint::Bits32,
        SmbiosEntryPoint::V30 => EntryPoint::Bits64,
    }
}

/// The tables of `-acpitable`.
///
/// # Errors
/// A file can't be read, or is no table.
pub fn user_tables(config: &MachineConfig) -> Result<Vec<Vec<u8>>> {
    let load = |table| acpi::user::load(table).context("-acpitable");
    let tables: Vec<_> = config.acpi_tables.iter().map(load).collect::<Result<_>>()?;
    let size: usize = tables.iter().map(Vec::len).sum();
    if size as u64 > acpi::user::MOST {
        bail!("-acpitable: all tables together are longer than {} MiB", acpi::user::MOST >> 20);
    }
    Ok(tables)
}

/// The maker's strings, padded with spaces.
fn oem(config: &MachineConfig) -> Oem {
    fn padded<const N: usize>(text: &str) -> [u8; N] {
        array::from_fn(|at| text.as_bytes().get(at).copied().unwrap_or(b' '))
    }
    let mut oem = Oem::default();
    if let Some(id) = &config.platform.acpi_oem_id {
        oem.id = padded(id);
    }
    if let Some(id) = &config.platform.acpi_oem_table_id {
        oem.table_id = padded(id);
    }
    oem
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IA32_FEATURE_CONTROL (Intel SDM, volume 4, 3AH): VMX outside SMX, and the lock.
    #[test]
    fn firmware_enables_vmx_where_there_is_some() {
        let processors = |vmx| Identification { signature: 0, features: 0, vmx };
        assert_eq!(processors(true).feature_control(), Some(0x5));
        assert_eq!(processors(false).feature_control(), None);
    }
}
