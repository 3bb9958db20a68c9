//! What the firmware is told of the machine by fw_cfg: QEMU's items and files, each with QEMU's contents.
//!
//! The ACPI tables are not here but in [`acpi`]. Of the files of QEMU's machine `genroms/kvmvapic.bin` is left
//! out: it speeds up 32-bit Windows on processors without a virtual APIC.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use devices::firmware::FwCfg;
use devices::firmware::fw_cfg::registers::key;

use super::acpi;
use super::boot_order::BootOrder;
use super::description::processors;
use super::firmware;
use super::layout::{HPET, MemoryLayout};
use super::pc::hpet::block_id;
use crate::boot::by_firmware::{self, FirmwareKernel};
use crate::boot::e820::{E820Entry, E820Kind};
use crate::config::{BootConfig, DeviceConfig, FirmwareFileContents, MachineConfig, PciDevice, PowerConfig};
use crate::kvm::cpuid::Topology;

/// Largest option ROM: the space below the BIOS segment.
const MOST_OPTION_ROM: u64 = 256 << 10;
/// Largest boot picture.
const MOST_SPLASH: u64 = 16 << 20;
/// Largest file of `-fw_cfg`: sizes have 32 bits.
const MOST_FILE: u64 = u32::MAX as u64;
/// The ROM that starts the kernel of `-kernel`, under the name that QEMU's has.
const KERNEL_ROM: &str = "genroms/linuxboot_dma.bin";

/// What the items follow from.
pub struct Inputs<'a> {
    /// The configuration.
    pub config: &'a MachineConfig,
    /// Where RAM lies.
    pub layout: &'a MemoryLayout,
    /// How the processors are arranged.
    pub topology: &'a Topology,
    /// What the processors keep to themselves of the address space.
    pub reserved: &'a [E820Entry],
    /// SMBIOS: the entry point with an address of zero, and the tables.
    pub smbios: (Vec<u8>, Vec<u8>),
    /// What firmware is to write to IA32_FEATURE_CONTROL of every processor.
    pub feature_control: Option<u64>,
    /// The tables of `-acpitable`.
    pub user_tables: &'a [Vec<u8>],
}

/// Fills the device. Boot order and option ROMs come later ([`add_boot_order`]), and what the user adds last ([`add_user_files`]).
///
/// # Errors
/// A file of the host can't be read, or two files have the same name.
pub fn fill(fw_cfg: &mut FwCfg, inputs: Inputs<'_>) -> Result<()> {
    let Inputs { config, layout, topology, reserved, smbios: (anchor, tables), feature_control, user_tables } = inputs;
    let platform = &config.platform;
    let uuid = config.identity.uuid.map_or([0; 16], uuid::Uuid::into_bytes);
    fw_cfg.set_item(key::UUID, uuid);
    fw_cfg.set_item(key::RAM_SIZE, layout.ram_size().to_le_bytes());
    fw_cfg.set_item(key::NO_GRAPHIC, u16::from(!platform.graphics).to_le_bytes());
    fw_cfg.set_item(key::CPUS, word(config.smp.cpus));
    fw_cfg.set_item(key::MAX_CPUS, word(topology.apic_id_limit()));
    fw_cfg.set_item(key::BOOT_MENU, u16::from(config.boot.order.menu).to_le_bytes());
    fw_cfg.set_item(key::NUMA, numa(config, topology));
    fw_cfg.set_item(key::IRQ0_OVERRIDE, 1_u32.to_le_bytes());
    fw_cfg.set_item(key::HPET, hpet(platform.hpet.then(|| block_id(&platform.hpet_properties))));
    fw_cfg.set_item(key::ACPI_TABLES, acpi::user::item(user_tables));
    if let Some(value) = feature_control {
        fw_cfg.add_file("etc/msr_feature_control", value.to_le_bytes())?;
    }
    fw_cfg.add_file("etc/e820", e820(layout, reserved))?;
    fw_cfg.add_file("etc/smbios/smbios-anchor", anchor)?;
    fw_cfg.add_file("etc/smbios/smbios-tables", tables)?;
    if platform.acpi {
        fw_cfg.add_file("etc/system-states", system_states(&platform.power))?;
        // What a TPM would have measured: there is none.
        fw_cfg.add_file("etc/tpm/log", [])?;
    }
    // Geometries that a BIOS would not find itself: no disk is given any.
    fw_cfg.add_file("bios-geometry", [])?;
    add_boot_settings(fw_cfg, &config.boot)
}

