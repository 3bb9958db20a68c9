//! No processors: the board is driven from outside, by the qtest protocol or by tests, in virtual time.
//!
//! The driver of the board stands at its [`Bench`]: it accesses ports and memory as a processor would, moves the clock, and
//! watches the interrupt inputs. No KVM is needed.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use devices::base::msi::{ApicBus, Msi, MsiSink};
use devices::base::{Delivery, IrqLine, IrqSink, ManualClock, TimeSource, TimerQueue, lock};

use devices::chipset::i8254::LostTicks;
use devices::chipset::ioapic::PINS;

use super::{Accelerator, Ground, rules};
use crate::config::MachineConfig;
use crate::host::Drives;
use crate::kvm::address_space::AddressSpace;
use crate::kvm::control::VcpuThread;
use crate::kvm::cpuid::HostCpu;
use crate::kvm::inspect::Processors;
use crate::kvm::memory::MemorySlots;
use crate::machine::board::irq;
use crate::machine::boot::open_firmware;
use crate::machine::build::Assembly;
use crate::machine::description::Identification;
use crate::machine::guest_time::{Clockwork, GuestTime};
use crate::machine::interrupt_report::ReadInterrupts;
use crate::machine::layout::MemoryLayout;
use crate::machine::mailbox::Mailbox;
use crate::machine::pc::Board;
use crate::machine::pc::chips::{Chips, InterruptControllers};
use crate::machine::shadow::ShadowSlots;
use crate::machine::{flash, qom, ram};
use crate::monitor::qom::Qom;
use crate::monitor::qtest::{Hardware, HardwareError, IrqChange};

/// Most timers that may expire while the clock is moved once: some minutes of the fastest periodic timer of a PC.
const MOST_EXPIRIES: usize = 1 << 22;
/// The end of time: devices add to it what their longest operation takes. QEMU's clock has no more bits.
const LATEST: u64 = i64::MAX as u64;

/// What QEMU's default processor says it is: one of AMD's.
pub const QEMU64: Identification = Identification { signature: 0x0006_0fb1, features: 0x078b_fbfd, vmx: false };

/// A machine that has no board yet.
pub struct Prepared {
    tap: Arc<IrqTap>,
}

/// Maps memory.
///
/// # Errors
/// The host does not give the memory, or the configuration asks for what only processors can do.
pub fn prepare(config: &MachineConfig, drives: &dyn Drives) -> Result<(Prepared, Ground)> {
    if config.boot.kernel.is_some() && !config.has_firmware() {
        bail!("-kernel: -accel qtest has no processors that could start it: use -accel kvm");
    }
    let layout = MemoryLayout::new(&rules(config, true)).context("-m")?;
    let ram = ram::map(&config.memory.ram, &layout)?;
    let slots = Arc::new(MemorySlots::without_vm(Arc::clone(&ram)));
    let shadow = ShadowSlots::new(Arc::clone(&slots));
    let flash = flash::open(config, drives)?;
    shadow.map_ram(&layout, open_firmware(&config.boot, &flash)?.as_ref())?;
    flash.iter().try_for_each(|chip| chip.map(&slots))?;
    let controllers = InterruptControllers::new(IrqLine::detached(), Arc::new(NoApics));
    let tap = Arc::new(IrqTap::new(controllers.clone()));
    let ground = Ground {
        layout,
        reserved: Vec::new(),
        ram,
        slots,
        shadow,
        flash,
        clockwork: Clockwork::stepped(),
        irqs: Arc::clone(&tap) as _,
        // No processor takes any.
        chips: Chips::Board(controllers, LostTicks::Discard),
        messages: Arc::new(NoApics),
        doorbells: None,
    };
    Ok((Prepared { tap }, ground))
}

impl Prepared {
    /// Puts the driver in place of the processors.
    ///
    /// # Errors
    /// There is none.
    pub fn drive(
        self,
        config: &MachineConfig,
        assembly: &Assembly,
        mailbox: &Arc<Mailbox>,
    ) -> Result<(NoProcessors, Bench)> {
        assembly.shadow.follow_bridge()?;
        let GuestTime::Stepped { clock, queue } = &assembly.time else {
            bail!("the guest's time goes by itself");
        };
        let bench = Bench {
            space: assembly.space.clone(),
            clock: Arc::clone(clock),
            queue: queue.clone(),
            tap: self.tap,
            qom: qom::objects(config, &assembly.board),
            watched: Mutex::default(),
            mailbox: Arc::clone(mailbox),
        };
        Ok((NoProcessors, bench))
    }
}

/// There is nothing to stop, start or reset.
pub struct NoProcessors;

impl Accelerator for NoProcessors {
    fn wait_set_up(&self) {}

    fn threads(&self) -> Vec<VcpuThread> {
        Vec::new()
    }

    fn park(&self) {}

    fn run(&self) {}

    fn inject_nmi(&self) -> Result<()> {
        Ok(())
    }

    fn freeze(&mut self) -> Result<()> {
        Ok(())
    }

    fn thaw(&mut self) -> Result<()> {
        Ok(())
    }

    fn host_cpu(&self) -> Option<Arc<Mutex<HostCpu>>> {
        None
    }

    fn processors(&self) -> Option<Processors> {
        None
    }

    fn kernel_interrupts(&self) -> Option<ReadInterrupts> {
        None
    }

    fn reset(&mut self, _board: &Board) -> Result<()> {
        Ok(())
    }
}

