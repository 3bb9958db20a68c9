//! The floppy controller and its drives.

use anyhow::{Context, Result};
use devices::base::shared;
use devices::floppy::{DriveKind, Fdc, FloppyDrive};

use super::Board;
use crate::config::{DeviceConfig, FLOPPY_DRIVES, FloppyDevice, FloppyKind, MachineConfig};
use crate::host::Backends;
use crate::machine::board::{dma, irq, port};
use crate::machine::boot_order::BootOrder;

/// Drives A and B.
pub(super) type FloppyDrives = [Option<FloppyDrive>; FLOPPY_DRIVES];

/// Makes the drives of a configuration.
///
/// # Errors
/// A drive of the host can't be had.
pub(super) fn drives(config: &MachineConfig, backends: &dyn Backends) -> Result<FloppyDrives> {
    let mut drives = FloppyDrives::default();
    for (unit, connected) in config.fdc.drives.iter().enumerate() {
        if let Some(connected) = connected {
            drives[unit] = make(config, backends, Some(&connected.drive), connected.kind)?;
        }
    }
    for device in &config.devices {
        if let DeviceConfig::Floppy(FloppyDevice { unit, drive, kind, .. }) = device
            && let Some(place) = drives.get_mut(usize::from(*unit))
        {
            *place = make(config, backends, drive.as_deref(), *kind).context("-device floppy")?;
        }
    }
    Ok(drives)
}

/// Makes one drive; `None` if it is to be absent.
fn make(
    config: &MachineConfig,
    backends: &dyn Backends,
    id: Option<&str>,
    kind: FloppyKind,
) -> Result<Option<FloppyDrive>> {
    let medium = match id {
        Some(id) => backends.block(id)?,
        None => None,
    };
    let made_for = medium.as_ref().map(|medium| (medium.len(), DriveKind::for_medium(medium.len())));
    if let (Some((bytes, None)), Some(id)) = (made_for, id) {
        log::warn!("drive '{id}': {bytes} bytes are the size of no floppy format; sectors beyond them can't be read");
    }
    let fallback = || exact_kind(config.fdc.fallback).unwrap_or(DriveKind::Mb288);
    let kind = match kind {
        FloppyKind::Absent => return Ok(None),
        FloppyKind::Auto => made_for.and_then(|(_, kind)| kind).unwrap_or_else(fallback),
        stated => exact_kind(stated).unwrap_or_else(fallback),
    };
    Ok(Some(FloppyDrive::new(kind, medium)))
}

fn exact_kind(kind: FloppyKind) -> Option<DriveKind> {
    match kind {
        FloppyKind::Mb120 => Some(DriveKind::Mb120),
        FloppyKind::Mb144 => Some(DriveKind::Mb144),
        FloppyKind::Mb288 => Some(DriveKind::Mb288),
        FloppyKind::Absent | FloppyKind::Auto => None,
    }
}

/// Adds the drives that have a place in the boot order, under the names that SeaBIOS has for them.
///
/// # Errors
/// A place is taken.
pub(super) fn add_to_boot_order(order: &mut BootOrder, config: &MachineConfig) -> Result<()> {
    for (unit, bootindex) in config.fdc.bootindex.iter().enumerate() {
        let path = format!("/pci@i0cf8/isa@1/fdc@03f0/floppy@{unit}");
        order.add(*bootindex, path).context("-global isa-fdc")?;
    }
    Ok(())
}

impl Board {
    pub(super) fn add_fdc(&mut self, drives: FloppyDrives) {
        self.acpi.fdc = Some(drives.each_ref().map(|drive| drive.as_ref().map(FloppyDrive::kind)));
        let timers = self.queue.timers();
        let owner = timers.owner();
        let line = self.line(irq::FDC, "floppy controller");
        let channel = self.dma_channel(dma::FDC);
        let fdc = shared(Fdc::new(self.queue.clock().clone(), timers, line, channel, drives));
        self.wind(owner, &fdc);
        self.add(&fdc, &[(port::FDC_SRB, Fdc::REGION), (port::FDC_DIR, Fdc::DIR_REGION)]);
        self.fdc = Some(fdc);
    }
}
