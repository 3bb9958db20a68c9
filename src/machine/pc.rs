//! The board: the one place where wires are soldered.
//!
//! Every device is made here, is given its clock, timers, interrupt lines and back ends, and appears at its addresses.
//! Nothing here knows KVM: interrupts leave through an [`IrqSink`], shadowed memory through a [`ShadowControl`].

pub mod cd;
pub mod chips;
mod disks;
mod dma;
pub mod doorbells;
mod flash;
mod floppy;
mod fw_cfg;
mod hotplug;
pub mod hpet;
mod ide;
pub mod input;
mod isa_devices;
mod parallel;
mod pci_devices;
mod power;
mod scsi;
pub mod sleep;
pub mod view;
mod virtio;
mod vmport;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use devices::base::msi::MsiSink;
use devices::base::{
    Bus, Delivery, Device, GuestRam, IoDevice, IrqInput, IrqLine, IrqSink, Priority, Region, ResetKind, Shared, Space,
    SystemControl, TimerClient, TimerQueue, lock, shared,
};
use devices::chipset::i440fx::{I440fx, ShadowControl};
use devices::chipset::piix3::{self, Piix3};
use devices::chipset::pirq::PirqRouter;
use devices::chipset::port92::Port92;
use devices::chipset::rtc::registers::CMOS_SIZE;
use devices::chipset::rtc::{LostTicks, Rtc, RtcLines};
use devices::debug::{DebugExit, Debugcon, PostCode};
use devices::firmware::{EmptyRom, FwCfg};
use devices::floppy::Fdc;
use devices::input::{I8042, I8042Lines};
use devices::pci::mechanism1::{self, ConfigMechanism1};
use devices::pci::{PciAddress, PciBridge, PciBus, PciFunction, SlotError};
use devices::serial::{PortEnd, Uart};
use devices::vmware::VmPort;

use self::chips::{Chips, InterruptControllers};
use self::disks::Disks;
use self::dma::IsaDma;
use self::doorbells::DoorbellHost;
use self::fw_cfg::LastingOrder;
pub use self::ide::DiskGeometries;
use self::power::Power;
use self::sleep::WakeByUser;
use super::board::{irq, pci, port};
use super::boot_order::BootOrder;
use super::gate::Gate;
use super::layout::OPTION_ROMS;
use super::{acpi, cmos};
use crate::config::{DeviceConfig, IsaDebugcon, IsaParallel, LostTickPolicy, MachineConfig};
use crate::host::Backends;
use crate::host::chardev::CharPort;

/// Interrupt inputs of the board: the pins of the I/O APIC.
const GSIS: u32 = 24;
/// The host bridge's place on the PCI bus.
const HOST_BRIDGE: PciAddress = PciAddress::slot(0);
/// The timer's interrupt, which arrives at I/O APIC input 2.
const TIMER_IRQ: u8 = 0;

/// What the board is built on.
pub struct Foundation<'a> {
    /// What DMA reaches.
    pub ram: GuestRam,
    /// Takes the levels of the 24 interrupt inputs.
    pub irqs: Arc<dyn IrqSink>,
    /// Switches memory below 1 MiB.
    pub shadow: Box<dyn ShadowControl>,
    /// Takes requests for reset, power-off and exit.
    pub system: Arc<dyn SystemControl>,
    /// Where interrupt controllers and interval timer are.
    pub chips: Chips,
    /// Takes the messages of PCI functions.
    pub messages: Arc<dyn MsiSink>,
    /// Hears doorbells of functions, if there is something that does.
    pub doorbells: Option<Arc<dyn DoorbellHost>>,
    /// Guest-virtual time.
    pub queue: TimerQueue,
    /// The clock of the RTC, and the date in nanoseconds since 1970 when it shows 0.
    pub rtc: (TimerQueue, i64),
    /// What CMOS RAM tells of the machine.
    pub cmos: cmos::Inputs<'a>,
    /// The processors that there are or may be.
    pub cpus: &'a [acpi::Cpu],
}

