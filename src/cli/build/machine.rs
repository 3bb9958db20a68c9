//! `-machine` and `-accel`: the board.

use crate::cli::error::UsageError;
use crate::cli::settings::{Merged, Settings};
use crate::cli::suggest::did_you_mean;
use crate::config::{Accel, MachineType, PlatformConfig};

/// The boards there are: names and descriptions.
pub const MACHINES: [(&str, &str); 2] =
    [("pc", "Standard PC (i440FX + PIIX, 1996), as QEMU's pc-i440fx-7.2 (default)"), ("pc-i440fx-7.2", "the same")];

/// The accelerators there are: names and descriptions.
pub const ACCELERATORS: [(&str, &str); 2] = [
    ("kvm", "the host kernel's KVM (default)"),
    ("qtest", "none: devices are driven by the qtest protocol, in virtual time"),
];

/// Accelerators of QEMU's that natoma does not have.
const OTHER_ACCELERATORS: [&str; 6] = ["tcg", "xen", "hax", "hvf", "nvmm", "whpx"];

const FOUR_GIB: u64 = 4 << 30;
/// What lies below 4 GiB before the local APICs begin.
const MOST_FIRMWARE: u64 = 16 << 20;

/// Reads the options of the board.
pub fn platform(settings: &Settings) -> Result<PlatformConfig, UsageError> {
    let machine = settings.merged("machine");
    let accel = settings.merged("accel");
    check_type(&machine)?;

    let defaults = PlatformConfig::default();
    let max_ram_below_4g = machine.size("max-ram-below-4g");
    if max_ram_below_4g.is_some_and(|size| !(1 << 20..=FOUR_GIB).contains(&size)) {
        return Err(machine.error("max-ram-below-4g", "max-ram-below-4g is a size from 1M to 4G"));
    }
    let max_firmware_size = machine.size("max-fw-size").unwrap_or(defaults.max_firmware_size);
    if max_firmware_size > MOST_FIRMWARE {
        return Err(machine.error("max-fw-size", "max-fw-size is a size up to 16M"));
    }
    let oem = |key: &str, most: usize| match machine.text(key) {
        Some(text) if text.len() > most || !text.is_ascii() => {
            Err(machine.error(key, format_args!("{key} holds at most {most} ASCII characters")))
        }
        text => Ok(text.map(str::to_owned)),
    };
    Ok(PlatformConfig {
        machine: MachineType::Pc,
        accel: accelerator(&accel)?,
        kernel_irqchip: accel.choice("kernel-irqchip").unwrap_or_default(),
        acpi: machine.choice::<String>("acpi").is_none_or(|acpi| acpi != "off"),
        hpet: machine.flag("hpet").unwrap_or(defaults.hpet),
        hpet_properties: defaults.hpet_properties,
        i8042: machine.flag("i8042").unwrap_or(defaults.i8042),
        vmport: machine.choice::<String>("vmport").is_none_or(|vmport| vmport != "off"),
        graphics: machine.flag("graphics").unwrap_or(defaults.graphics) && !settings.has("nographic"),
        max_ram_below_4g,
        max_firmware_size,
        smbios_entry_point: machine.choice("smbios-entry-point-type").unwrap_or_default(),
        acpi_oem_id: oem("x-oem-id", 6)?,
        acpi_oem_table_id: oem("x-oem-table-id", 8)?,
        pit_lost_ticks: defaults.pit_lost_ticks,
        power: defaults.power,
    })
}

fn check_type(machine: &Merged) -> Result<(), UsageError> {
    let names = || MACHINES.iter().map(|(name, _)| *name);
    match machine.text("type") {
        None | Some("") => Ok(()),
        Some(name) if names().any(|known| known == name) => Ok(()),
        Some("none") => Err(machine.error(
            "type",
            "natoma has no machine without a board; to ask what natoma can do, start pc with -S and ask by -qmp",
        )),
        Some(name) => Err(machine
            .error("type", format_args!("there is no machine '{name}'; natoma has pc{}", did_you_mean(name, names())))),
    }
}

/// As in QEMU, the first accelerator of a list that exists is taken.
fn accelerator(accel: &Merged) -> Result<Accel, UsageError> {
    let names = || ACCELERATORS.iter().map(|(name, _)| *name);
    let mut lists = accel.entries.iter().filter(|entry| entry.key == "accel").peekable();
    if lists.peek().is_none() {
        return Ok(Accel::default());
    }
    let mut found = None;
    for name in lists.flat_map(|entry| entry.text.split(':')) {
        match name {
            "kvm" => found = found.or(Some(Accel::Kvm)),
            "qtest" => found = found.or(Some(Accel::Qtest)),
            other if OTHER_ACCELERATORS.contains(&other) => {}
            other => {
                return Err(accel.error(
                    "accel",
                    format_args!(
                        "there is no accelerator '{other}'; natoma has kvm and qtest{}",
                        did_you_mean(other, names())
                    ),
                ));
            }
        }
    }
    found.ok_or_else(|| accel.error("accel", "natoma runs on KVM only: use -accel kvm"))
}

/// The protocol drives what would otherwise be the processors' to drive.
pub fn check_qtest(settings: &Settings, platform: &PlatformConfig) -> Result<(), UsageError> {
    match settings.last("qtest") {
        Some(given) if platform.accel != Accel::Qtest => {
            Err(given.origin.error("the protocol drives a machine without processors: add -accel qtest"))
        }
        _ => Ok(()),
    }
}
