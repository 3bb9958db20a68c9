//! PCI functions of `-device`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use devices::backend::char::{CharBackend, NullChar};
use devices::base::{BusMaster, DeviceTimers, GuestRam, IrqLine, Shared, SystemControl, lock, shared};
use devices::debug::{PciTestdev, PvpanicPci};
use devices::pci::{Extras, HotPlug, MessagePort, OptionRom, PciAddress, PciBridge, PciBus, PciFunction, Reserve};
use devices::serial::{PciSerial, PciSerialModel};
use devices::watchdog::I6300Esb;

use super::Board;
use crate::config::{self, MachineConfig, PciDevice, PciRom};
use crate::host::Backends;
use crate::machine::firmware;

/// Where a function goes.
pub(super) struct Socket<'a> {
    device: &'a PciDevice,
    /// Directories of `-L`.
    directories: &'a [PathBuf],
    pub bus: Arc<PciBus>,
    address: PciAddress,
}

impl Socket<'_> {
    /// The line from the function's INTA#.
    pub fn interrupt(&self) -> IrqLine {
        self.bus.interrupt_line(self.address.slot, 1, self.device.driver())
    }

    /// Its place as Open Firmware writes it.
    pub fn unit_address(&self) -> String {
        unit_address(self.address)
    }

    /// What the board can say of a function that the function itself does not know.
    fn prepare<F: PciFunction>(&self, function: &Shared<F>) -> Result<()> {
        let mut function = lock(function);
        let config = function.config_mut();
        if self.device.multifunction {
            config.set_multifunction();
        }
        if let Some(rom) = self.device.rom.as_ref().filter(|rom| rom.bar) {
            config.fit_option_rom(read_rom(rom, self.directories)?);
        }
        Ok(())
    }
}

impl Board {
    /// Makes a PCI function of `-device` and puts it where it is to sit.
    pub(super) fn add_pci_device(
        &mut self,
        device: &PciDevice,
        config: &MachineConfig,
        system: &Arc<dyn SystemControl>,
        backends: &dyn Backends,
    ) -> Result<()> {
        self.make_pci_device(device, config, system, backends).with_context(|| format!("-device {device}"))
    }

    fn make_pci_device(
        &mut self,
        device: &PciDevice,
        config: &MachineConfig,
        system: &Arc<dyn SystemControl>,
        backends: &dyn Backends,
    ) -> Result<()> {
        let bus = match &device.bus {
            Some(name) => find_bus(&self.pci, name).with_context(|| format!("there is no PCI bus '{name}'"))?,
            None => Arc::clone(&self.pci),
        };
        let address = match device.addr {
            Some(config::PciPlace { slot, function }) => PciAddress { slot, function },
            None => bus.free_slot()?,
        };
        if let Some(index) = device.acpi_index {
            self.set_acpi_index(&bus, address.slot, index);
        }
        let socket = Socket { device, directories: &config.boot.directories, bus, address };
        match &device.function {
            config::PciFunction::PciBridge(bridge) => self.add_pci_bridge(&socket, bridge),
            config::PciFunction::PciSerial(card) => self.add_pci_serial(&socket, card, backends),
            config::PciFunction::PvpanicPci(pvpanic) => {
                self.plug(&socket, shared(PvpanicPci::new(pvpanic.events, Arc::clone(system))))
            }
            config::PciFunction::PciTestdev(testdev) => self.plug(&socket, shared(PciTestdev::new(testdev.membar))),
            config::PciFunction::VirtioBlk(disk) => self.add_virtio_blk(&socket, disk, config, system, backends),
            config::PciFunction::VirtioScsi(host) => self.add_virtio_scsi(&socket, host, config, system, backends),
            config::PciFunction::I6300esb => {
                let timers = self.queue.timers();
                let owner = timers.owner();
                let watchdog = shared(I6300Esb::new(self.queue.clock().clone(), timers, Arc::clone(system)));
                self.wind(owner, &watchdog);
                self.plug(&socket, watchdog)
            }
        }
    }