/// Address line 20. KVM has no way to mask it, and no software of this century wants it masked.
struct A20;

impl IrqSink for A20 {
    fn set_level(&self, _pin: u32, level: bool) -> Delivery {
        log::debug!("address line 20 is {}", if level { "driven" } else { "masked, which has no effect" });
        Delivery::Delivered
    }
}

/// The board with everything on it.
pub struct Board {
    /// Port space.
    pub ports: Arc<Bus>,
    /// Memory space outside RAM.
    pub memory: Arc<Bus>,
    /// The PCI bus.
    pub pci: Arc<PciBus>,
    gsis: Vec<Arc<IrqInput>>,
    queue: TimerQueue,
    /// Unless the machine has no ACPI.
    power: Option<Power>,
    keyboard: Option<Shared<I8042>>,
    vmport: Option<Shared<VmPort>>,
    fdc: Option<Shared<Fdc>>,
    disks: Disks,
    rtc: Option<Shared<Rtc>>,
    fw_cfg: Shared<FwCfg>,
    /// What a reset makes of a boot order that was given for once.
    lasting_order: Option<LastingOrder>,
    /// Devices to boot from.
    pub boot_order: BootOrder,
    /// In S3.
    asleep: Arc<AtomicBool>,
    /// Unless the machine has no ACPI.
    hotplug: Option<hotplug::Hotplug>,
    /// Unless they are in the kernel.
    pub interrupt_controllers: Option<InterruptControllers>,
    dma: IsaDma,
    /// What PCI functions reach as bus masters.
    ram: GuestRam,
    /// Where their messages go.
    messages: Arc<dyn MsiSink>,
    /// Hears their doorbells.
    doorbells: Option<Arc<dyn DoorbellHost>>,
    /// Bridges, and the buses behind them, whose slots they want to know.
    bridges: Vec<(Shared<PciBridge>, Arc<PciBus>)>,
    /// Ports of serial cards, which timers know only as long as somebody has them.
    port_ends: Vec<Shared<PortEnd>>,
    /// The optional parts that are there, as the firmware tables want to know them.
    acpi: acpi::Devices,
    /// All devices in the order of their reset, by the name they are saved under.
    devices: Vec<(String, Arc<Mutex<dyn Device>>)>,
    /// Those among them that the user has added.
    added: Range<usize>,
}

