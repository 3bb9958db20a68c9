//! From a [`MachineConfig`] to a machine that is ready to run.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use devices::base::{GuestRam, lock};

use super::accel::qtest::Bench;
use super::accel::{Accelerator, Ground, kvm, qtest};
use super::description::{Identification, entry_point, firmware_tables};
use super::guest_time::GuestTime;
use super::layout::MemoryLayout;
use super::lifecycle::Machine;
use super::mailbox::Mailbox;
use super::pc::{Board, Foundation};
use super::shadow::ShadowSlots;
use super::smbios::UserFiles;
use super::timers::QueueRunner;
use super::{cmos, description, fw_cfg, ram, rtc_time};
use crate::boot::e820::E820Entry;
use crate::config::{Accel, MachineConfig};
use crate::host::{Backends, Drives};
use crate::kvm::address_space::AddressSpace;
use crate::kvm::cpuid::Topology;

/// A machine, not running.
pub struct Built {
    /// The machine.
    pub machine: Machine,
    /// With `-accel qtest`: the place from which it is driven instead of processors.
    pub bench: Option<Bench>,
}

/// A machine whose making has begun.
pub enum Begun {
    /// In KVM.
    Kvm(kvm::Begun),
    /// For qtest: there is nothing to begin with.
    Qtest,
}

/// Begins to make the machine. What prevents it is told by [`Furnished::build`].
#[must_use]
pub fn begin(config: &MachineConfig) -> Begun {
    match config.platform.accel {
        Accel::Kvm => Begun::Kvm(kvm::begin(config)),
        Accel::Qtest => Begun::Qtest,
    }
}

impl Begun {
    /// Gives the machine memory, with what is in it from the start. What prevents it is told by [`Furnished::build`].
    #[must_use]
    pub fn furnish(self, config: &MachineConfig, drives: &dyn Drives) -> Furnished {
        match self {
            Self::Kvm(begun) => Furnished::Kvm(begun.furnish(config, drives)),
            Self::Qtest => Furnished::Qtest(qtest::prepare(config, drives)),
        }
    }
}

/// A machine that has memory. What needs none of natoma's devices is on its way.
pub enum Furnished {
    /// In KVM.
    Kvm(kvm::Furnished),
    /// For qtest.
    Qtest(Result<(qtest::Prepared, Ground)>),
}

impl Furnished {
    /// Builds the machine.
    ///
    /// # Errors
    /// The host can't provide what the configuration asks for.
    pub fn build(self, config: &MachineConfig, mailbox: &Arc<Mailbox>, backends: &dyn Backends) -> Result<Built> {
        ram::try_out(&config.memory.spare)?;
        match self {
            Self::Kvm(furnished) => {
                let (prepared, ground) = furnished.prepare()?;
                let mut assembly = assemble(ground, config, mailbox, backends)?;
                let ready = prepared.put_on(&mut assembly, mailbox)?;
                assembly.tell_firmware(config, ready.identification())?;
                let accelerator = ready.add_processors(config, &assembly, mailbox)?;
                Ok(Built { machine: assembly.finish(config, Box::new(accelerator)), bench: None })
            }
            Self::Qtest(prepared) => {
                let (prepared, ground) = prepared?;
                let mut assembly = assemble(ground, config, mailbox, backends)?;
                assembly.tell_firmware(config, qtest::QEMU64)?;
                let (accelerator, bench) = prepared.drive(config, &assembly, mailbox)?;
                Ok(Built { machine: assembly.finish(config, Box::new(accelerator)), bench: Some(bench) })
            }
        }
    }
}

/// A machine without processors.
pub struct Assembly {
    /// The board with all devices.
    pub board: Board,
    /// Where RAM lies.
    pub layout: MemoryLayout,
    /// RAM.
    pub ram: GuestRam,
    /// The host bridge's say in what the processors see of it.
    pub shadow: ShadowSlots,
    /// What processors see.
    pub space: AddressSpace,
    /// Guest time.
    pub time: GuestTime,
    /// What the user adds to SMBIOS.
    pub smbios_files: UserFiles,
    topology: Topology,
    /// Addresses that the processors keep to themselves.
    reserved: Vec<E820Entry>,
    rtc_timers: Option<QueueRunner>,
}

/// Puts up the board.
fn assemble(
    ground: Ground,
    config: &MachineConfig,
    mailbox: &Arc<Mailbox>,
    backends: &dyn Backends,
) -> Result<Assembly> {
    let Ground { layout, ram, reserved, slots, shadow, flash, clockwork, irqs, chips, messages, doorbells } = ground;
    let queue = clockwork.queue();
    let (rtc_queue, epoch, rtc_is_own) = rtc_time::source(&config.rtc, &queue);
    let topology = Topology::new(&config.smp)?;
    let cpus = description::processors(config, &topology);
    let foundation = Foundation {
        ram: GuestRam::clone(&ram),
        irqs,
        shadow: Box::new(shadow.clone()),
        system: Arc::clone(mailbox) as _,
        chips,
        messages,
        doorbells,
        queue: queue.clone(),
        rtc: (rtc_queue.clone(), epoch),
        cmos: cmos::Inputs {
            layout: &layout,
            cpus: config.smp.cpus,
            mouse: config.platform.i8042,
            boot: &config.boot.order,
        },
        cpus: &cpus,
    };
    let mut board = Board::new(foundation, config, backends)?;
    board.add_flash(flash.into_iter().map(|chip| chip.into_device(&slots)));
    let rtc_timers = match rtc_is_own {
        true => Some(QueueRunner::new(rtc_queue, false).context("can't make a timer")?),
        false => None,
    };
    let time = clockwork.connect(queue).context("can't make a timer")?;
    let space = AddressSpace { ports: Arc::clone(&board.ports), devices: Arc::clone(&board.memory), slots };
    // Once: what they name may be a pipe.
    let smbios_files = UserFiles::load(&config.smbios).context("-smbios")?;
    Ok(Assembly { board, layout, ram, shadow, space, time, smbios_files, topology, reserved, rtc_timers })
}

impl Assembly {
    /// Fills fw_cfg. The processors are what `identification` says.
    fn tell_firmware(&mut self, config: &MachineConfig, identification: Identification) -> Result<()> {
        let Self { board, layout, smbios_files, topology, reserved, .. } = self;
        let smbios = description::smbios(config, board, layout, topology, identification, smbios_files, true)?;
        let anchor = smbios.anchor(entry_point(config))?;
        // A kernel that is started directly has found its tables when it could ask for these.
        let listens = config.has_firmware() || config.platform.accel == Accel::Qtest;
        let user_tables = if listens { description::user_tables(config)? } else { Vec::new() };
        let inputs = fw_cfg::Inputs {
            config,
            layout,
            topology,
            reserved,
            smbios: (anchor, smbios.tables),
            feature_control: identification.feature_control(),
            user_tables: &user_tables,
        };
        let device = Arc::clone(board.fw_cfg());
        let mut device = lock(&device);
        fw_cfg::fill(&mut device, inputs)?;
        if config.platform.acpi && listens {
            firmware_tables(config, board, layout, topology, user_tables).add_files(&mut device)?;
        }
        fw_cfg::add_boot_order(&mut device, &mut board.boot_order, config, layout)?;
        fw_cfg::add_user_files(&mut device, &config.boot)
    }

    fn finish(self, config: &MachineConfig, accelerator: Box<dyn Accelerator>) -> Machine {
        let rtc_timers = self.rtc_timers.map(|timers| Arc::new(Mutex::new(timers)));
        Machine::new(accelerator, self.board, self.space, self.time, rtc_timers, config.run.actions)
    }
}