/// No processors, no local APICs: interrupts that nobody takes.
struct NoApics;

impl MsiSink for NoApics {
    fn send(&self, _message: Msi) -> Delivery {
        Delivery::Delivered
    }
}

impl ApicBus for NoApics {
    fn watch_end(&self, _pin: u8, _message: Option<Msi>) {}
}

/// Changes of interrupt inputs that are kept for whoever watches them. Of more than these an input's last level remains.
const MOST_CHANGES: usize = 1 << 18;

/// Passes the levels of the interrupt inputs on, and can be watched.
struct IrqTap {
    next: InterruptControllers,
    /// Levels as told, and changes not told yet; `None`: nobody watches.
    watch: Mutex<Option<Watch>>,
}

#[derive(Default)]
struct Watch {
    /// Bit n is the level of input n.
    levels: u32,
    changes: Vec<IrqChange>,
}

impl IrqTap {
    fn new(next: InterruptControllers) -> Self {
        Self { next, watch: Mutex::default() }
    }

    /// Drives an input of the I/O APIC alone: whoever is at the other input of a wire does not notice.
    fn drive_ioapic(&self, number: u32, level: bool) -> Delivery {
        let pin = match u8::try_from(number) {
            // The timer's.
            Ok(0) => irq::PIT_GSI,
            Ok(pin) => pin,
            Err(_) => return Delivery::Ignored,
        };
        let delivery = lock(&self.next.ioapic).set_input(pin, level);
        self.note(number, level);
        delivery
    }

    /// An input of the I/O APIC has this level now.
    fn note(&self, pin: u32, level: bool) {
        if let Some(watch) = &mut *lock(&self.watch)
            && let Some(bit) = 1_u32.checked_shl(pin)
            && (watch.levels & bit != 0) != level
        {
            watch.levels ^= bit;
            let is_full = watch.changes.len() >= MOST_CHANGES;
            match is_full.then(|| watch.changes.iter().rposition(|change| change.pin == pin)).flatten() {
                // The one before is taken back: nobody came to see it.
                Some(before) => drop(watch.changes.remove(before)),
                None => watch.changes.push(IrqChange { pin, level }),
            }
        }
    }
}

impl IrqSink for IrqTap {
    fn set_level(&self, pin: u32, level: bool) -> Delivery {
        let delivery = self.next.set_level(pin, level);
        self.note(pin, level);
        delivery
    }
}

/// The name of inputs that have none, with what QEMU calls them.
const UNNAMED: &str = "unnamed-gpio-in";

/// From where a board without processors is driven.
pub struct Bench {
    space: AddressSpace,
    clock: Arc<ManualClock>,
    queue: TimerQueue,
    tap: Arc<IrqTap>,
    qom: Qom,
    /// The object whose interrupts are watched.
    watched: Mutex<Option<String>>,
    mailbox: Arc<Mailbox>,
}

impl Bench {
    /// The whole path of a device.
    fn resolve(&self, path: &str) -> Result<&str, HardwareError> {
        self.qom.resolve(path).map_err(|_| HardwareError::UnknownDevice)
    }
}

impl Hardware for Bench {
    fn read_port(&self, port: u16, data: &mut [u8]) {
        self.space.ports.read(port.into(), data);
    }

    fn write_port(&self, port: u16, data: &[u8]) {
        self.space.ports.write(port.into(), data);
    }

    fn read_memory(&self, address: u64, data: &mut [u8]) {
        self.space.read(address, data);
    }

    fn write_memory(&self, address: u64, data: &[u8]) {
        self.space.write(address, data);
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.queue.next_deadline()
    }

    fn step_to(&self, target: u64) -> Result<(), HardwareError> {
        let target = target.min(LATEST);
        for _ in 0..MOST_EXPIRIES {
            match self.queue.next_deadline().filter(|deadline| *deadline <= target.max(self.now())) {
                Some(deadline) => {
                    self.clock.set(deadline);
                    self.queue.run_due();
                }
                None => {
                    self.clock.set(target);
                    return Ok(());
                }
            }
        }
        Err(HardwareError::TooFar(MOST_EXPIRIES))
    }

    fn intercept(&self, path: &str, outputs: bool) -> Result<(), HardwareError> {
        let path = self.resolve(path)?;
        let mut watched = lock(&self.watched);
        match &*watched {
            Some(other) if other != path => return Err(HardwareError::AlreadyIntercepted),
            Some(_) => return Ok(()),
            None => *watched = Some(path.to_owned()),
        }
        // Its outputs are messages to processors, of which there are none; those of others are inputs of the I/O APIC.
        if path == qom::IOAPIC && !outputs {
            lock(&self.tap.watch).get_or_insert_default();
        }
        Ok(())
    }

    fn take_interrupts(&self) -> Vec<IrqChange> {
        lock(&self.tap.watch).as_mut().map(|watch| std::mem::take(&mut watch.changes)).unwrap_or_default()
    }

    fn set_input(&self, path: &str, name: &str, number: u32, level: bool) -> Result<(), HardwareError> {
        let is_ioapic = self.resolve(path)? == qom::IOAPIC;
        if !is_ioapic || name != UNNAMED || number as usize >= PINS {
            return Err(HardwareError::NoSuchInput { name: name.into(), number });
        }
        self.tap.drive_ioapic(number, level);
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.mailbox.is_empty()
    }
}