impl Board {
    /// Makes the board that `config` describes.
    ///
    /// # Errors
    /// A character device can't be had, or a place on a bus is taken.
    pub fn new(foundation: Foundation<'_>, config: &MachineConfig, backends: &dyn Backends) -> Result<Self> {
        let Foundation { ram, irqs, shadow, system, chips, messages, doorbells, queue, rtc, cmos, cpus } = foundation;
        let (ports, memory) = (Arc::new(Bus::new(Space::Port)), Arc::new(Bus::new(Space::Memory)));
        let gsis: Vec<_> = (0..GSIS).map(|gsi| IrqInput::new(Arc::clone(&irqs), gsi)).collect();
        let router = PirqRouter::new(std::array::from_fn(|irq| gsis.get(irq).cloned()));
        let pci = Arc::new(PciBus::new(Arc::clone(&ports), Arc::clone(&memory), router.inputs()));

        let mut board = Self {
            ports,
            memory,
            pci,
            gsis,
            queue,
            power: None,
            keyboard: None,
            vmport: None,
            fdc: None,
            disks: Disks::default(),
            rtc: None,
            fw_cfg: fw_cfg::device(GuestRam::clone(&ram)),
            boot_order: BootOrder::default(),
            lasting_order: None,
            asleep: Arc::default(),
            hotplug: None,
            interrupt_controllers: None,
            dma: IsaDma::new(&ram),
            ram,
            messages,
            doorbells,
            bridges: Vec::new(),
            port_ends: Vec::new(),
            acpi: acpi::Devices::default(),
            devices: Vec::new(),
            added: 0..0,
        };
        board.add_bridges(cmos.layout.ram_size(), shadow, router, &system)?;
        if config.platform.acpi {
            board.add_power(config, &system)?;
            board.add_hotplug(cpus);
        }
        board.add_dma();
        let pit = match chips {
            Chips::Kernel(pit) => pit,
            Chips::Board(controllers, lost_ticks) => {
                board.interrupt_controllers = Some(controllers);
                board.add_pit(lost_ticks)
            }
        };
        board.add_fw_cfg();
        board.memory.map(OPTION_ROMS, EmptyRom::REGION, Priority::Fixed, shared(EmptyRom));
        let floppies = floppy::drives(config, backends)?;
        let floppy_types = floppies.each_ref().map(|drive| drive.as_ref().map_or(0, |drive| drive.kind().cmos_type()));
        board.add_fdc(floppies);
        floppy::add_to_boot_order(&mut board.boot_order, config)?;
        let disks = ide::drives(config, backends, board.queue.clock(), &system, &mut board.boot_order)?;
        let cmos = cmos::contents(&cmos, floppy_types, &disks.geometries);
        board.add_ide(disks)?;
        let rtc_gate = board.add_rtc(rtc, &cmos, config, &system);
        if config.platform.hpet {
            board.add_hpet(&config.platform.hpet_properties, pit, rtc_gate);
        }
        let a20 = IrqInput::new(Arc::new(A20), 0);
        if config.platform.i8042 {
            board.add_i8042(&a20, &system);
        }
        if config.platform.vmport {
            board.add_vmport(config);
        }
        board.add(&shared(Port92::new(a20.line("port 92h"), Arc::clone(&system))), &[(port::PORT92, Port92::REGION)]);
        board.add(&shared(PostCode::default()), &[(port::POST_CODE, PostCode::REGION)]);
        for (index, chardev) in config.serials.iter().enumerate() {
            if let Some(id) = chardev {
                board.add_serial(index, port::COM[index], irq::COM[index], backends.char_port(id)?.as_mut());
            }
        }
        for (index, chardev) in config.parallels.iter().enumerate() {
            if let Some(id) = chardev {
                board.add_parallel(index, None, IsaParallel::IRQ, backends.char_port(id)?.as_mut());
            }
        }
        let first_added = board.devices.len();
        for device in &config.devices {
            board.add_device(device, config, &system, backends)?;
        }
        board.added = first_added..board.devices.len();
        board.add_interrupt_controllers();
        board.connect_slots();
        board.describe_slots();
        Ok(board)
    }

    fn add_bridges(
        &mut self,
        ram_size: u64,
        shadow: Box<dyn ShadowControl>,
        router: Arc<PirqRouter>,
        system: &Arc<dyn SystemControl>,
    ) -> Result<(), SlotError> {
        let mechanism = shared(ConfigMechanism1::new(Arc::clone(&self.pci)));
        let [address, data] = mechanism1::REGIONS;
        self.add(&mechanism, &[(port::PCI_CONFIG, address), (port::PCI_CONFIG + 4, data)]);
        self.add_pci(HOST_BRIDGE, &shared(I440fx::new(ram_size, shadow)))?;
        let bridge = shared(Piix3::new(router, Arc::clone(system)));
        self.ports.map(port::RESET_CONTROL.into(), piix3::RCR, Priority::Overlay, bridge.clone());
        self.add_pci(place(pci::ISA_BRIDGE), &bridge)
    }