fn word(number: u32) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes()
}

fn numa(config: &MachineConfig, topology: &Topology) -> Vec<u8> {
    acpi::fw_cfg_item(&config.numa, &processors(config, topology), topology.apic_id_limit())
}

/// The number of HPETs, FFh for none, and what there is to know of each.
fn hpet(id: Option<u32>) -> Vec<u8> {
    let Some(id) = id else { return vec![0xff] };
    let mut item = vec![1];
    item.extend(id.to_le_bytes());
    item.extend(HPET.start.to_le_bytes());
    item.extend([0; 3]); // least tick in periodic mode, page protection
    item
}

/// Address, length (64 bits each) and kind (32 bits) of each range.
fn e820(layout: &MemoryLayout, reserved: &[E820Entry]) -> Vec<u8> {
    let ram = layout.ram_regions().map(|region| {
        let range = region.guest;
        E820Entry::new(range.start, range.end - range.start, E820Kind::Ram)
    });
    let entry = |entry: E820Entry| {
        let kind: u32 = entry.kind as u32;
        [&entry.addr.to_le_bytes()[..], &entry.size.to_le_bytes(), &kind.to_le_bytes()].concat()
    };
    reserved.iter().copied().chain(layout.amd_hypertransport()).chain(ram).flat_map(entry).collect()
}

/// For S0 to S5: bit 7 says that the state exists, the rest is its SLP_TYP.
fn system_states(power: &PowerConfig) -> [u8; 6] {
    let exists = |disabled: bool| u8::from(!disabled) << 7;
    [0x80, 0, 0, 1 | exists(power.disable_s3), power.s4_value | exists(power.disable_s4), 0x80]
}

fn add_boot_settings(fw_cfg: &mut FwCfg, boot: &BootConfig) -> Result<()> {
    let timeout = boot.order.reboot_timeout.map_or(u32::MAX, u32::from);
    fw_cfg.add_file("etc/boot-fail-wait", timeout.to_le_bytes())?;
    if let Some(time) = boot.order.splash_time {
        fw_cfg.add_file("etc/boot-menu-wait", time.to_le_bytes())?;
    }
    if let Some(splash) = &boot.order.splash {
        let picture = firmware::find(splash, &boot.directories)
            .and_then(|path| firmware::read(&path, MOST_SPLASH))
            .context("-boot splash")?;
        let name = splash_name(&picture).with_context(|| format!("-boot splash={splash}"))?;
        fw_cfg.add_file(name, picture)?;
    }
    Ok(())
}

/// The name under which firmware looks for a picture of this kind.
fn splash_name(picture: &[u8]) -> Result<&'static str> {
    /// Offset of the bits for a pixel in a BMP file.
    const BITS: usize = 28;
    match picture {
        [0xff, 0xd8, ..] => Ok("bootsplash.jpg"),
        [b'B', b'M', ..] => match picture.get(BITS..BITS + 2) {
            Some([24, 0]) => Ok("bootsplash.bmp"),
            _ => bail!("firmware shows BMP pictures with 24 bits a pixel only"),
        },
        _ => bail!("it is neither a JPEG nor a BMP picture"),
    }
}

