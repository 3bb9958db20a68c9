//! From options to a machine: defaults, inference, and the rules that span several options.

mod block;
mod blockdev;
mod boot;
mod chardev;
mod consoles;
mod cpu;
mod device;
mod disk;
mod ide;
mod io_threads;
mod log;
mod machine;
mod memory;
mod numa;
mod pci;
mod rtc;
mod run;
mod scsi;
mod smp;
mod tables;
mod throttle;
mod virtio;

pub use cpu::CpuCatalogue;
pub use log::{ITEMS as LOG_ITEMS, TRACE_EVENTS};
pub use machine::{ACCELERATORS, MACHINES};

use super::error::{Origin, UsageError};
use super::settings::Settings;
use crate::config::{DeviceConfig, Firmware, MachineConfig};
use std::io;
use std::path::Path;

/// What the options are read with.
pub struct Environment<'a> {
    /// The CPU models there are.
    pub cpus: CpuCatalogue,
    /// Reads a small text file.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Builds the machine that the options describe. Advice that is no error is added to `warnings`.
pub fn machine(
    settings: &Settings,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<MachineConfig, UsageError> {
    let globals = device::Globals::read(settings)?;
    let smp = smp::build(settings)?;
    let mut platform = machine::platform(settings)?;
    globals.apply_to_board(&mut platform);
    let run = run::run(settings)?;
    machine::check_qtest(settings, &platform)?;
    let mut drives = block::build(settings, &globals)?;
    globals.apply_to_drives(&mut drives)?;
    let boot = boot::build(settings, warnings)?;
    if let (Firmware::File(name), Some(_)) = (&boot.firmware, &drives.pflash[0]) {
        warnings.push(format!("-bios {name}: not used, as the firmware in the first flash chip is started"));
    }
    if boot.kernel.is_some() && boot.firmware == Firmware::None && drives.pflash.iter().all(Option::is_none) {
        warnings.extend(boot::unheard(settings));
    }
    let consoles = consoles::build(settings, &globals, run.daemonize, &mut drives)?;
    if !platform.acpi {
        let named = consoles.devices.iter().filter_map(|device| match device {
            DeviceConfig::Pci(device) => Some((device, device.acpi_index?)),
            _ => None,
        });
        warnings.extend(
            named.map(|(device, index)| format!("-device {device},acpi-index={index}: not used, as there is no ACPI")),
        );
    }
    check_objects(settings)?;
    let mut memory = memory::build(settings, &smp)?;
    let numa = numa::build(settings, &smp, &mut memory)?;
    Ok(MachineConfig {
        identity: run::identity(settings)?,
        platform,
        cpu: cpu::build(settings, &environment.cpus, warnings)?,
        smp,
        numa,
        memory,
        boot,
        rtc: rtc::build(settings, &globals)?,
        chardevs: consoles.chardevs,
        throttle_groups: throttle::groups(settings)?,
        nodes: drives.nodes,
        drives: drives.drives,
        io_threads: io_threads::build(settings)?,
        fdc: drives.fdc,
        ide: drives.ide,
        pflash: drives.pflash,
        serials: consoles.serials,
        parallels: consoles.parallels,
        monitors: consoles.monitors,
        qtest: consoles.qtest,
        devices: consoles.devices.into_iter().chain(drives.virtio).collect(),
        acpi_tables: tables::acpi(settings)?,
        smbios: tables::smbios(settings)?,
        run,
        log: log::build(settings, environment.read_file)?,
    })
}

/// Checks that no two objects have the same name.
fn check_objects(settings: &Settings) -> Result<(), UsageError> {
    let mut ids = Vec::new();
    for object in settings.all("object") {
        let Some(id) = object.list().and_then(|list| list.text("id")) else { continue };
        if ids.contains(&id) {
            return Err(object.origin.error(format_args!("there are two objects with the id '{id}'")));
        }
        ids.push(id);
    }
    Ok(())
}

/// Checks a name that other options refer to: QEMU's rule is letters, digits, `-`, `.` and `_`, beginning with a letter.
fn check_id<'a>(origin: &Origin, id: &'a str) -> Result<&'a str, UsageError> {
    let well_formed = id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if well_formed {
        Ok(id)
    } else {
        Err(origin
            .error(format_args!("'{id}' is no id: use letters, digits, '-', '.' and '_', beginning with a letter")))
    }
}