    /// The RTC interrupts through a gate that the HPET can close.
    fn add_rtc(
        &mut self,
        (queue, epoch): (TimerQueue, i64),
        cmos: &[u8; CMOS_SIZE],
        config: &MachineConfig,
        system: &Arc<dyn SystemControl>,
    ) -> Arc<Gate> {
        let gate = Gate::new(self.line(irq::RTC, "RTC"));
        let irq = IrqInput::new(Arc::clone(&gate) as Arc<dyn IrqSink>, 0).line("RTC");
        let lines = RtcLines { irq, alarm: self.alarm_line(system) };
        let lost_ticks = match config.rtc.lost_ticks {
            LostTickPolicy::Slew => LostTicks::Slew,
            LostTickPolicy::Discard | LostTickPolicy::Delay => LostTicks::Discard,
        };
        let timers = queue.timers();
        let owner = timers.owner();
        let rtc = Rtc::new(queue.clock().clone(), timers, lines, epoch, cmos, lost_ticks);
        let rtc = shared(rtc);
        queue.attach(owner, &rtc);
        self.add(&rtc, &[(port::RTC, Rtc::REGION)]);
        self.lasting_order = LastingOrder::new(&rtc, &config.boot.order);
        self.rtc = Some(rtc);
        gate
    }

    fn add_i8042(&mut self, a20: &Arc<IrqInput>, system: &Arc<dyn SystemControl>) {
        let wake = WakeByUser { asleep: Arc::clone(&self.asleep), system: Arc::clone(system) };
        let lines = I8042Lines {
            keyboard_irq: self.line(irq::KEYBOARD, "keyboard"),
            mouse_irq: self.line(irq::MOUSE, "mouse"),
            a20: a20.line("keyboard controller"),
            pressed: IrqInput::new(Arc::new(wake), 0).line("key or button"),
        };
        let timers = self.queue.timers();
        let owner = timers.owner();
        let controller = shared(I8042::new(self.queue.clock().clone(), timers, lines, Arc::clone(system)));
        self.wind(owner, &controller);
        let windows = [(port::KBC_DATA, I8042::DATA_REGION), (port::KBC_COMMAND, I8042::COMMAND_REGION)];
        self.add(&controller, &windows);
        self.keyboard = Some(controller);
        self.acpi.i8042 = true;
    }

    /// Adds the UART of COM port `index` (0 is COM1).
    fn add_serial(&mut self, index: usize, base: u16, irq: u8, char_port: &mut dyn CharPort) {
        const LABELS: [&str; 4] = ["COM1", "COM2", "COM3", "COM4"];
        let timers = self.queue.timers();
        let owner = timers.owner();
        let line = self.line(irq, LABELS[index]);
        let uart = shared(Uart::new(self.queue.clock().clone(), timers, line, char_port.backend()));
        self.wind(owner, &uart);
        char_port.attach(uart.clone());
        self.add(&uart, &[(base, Uart::REGION)]);
        self.acpi.com[index] |= base == port::COM[index] && irq == irq::COM[index];
    }

    fn add_device(
        &mut self,
        device: &DeviceConfig,
        config: &MachineConfig,
        system: &Arc<dyn SystemControl>,
        backends: &dyn Backends,
    ) -> Result<()> {
        match device {
            DeviceConfig::IsaDebugExit(exit) => {
                let region = DebugExit::region(exit.iosize.into());
                self.add(&shared(DebugExit::new(Arc::clone(system))), &[(exit.iobase, region)]);
            }
            DeviceConfig::IsaDebugcon(IsaDebugcon { iobase, readback, chardev, .. }) => {
                let mut char_port = backends.char_port(chardev).context("-device isa-debugcon")?;
                let console = shared(Debugcon::new(*readback, char_port.backend()));
                char_port.attach(console.clone());
                self.add(&console, &[(*iobase, Debugcon::REGION)]);
            }
            DeviceConfig::Pvpanic(pvpanic) => self.add_pvpanic(pvpanic, system).context("-device pvpanic")?,
            DeviceConfig::Ib700(_) => self.add_ib700(system),
            DeviceConfig::PcTestdev(_) => self.add_pc_testdev(),
            DeviceConfig::Pci(device) => self.add_pci_device(device, config, system, backends)?,
            // At controllers that are made before.
            DeviceConfig::Floppy(_) | DeviceConfig::IdeHd(_) | DeviceConfig::IdeCd(_) => {}
            // By their hosts, with which they are made.
            DeviceConfig::ScsiHd(_) | DeviceConfig::ScsiCd(_) => {}
            DeviceConfig::IsaParallel(lpt) => {
                let mut char_port = backends.char_port(&lpt.chardev).context("-device isa-parallel")?;
                self.add_parallel(lpt.index.into(), lpt.iobase, lpt.irq, char_port.as_mut());
            }
            DeviceConfig::IsaSerial(serial) => {
                let index = usize::from(serial.index).min(port::COM.len() - 1);
                let base = serial.iobase.unwrap_or(port::COM[index]);
                let irq = serial.irq.unwrap_or(irq::COM[index]);
                let mut char_port = backends.char_port(&serial.chardev).context("-device isa-serial")?;
                self.add_serial(index, base, irq, char_port.as_mut());
            }
        }
        Ok(())
    }