/// Adds the files of `-fw_cfg`. It is they that have a name which is taken.
///
/// # Errors
/// A file of the host can't be read, or the machine has a file of the same name.
pub fn add_user_files(fw_cfg: &mut FwCfg, boot: &BootConfig) -> Result<()> {
    for file in &boot.files {
        let contents = match &file.contents {
            FirmwareFileContents::String(text) => text.clone().into_bytes(),
            FirmwareFileContents::File(path) => {
                firmware::read(path, MOST_FILE).with_context(|| format!("-fw_cfg name={}", file.name))?
            }
        };
        fw_cfg.add_file(&file.name, contents).with_context(|| format!("-fw_cfg name={}", file.name))?;
    }
    Ok(())
}

/// Adds a kernel that the firmware is to start, with the ROM that does it.
fn add_kernel(fw_cfg: &mut FwCfg, order: &mut BootOrder, config: &MachineConfig, layout: &MemoryLayout) -> Result<()> {
    let boot = &config.boot;
    let Some(kernel) = boot.kernel.as_ref().filter(|_| config.has_firmware()) else { return Ok(()) };
    let initrd = boot.initrd.as_ref().map(OsStr::new);
    let parts = FirmwareKernel::open(kernel, initrd, boot.append.as_bytes(), layout.low_ram.end)?;
    let FirmwareKernel { setup, kernel, command_line, initrd } = parts;
    for (part, [address, size, data]) in [
        (setup, [key::SETUP_ADDRESS, key::SETUP_SIZE, key::SETUP_DATA]),
        (kernel, [key::KERNEL_ADDRESS, key::KERNEL_SIZE, key::KERNEL_DATA]),
        (command_line, [key::COMMAND_LINE_ADDRESS, key::COMMAND_LINE_SIZE, key::COMMAND_LINE_DATA]),
        (initrd, [key::INITRD_ADDRESS, key::INITRD_SIZE, key::INITRD_DATA]),
    ] {
        fw_cfg.set_item(address, part.address.to_le_bytes());
        fw_cfg.set_item(size, (part.bytes.len() as u32).to_le_bytes());
        fw_cfg.set_item(data, part.bytes);
    }
    fw_cfg.add_file(KERNEL_ROM, by_firmware::ROM)?;
    order.add(Some(0), format!("/rom@{KERNEL_ROM}")).context("-kernel")
}

/// Adds the ROM of a PCI function that does not show it itself (`rombar=0`), under the name by which firmware runs it.
fn add_function_rom(fw_cfg: &mut FwCfg, device: &PciDevice, directories: &[PathBuf]) -> Result<()> {
    let Some(rom) = device.rom.as_ref().filter(|rom| !rom.bar) else { return Ok(()) };
    let path = firmware::find(&rom.file, directories)?;
    let image = firmware::read(&path, MOST_OPTION_ROM)?;
    Ok(fw_cfg.add_file(&rom_name(&path), image)?)
}

/// The file by which firmware finds a ROM.
fn rom_name(path: &Path) -> String {
    format!("genroms/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Adds the kernel, the ROMs of `-option-rom` and those of PCI functions without a window for it, and the order of all
/// devices and ROMs that have an index.
///
/// # Errors
/// A ROM can't be read, or an index is taken.
pub fn add_boot_order(
    fw_cfg: &mut FwCfg,
    order: &mut BootOrder,
    config: &MachineConfig,
    layout: &MemoryLayout,
) -> Result<()> {
    let boot = &config.boot;
    add_kernel(fw_cfg, order, config, layout)?;
    for device in &config.devices {
        if let DeviceConfig::Pci(device) = device {
            let doing = || format!("-device {device},rombar=0");
            add_function_rom(fw_cfg, device, &boot.directories).with_context(doing)?;
        }
    }
    for rom in &boot.option_roms {
        let doing = || format!("-option-rom {}", rom.file);
        let path = firmware::find(&rom.file, &boot.directories).with_context(doing)?;
        let image = firmware::read(&path, MOST_OPTION_ROM).with_context(doing)?;
        let name = rom_name(&path);
        order.add(rom.bootindex, format!("/rom@{name}")).with_context(doing)?;
        fw_cfg.add_file(&name, image).with_context(doing)?;
    }
    Ok(fw_cfg.add_file("bootorder", order.file(boot.order.strict))?)
}