    pub(super) fn plug<F: PciFunction + 'static>(&mut self, socket: &Socket<'_>, function: Shared<F>) -> Result<()> {
        socket.prepare(&function)?;
        socket.bus.insert(socket.address, socket.device.to_string(), function.clone())?;
        self.register(function);
        Ok(())
    }

    fn add_pci_bridge(&mut self, socket: &Socket<'_>, config: &config::PciBridge) -> Result<()> {
        let name = match &socket.device.id {
            Some(id) => id.clone(),
            // As QEMU counts buses without a name.
            None => {
                (1..).map(|n| format!("pci.{n}")).find(|name| find_bus(&self.pci, name).is_none()).unwrap_or_default()
            }
        };
        let gate = socket.bus.bus_master();
        let secondary = PciBus::behind(&socket.bus, socket.address.slot, name, gate.clone());
        let messages = config.msi.then(|| self.message_port(&gate));
        let config::PciReserve { buses, io, memory, prefetchable_32, prefetchable_64 } = config.reserve;
        let extras = Extras {
            hot_plug: config.shpc.then(|| HotPlug { interrupt: socket.interrupt(), messages }),
            reserve: Reserve { buses, io, memory, prefetchable_32, prefetchable_64 },
        };
        let bridge = shared(PciBridge::new(config.chassis_nr, gate, extras));
        socket.prepare(&bridge)?;
        let name = socket.device.to_string();
        socket.bus.insert_bridge(socket.address, name, bridge.clone(), Arc::clone(&secondary))?;
        self.bridges.push((Shared::clone(&bridge), secondary));
        self.register(bridge);
        Ok(())
    }

    /// Where messages of a function that masters the bus through `gate` go.
    pub(super) fn message_port(&self, gate: &BusMaster) -> MessagePort {
        MessagePort::new(Arc::clone(&self.messages), GuestRam::clone(&self.ram), gate.clone())
    }

    /// A bus as Open Firmware writes it.
    pub(super) fn bus_path(&self, bus: &Arc<PciBus>) -> String {
        bus_path(&self.pci, bus).unwrap_or_default()
    }

    /// Tells bridges what sits in the slots behind them. To be called once everybody does.
    pub(super) fn connect_slots(&self) {
        for (bridge, secondary) in &self.bridges {
            let functions = secondary.functions();
            let first = functions.iter().filter(|(address, _)| address.function == 0);
            lock(bridge).connect_slots(first.fold(0, |slots, (address, _)| slots | 1 << address.slot));
        }
        self.pci.remap();
    }

    fn add_pci_serial(
        &mut self,
        socket: &Socket<'_>,
        config: &config::PciSerial,
        backends: &dyn Backends,
    ) -> Result<()> {
        let model = match config.chardevs.len() {
            1 => PciSerialModel::Single,
            2 => PciSerialModel::Dual,
            4 => PciSerialModel::Quad,
            other => bail!("there is no serial card with {other} ports"),
        };
        let open = |id: &Option<String>| id.as_ref().map(|id| backends.char_port(id)).transpose();
        let mut char_ports = config.chardevs.iter().map(open).collect::<Result<Vec<_>>>()?;
        let timers: Vec<_> = char_ports.iter().map(|_| self.queue.timers()).collect();
        let owners: Vec<_> = timers.iter().map(DeviceTimers::owner).collect();
        let backends = char_ports.iter_mut().map(|port| match port {
            Some(port) => port.backend(),
            None => Box::new(NullChar) as Box<dyn CharBackend>,
        });
        let ports = timers.into_iter().zip(backends).collect();
        let card = shared(PciSerial::new(model, config.prog_if, &self.queue, socket.interrupt(), ports));
        for ((owner, char_port), end) in owners.into_iter().zip(char_ports).zip(PciSerial::ends(&card)) {
            self.wind(owner, &end);
            if let Some(mut port) = char_port {
                port.attach(end.clone());
            }
            // Its timer goes without a character device, too.
            self.port_ends.push(end);
        }
        self.plug(socket, card)
    }
}

/// A place on a bus as Open Firmware writes it: function 0 is not mentioned.
fn unit_address(PciAddress { slot, function }: PciAddress) -> String {
    if function == 0 { format!("{slot:x}") } else { format!("{slot:x},{function:x}") }
}

/// The path to `wanted`, which is `root` or behind it.
fn bus_path(root: &Arc<PciBus>, wanted: &Arc<PciBus>) -> Option<String> {
    fn below(bus: &Arc<PciBus>, wanted: &Arc<PciBus>) -> Option<String> {
        if Arc::ptr_eq(bus, wanted) {
            return Some(String::new());
        }
        bus.secondaries().into_iter().find_map(|(address, secondary)| {
            Some(format!("/pci-bridge@{}{}", unit_address(address), below(&secondary, wanted)?))
        })
    }
    Some(format!("/pci@i0cf8{}", below(root, wanted)?))
}

/// The bus called `name` among `bus` and those behind it.
fn find_bus(bus: &Arc<PciBus>, name: &str) -> Option<Arc<PciBus>> {
    if bus.name() == name {
        return Some(Arc::clone(bus));
    }
    bus.secondaries().into_iter().find_map(|(_, secondary)| find_bus(&secondary, name))
}

fn read_rom(rom: &PciRom, directories: &[PathBuf]) -> Result<OptionRom> {
    let path = firmware::find(&rom.file, directories)?;
    let contents = firmware::read(&path, OptionRom::LARGEST as u64)?;
    let contents = match rom.size.map(|size| size as usize) {
        Some(size) if size < contents.len() => {
            bail!("the ROM {} has {} bytes, more than romsize={size}", path.display(), contents.len())
        }
        Some(size) if size > OptionRom::LARGEST => bail!("romsize={size}: a PCI ROM has at most 16 MiB"),
        Some(size) => {
            let mut contents = contents;
            contents.resize(size, 0);
            contents
        }
        None => contents,
    };
    OptionRom::new(contents).with_context(|| format!("the ROM {} is empty, or larger than 16 MiB", path.display()))
}

#[cfg(test)]
mod tests;