    /// A line to interrupt input `gsi`.
    fn line(&self, gsi: u8, label: &'static str) -> IrqLine {
        self.gsis.get(usize::from(gsi)).map_or_else(IrqLine::detached, |input| input.line(label))
    }

    /// Makes a device appear at its ports and takes it into the reset order.
    fn add<D: IoDevice + 'static>(&mut self, device: &Shared<D>, windows: &[(u16, Region)]) {
        for (base, region) in windows {
            self.ports.map((*base).into(), *region, Priority::Fixed, device.clone());
        }
        self.register(device.clone());
    }

    fn add_pci<F: PciFunction + 'static>(&mut self, place: PciAddress, function: &Shared<F>) -> Result<(), SlotError> {
        let name = lock(function).name();
        self.pci.insert(place, name, function.clone())?;
        self.register(function.clone());
        Ok(())
    }

    /// Devices of the same type are told apart by a number.
    fn register(&mut self, device: Arc<Mutex<dyn Device>>) {
        let name = lock(&device).name();
        let taken = self.devices.iter().filter(|(other, _)| other.split('#').next() == Some(name)).count();
        let name = if taken == 0 { name.to_owned() } else { format!("{name}#{taken}") };
        self.devices.push((name, device));
    }

    fn wind<T: TimerClient + 'static>(&self, owner: usize, device: &Shared<T>) {
        self.queue.attach(owner, device);
    }

    /// The keyboard controller with keyboard and mouse, if there is one.
    #[must_use]
    pub fn keyboard(&self) -> Option<&Shared<I8042>> {
        self.keyboard.as_ref()
    }

    /// All devices in the order of their reset, by the name they are saved under.
    #[must_use]
    pub fn devices(&self) -> &[(String, Arc<Mutex<dyn Device>>)] {
        &self.devices
    }

    /// The user presses the power button, which leads nowhere without ACPI.
    pub fn press_power_button(&self) {
        if let Some(power) = &self.power {
            lock(&power.function).press_power_button();
        }
    }

    /// The types of the board's own devices, in the order in which they were made.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let own = self.devices.iter().enumerate().filter(|(index, _)| !self.added.contains(index));
        own.map(|(_, (name, _))| name.split('#').next().unwrap_or(name))
    }

    /// The optional parts, as the firmware tables want to know them.
    #[must_use]
    pub fn acpi_devices(&self) -> acpi::Devices {
        self.acpi
    }

    /// Resets every device, in order.
    pub fn reset(&self, kind: ResetKind) {
        for (_, device) in &self.devices {
            lock(device).reset(kind);
        }
        if let Some(order) = &self.lasting_order {
            order.restore();
        }
        // Their windows are gone.
        self.pci.remap();
    }
}

impl Drop for Board {
    /// Devices behind the PCI bus lead back to the buses on which they are.
    fn drop(&mut self) {
        self.ports.clear();
        self.memory.clear();
    }
}

fn place((slot, function): (u8, u8)) -> PciAddress {
    PciAddress { slot, function }
}
