//! SCSI hosts with their disks and CD drives.

use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::{SystemControl, shared};
use devices::scsi::{DiskOptions, Identity, LogicalUnit, Targets, UnitPlace};
use devices::virtio::VirtioPci;
use devices::virtio::scsi::{ScsiOptions, VirtioScsi};

use super::Board;
use super::cd::{self, CdBay, Connector};
use super::disks::{self, DiskEnd};
use super::pci_devices::Socket;
use super::virtio::function;
use crate::config::{self, DeviceConfig, DiskBlocks, MachineConfig, ScsiDisk, ScsiDrive};
use crate::host::Backends;
use crate::host::block::engine::Bell;
use crate::host::block::node::Node;

/// Names of QEMU's units, which guests know.
const VENDOR: &str = "QEMU";
const DISK_PRODUCT: &str = "QEMU HARDDISK";
const CD_PRODUCT: &str = "QEMU CD-ROM";
const REVISION: &str = "2.5+";
/// Unit of discarding unless a block is larger, as QEMU's.
const DISCARD_GRANULARITY: u32 = 4096;

impl Board {
    /// Makes a virtio SCSI host with all units on its bus.
    pub(super) fn add_virtio_scsi(
        &mut self,
        socket: &Socket<'_>,
        host: &config::VirtioScsi,
        config: &MachineConfig,
        system: &Arc<dyn SystemControl>,
        backends: &dyn Backends,
    ) -> Result<()> {
        let host_path = format!("{}/scsi@{}", self.bus_path(&socket.bus), socket.unit_address());
        let (mut targets, mut bells, mut cds) = (Targets::default(), Vec::new(), Vec::new());
        for device in &config.devices {
            let (drive, name, is_disk) = match device {
                DeviceConfig::ScsiHd(drive) => (drive, "scsi-hd", true),
                DeviceConfig::ScsiCd(drive) => (drive, "scsi-cd", false),
                _ => continue,
            };
            if drive.bus != host.scsi_bus {
                continue;
            }
            let ScsiDrive { target, lun, .. } = **drive;
            let context = || match &drive.drive {
                Some(id) => format!("{name} with drive '{id}'"),
                None => name.to_owned(),
            };
            self.boot_order
                .add(drive.bootindex, format!("{host_path}/channel@0/disk@{target:x},{lun:x}"))
                .with_context(context)?;
            let (unit, bell) = unit(drive, is_disk, config, system, backends).with_context(context)?;
            bells.extend(bell.clone());
            let place = UnitPlace { target, lun };
            targets.add(place, unit).with_context(context)?;
            if !is_disk {
                cds.extend(drive.drive.clone().zip(bell).map(|(drive, bell)| (drive, place, bell)));
            }
        }
        let options = ScsiOptions {
            // As QEMU: each processor has a queue of its own.
            queues: host
                .queues
                .unwrap_or_else(|| u16::try_from(config.smp.cpus).unwrap_or(u16::MAX))
                .min(config::VirtioScsi::MOST_QUEUES),
            queue_size: host.queue_size,
            seg_max_adjust: host.seg_max_adjust,
            max_sectors: host.max_sectors,
            cmd_per_lun: host.cmd_per_lun,
            hotplug: host.hotplug,
            param_change: host.param_change,
        };
        // Two more for control and events.
        let doorbells = self.doorbells(&host.virtio, options.queues + 2)?;
        // One for each queue, and one for changes of the configuration.
        let options_of_function = function(&host.virtio, options.queues + 3);
        let device = VirtioScsi::new(targets, options);
        let function = shared(VirtioPci::new(device, options_of_function, self.wiring(socket, doorbells.clone())));
        self.add_queues(&function, bells, doorbells, host.io_thread.as_deref());
        for (drive, place, bell) in cds {
            self.add_cd(CdBay { drive, at: Connector::Scsi(function.clone(), place), bell });
        }
        self.plug(socket, function)
    }
}

/// A unit, and what rings when requests of its medium have ended.
fn unit(
    drive: &ScsiDrive,
    is_disk: bool,
    config: &MachineConfig,
    system: &Arc<dyn SystemControl>,
    backends: &dyn Backends,
) -> Result<(LogicalUnit, Option<Bell>)> {
    let DiskEnd { port, bell, node } = DiskEnd::new(config, backends, drive.drive.as_deref(), system)?;
    let unit = if is_disk {
        let contents = node.context("a disk needs contents: give its -drive a file=PATH")?;
        LogicalUnit::disk(port, disk_options(drive, config, &*contents)?, identity(drive, DISK_PRODUCT))
    } else {
        let watcher = cd::watcher(config, drive.drive.as_deref(), system);
        LogicalUnit::cd(port, identity(drive, CD_PRODUCT)).watched_by(watcher)
    };
    Ok((unit, bell))
}

fn identity(drive: &ScsiDrive, product: &str) -> Identity {
    let ScsiDrive { serial, vendor, product: stated, ver, device_id, wwn, port_wwn, port_index, .. } = drive;
    let text = |stated: &Option<String>, usual: &str| stated.clone().unwrap_or_else(|| usual.to_owned());
    Identity {
        vendor: text(vendor, VENDOR),
        product: text(stated, product),
        revision: text(ver, REVISION),
        serial: serial.clone(),
        // As QEMU: the serial number without its end, or the name of the drive.
        device_id: match (device_id, serial, &drive.drive) {
            (Some(id), ..) => id.clone(),
            (None, Some(serial), _) => serial.chars().take(20).collect(),
            // One that was made up is told to nobody.
            (None, None, drive) => drive.clone().filter(|drive| !drive.starts_with('#')).unwrap_or_default(),
        },
        wwn: *wwn,
        port_wwn: *port_wwn,
        port_index: *port_index,
    }
}

fn disk_options(drive: &ScsiDrive, config: &MachineConfig, contents: &dyn Node) -> Result<DiskOptions> {
    let ScsiDisk { removable, dpofua, rotation_rate, ref blocks } = drive.disk;
    let (geometry, write_cache) = disks::resolve(blocks, config, drive.drive.as_deref(), contents);
    let DiskBlocks { logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity, .. } =
        *blocks;
    Ok(DiskOptions {
        block: logical_block_size,
        physical_block: physical_block_size,
        minimum_io: min_io_size,
        optimal_io: opt_io_size,
        discard_granularity: discard_granularity.unwrap_or(DISCARD_GRANULARITY.max(logical_block_size)),
        rotation_rate,
        removable,
        dpofua,
        write_cache,
        geometry,
    })
}
