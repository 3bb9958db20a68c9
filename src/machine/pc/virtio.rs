//! virtio devices.

use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::{GuestRam, SystemControl, shared};
use devices::virtio::block::{BlockOptions, VirtioBlock};
use devices::virtio::{DoorbellWatch, PciOptions, RingOptions, VirtioPci, Wiring};

use super::Board;
use super::disks::{self, DiskEnd};
use super::doorbells::Doorbells;
use super::pci_devices::Socket;
use crate::config::{DiskBlocks, MachineConfig, VirtioBlk, VirtioOptions};
use crate::host::Backends;
use crate::host::block::node::Node;

/// The function as its options want it; `useful` is the number of vectors that it makes use of.
pub(super) fn function(options: &VirtioOptions, useful: u16) -> PciOptions {
    let VirtioOptions {
        interface: _,
        legacy,
        modern,
        vectors,
        page_per_vq,
        indirect_desc,
        event_idx,
        any_layout,
        notify_on_empty,
        packed,
        queue_reset,
        ioeventfd: _,
    } = *options;
    let rings = RingOptions { indirect_desc, event_idx, any_layout, notify_on_empty, packed, queue_reset };
    PciOptions { legacy, modern, vectors: vectors.unwrap_or(useful), page_per_vq, rings }
}

impl Board {
    /// The doorbells of a function with `queues` queues, if it wants them heard and there is something that does.
    pub(super) fn doorbells(&self, options: &VirtioOptions, queues: u16) -> Result<Option<Arc<Doorbells>>> {
        let host = self.doorbells.as_ref().filter(|_| options.ioeventfd);
        host.map(|host| Ok(Arc::new(Doorbells::new(Arc::clone(host), queues)?))).transpose()
    }

    pub(super) fn wiring(&self, socket: &Socket<'_>, doorbells: Option<Arc<Doorbells>>) -> Wiring {
        let gate = socket.bus.bus_master();
        Wiring {
            ram: GuestRam::clone(&self.ram),
            intx: socket.interrupt(),
            messages: self.message_port(&gate),
            gate,
            watch: doorbells.map(|doorbells| doorbells as Arc<dyn DoorbellWatch>),
        }
    }

    pub(super) fn add_virtio_blk(
        &mut self,
        socket: &Socket<'_>,
        disk: &VirtioBlk,
        config: &MachineConfig,
        system: &Arc<dyn SystemControl>,
        backends: &dyn Backends,
    ) -> Result<()> {
        let path = format!("{}/scsi@{}/disk@0,0", self.bus_path(&socket.bus), socket.unit_address());
        self.boot_order.add(disk.bootindex, path)?;
        let drive = || format!("drive '{}'", disk.drive);
        let DiskEnd { port, bell, node } =
            DiskEnd::new(config, backends, Some(&disk.drive), system).with_context(drive)?;
        let contents = node.context("a disk needs contents: give its -drive a file=PATH").with_context(drive)?;
        let options = block_options(disk, config, &*contents).with_context(drive)?;
        let options_of_function = function(&disk.virtio, options.queues.saturating_add(1));
        let doorbells = self.doorbells(&disk.virtio, options.queues)?;
        let device = VirtioBlock::new(port, options);
        let function = shared(VirtioPci::new(device, options_of_function, self.wiring(socket, doorbells.clone())));
        self.add_queues(&function, Vec::from_iter(bell), doorbells, disk.io_thread.as_deref());
        self.plug(socket, function)
    }
}

fn block_options(disk: &VirtioBlk, config: &MachineConfig, contents: &dyn Node) -> Result<BlockOptions> {
    let (geometry, write_cache) = disks::resolve(&disk.blocks, config, Some(&disk.drive), contents);
    let DiskBlocks { logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity, .. } =
        disk.blocks;
    Ok(BlockOptions {
        // As QEMU: each processor has a queue of its own.
        queues: disk.queues.unwrap_or_else(|| u16::try_from(config.smp.cpus).unwrap_or(u16::MAX)),
        queue_size: disk.queue_size,
        seg_max_adjust: disk.seg_max_adjust,
        serial: disk.serial.clone(),
        logical_block_size,
        physical_block_size,
        min_io_size,
        opt_io_size,
        geometry: (geometry.cylinders, geometry.heads, geometry.sectors),
        write_cache,
        config_wce: disk.config_wce,
        discard: disk.discard,
        discard_granularity: discard_granularity.unwrap_or(logical_block_size),
        max_discard_sectors: disk.max_discard_sectors,
        write_zeroes: disk.write_zeroes,
        max_write_zeroes_sectors: disk.max_write_zeroes_sectors,
    })
}
