//! The life of a machine: run, pause, reset, end.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use devices::base::{ErrorAction, GuestLog, ResetKind, SystemRequest, WakeCause};

use super::accel::Accelerator;
use super::guest_time::GuestTime;
use super::inspection::Inspection;
use super::interrupt_report::ReadInterrupts;
use super::mailbox::{Message, UserRequest};
use super::pc::Board;
use super::qom::Paths;
use super::timers::QueueRunner;
use crate::config::{Actions, MachineConfig, PanicAction, RebootAction, ShutdownAction, WatchdogAction};
use crate::host::block::Blocks;
use crate::host::io_thread::LoopWork;
use crate::kvm::address_space::AddressSpace;
use crate::kvm::control::VcpuThread;
use crate::kvm::cpuid::HostCpu;
use crate::kvm::vcpu::SystemEvent;
use crate::monitor::{Cause, Event};
use crate::tell::tell;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// The guest powered off, or the user quit.
    pub const SUCCESS: Self = Self(0);
    /// Something went wrong.
    pub const FAILURE: Self = Self(1);

    /// Ended by signal `number`.
    #[must_use]
    pub fn signal(number: i32) -> Self {
        Self(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }
}

/// Whether the processors run, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not started yet (`-S`).
    Prelaunch,
    /// Running.
    Running,
    /// Stopped by the user.
    Paused,
    /// In S3: the processors stand still, and time goes on.
    Suspended,
    /// Stopped because the guest powered off (`-no-shutdown`).
    Shutdown,
    /// Stopped because the guest reported a panic.
    GuestPanicked,
    /// Stopped because a watchdog fired.
    Watchdog,
    /// Stopped because the host could not do what a disk asked for.
    IoError,
}

impl Status {
    /// The name QEMU has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Shutdown => "shutdown",
            Self::GuestPanicked => "guest-panicked",
            Self::Watchdog => "watchdog",
            Self::IoError => "io-error",
        }
    }
}

/// A complete machine, owned by the main loop.
pub struct Machine {
    /// Dropped first: processors call the devices.
    accelerator: Box<dyn Accelerator>,
    board: Board,
    space: AddressSpace,
    time: GuestTime,
    /// The queue of an RTC that goes by the host's clock.
    rtc_timers: Option<Arc<Mutex<QueueRunner>>>,
    actions: Actions,
    status: Status,
    /// The guest has suspended, but the machine is stopped: it sleeps once it is let go on.
    sleeps_next: bool,
    /// What happened and has not been told.
    events: Vec<Event>,
    /// What the guest says of itself, as often as it likes.
    log: GuestLog,
}

impl Machine {
    /// A machine that is not started yet.
    pub(super) fn new(
        accelerator: Box<dyn Accelerator>,
        board: Board,
        space: AddressSpace,
        time: GuestTime,
        rtc_timers: Option<Arc<Mutex<QueueRunner>>>,
        actions: Actions,
    ) -> Self {
        Self {
            accelerator,
            board,
            space,
            time,
            rtc_timers,
            actions,
            status: Status::Prelaunch,
            sleeps_next: false,
            events: Vec::new(),
            log: GuestLog::default(),
        }
    }

    /// The board with its devices.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Whether the processors run, and if not, why.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Takes what happened since the last time.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Memory and ports as processors see them.
    #[must_use]
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// What the host's processor and KVM can give; `None` without KVM.
    pub(super) fn host_cpu(&self) -> Option<Arc<Mutex<HostCpu>>> {
        self.accelerator.host_cpu()
    }

    /// What people look at; `config` is what the machine was made from.
    pub(super) fn inspection(&self, config: &MachineConfig, blocks: &Arc<Blocks>) -> Inspection {
        let processors = self.accelerator.processors();
        let paths = Paths::new(config, &self.board);
        Inspection::new(config, blocks, self.board.view(), &paths, self.space.clone(), processors, self.interrupts())
    }

    /// What reads the interrupt controllers.
    fn interrupts(&self) -> Option<ReadInterrupts> {
        match self.board.interrupt_controllers.clone() {
            Some(controllers) => Some(Box::new(move || Ok(controllers.report()))),
            None => self.accelerator.kernel_interrupts(),
        }
    }

    /// The threads of the host that run the processors.
    pub(super) fn threads(&self) -> Vec<VcpuThread> {
        self.accelerator.threads()
    }

    /// Waits until the processors are what they are to be. What fails is told by a message.
    pub(super) fn wait_set_up(&self) {
        self.accelerator.wait_set_up();
    }

    /// The timers that the main loop has to run.
    pub(super) fn timers(&self) -> impl Iterator<Item = Arc<Mutex<QueueRunner>>> {
        self.time.runner().into_iter().chain(self.rtc_timers.clone())
    }

    /// What the thread `io_thread`, or the main loop, does for devices.
    pub(super) fn loop_work(&self, io_thread: Option<&str>) -> LoopWork {
        self.board.loop_work(io_thread)
    }

    /// Stops the processors and guest time.
    fn pause(&mut self, status: Status) -> Result<()> {
        // In guest time, as nothing of the machine changes once that stands still.
        self.quiesce();
        if matches!(self.status, Status::Running | Status::Suspended) {
            if self.status == Status::Suspended {
                self.board.wake_up();
                self.sleeps_next = true;
            }
            self.time.stop();
            self.accelerator.freeze()?;
            self.events.push(Event::Stop);
        }
        self.status = status;
        Ok(())
    }

    /// Stops the processors, and carries out what the guest has asked its disks for.
    pub(super) fn quiesce(&mut self) {
        self.accelerator.park();
        self.board.drain_disks();
    }

    /// Lets guest time go on, and the processors, unless the guest has suspended.
    ///
    /// # Errors
    /// The host refuses to let the guest's clocks go on.
    pub fn resume(&mut self) -> Result<()> {
        if self.status != Status::Running {
            self.accelerator.thaw()?;
            self.time.start();
            self.status = Status::Running;
            self.events.push(Event::Resume);
            self.board.resume_disks();
        }
        if std::mem::take(&mut self.sleeps_next) {
            return self.suspend();
        }
        self.accelerator.run();
        Ok(())
    }

    /// Resets the platform and goes on from where it starts.
    fn reset(&mut self, cause: Cause) -> Result<()> {
        self.accelerator.park();
        self.sleeps_next = false;
        if self.status == Status::Suspended {
            // Its time goes on: it runs once its processors do.
            self.board.wake_up();
            self.status = Status::Running;
        }
        self.board.reset(ResetKind::System);
        // After the devices, which have lowered their interrupts.
        self.accelerator.reset(&self.board)?;
        self.events.push(Event::Reset(cause));
        if self.status == Status::Running { self.resume() } else { Ok(()) }
    }

    /// Stops the processors, and nothing else: something is to wake the machine.
    fn suspend(&mut self) -> Result<()> {
        match self.status {
            Status::Running => {
                self.accelerator.park();
                let wake = self.board.fall_asleep();
                self.status = Status::Suspended;
                self.events.push(Event::Suspend);
                match wake {
                    Some(cause) => self.wake(cause),
                    None => Ok(()),
                }
            }
            // Another processor was faster.
            Status::Suspended | Status::Shutdown => Ok(()),
            // A user was.
            Status::Prelaunch | Status::Paused | Status::GuestPanicked | Status::Watchdog | Status::IoError => {
                self.sleeps_next = true;
                Ok(())
            }
        }
    }

    /// Starts a suspended machine from its firmware, which finds the guest in RAM.
    fn wake(&mut self, cause: WakeCause) -> Result<()> {
        if self.status != Status::Suspended {
            // Something else has woken it before.
            return self.go_on();
        }
        self.board.reset(ResetKind::Wake);
        self.accelerator.reset(&self.board)?;
        self.board.wake(cause);
        self.status = Status::Running;
        self.events.push(Event::Wakeup);
        self.accelerator.run();
        Ok(())
    }

    fn shutdown(&mut self, cause: Cause) -> Result<Option<ExitStatus>> {
        self.events.push(Event::Shutdown(cause));
        match self.actions.shutdown {
            ShutdownAction::Poweroff => Ok(Some(ExitStatus::SUCCESS)),
            ShutdownAction::Pause => {
                self.pause(Status::Shutdown)?;
                Ok(None)
            }
        }
    }

    /// The guest asked for a reset, or did what resets a PC.
    fn reboot(&mut self) -> Result<Option<ExitStatus>> {
        match self.actions.reboot {
            RebootAction::Reset => self.reset(Cause::GuestReset).map(|()| None),
            RebootAction::Shutdown => self.shutdown(Cause::GuestReset),
        }
    }

    fn panicked(&mut self) -> Result<Option<ExitStatus>> {
        self.events.push(Event::GuestPanicked(match self.actions.panic {
            PanicAction::Shutdown | PanicAction::ExitFailure => "poweroff",
            PanicAction::Pause => "pause",
            PanicAction::None => "run",
        }));
        match self.actions.panic {
            PanicAction::Shutdown => self.shutdown(Cause::GuestPanic),
            PanicAction::ExitFailure => Ok(Some(ExitStatus::FAILURE)),
            PanicAction::Pause => self.pause(Status::GuestPanicked).map(|()| None),
            PanicAction::None => self.go_on().map(|()| None),
        }
    }

    /// The request has parked the processors of a machine that runs.
    fn go_on(&mut self) -> Result<()> {
        if self.status == Status::Running { self.resume() } else { Ok(()) }
    }

    /// Somebody presses the power button, which also wakes.
    fn press_power_button(&mut self) -> Result<()> {
        if self.status == Status::Suspended {
            return self.wake(WakeCause::PowerButton);
        }
        self.board.press_power_button();
        Ok(())
    }

    fn watchdog_fired(&mut self) -> Result<Option<ExitStatus>> {
        match self.actions.watchdog {
            WatchdogAction::Reset => return self.reboot(),
            WatchdogAction::Poweroff => return Ok(Some(ExitStatus::SUCCESS)),
            WatchdogAction::Pause => {
                self.pause(Status::Watchdog)?;
                return Ok(None);
            }
            WatchdogAction::Shutdown => self.press_power_button()?,
            WatchdogAction::InjectNmi => self.accelerator.inject_nmi()?,
            WatchdogAction::Debug => tell(format_args!("the watchdog has fired")),
            WatchdogAction::None => {}
        }
        self.go_on().map(|()| None)
    }

    /// Sees to one message; `Some` ends the process.
    ///
    /// # Errors
    /// The host refuses something that the machine can't go on without.
    pub fn handle(&mut self, message: Message) -> Result<Option<ExitStatus>> {
        match message {
            Message::Request(SystemRequest::Reset(cause)) => {
                log::info!("the guest resets the machine ({cause:?})");
                self.reboot()
            }
            Message::Request(SystemRequest::PowerOff) => {
                log::info!("the guest powers off");
                self.shutdown(Cause::GuestShutdown)
            }
            Message::Request(SystemRequest::Suspend) => {
                log::info!("the guest suspends to RAM");
                self.suspend().map(|()| None)
            }
            Message::Request(SystemRequest::SuspendToDisk) => {
                log::info!("the guest has suspended to disk");
                self.events.push(Event::SuspendDisk);
                self.shutdown(Cause::GuestShutdown)
            }
            Message::Request(SystemRequest::Wake(cause)) => self.wake(cause).map(|()| None),
            Message::Request(SystemRequest::Exit(status)) => Ok(Some(ExitStatus(status))),
            Message::Request(SystemRequest::Watchdog) => self.watchdog_fired(),
            Message::Request(SystemRequest::DiskError(failure)) => {
                self.events.push(Event::DiskError(failure));
                // A machine that has powered off has nothing to go on with.
                match failure.action {
                    ErrorAction::Stop if self.status != Status::Shutdown => self.pause(Status::IoError),
                    ErrorAction::Stop | ErrorAction::Report | ErrorAction::Ignore => self.go_on(),
                }
                .map(|()| None)
            }
            Message::Request(SystemRequest::TrayMoved { drive, open }) => {
                self.events.push(Event::TrayMoved { drive, open });
                self.go_on().map(|()| None)
            }
            Message::Request(SystemRequest::GuestPanicked) => {
                self.log.tell(format_args!("the guest says that it has panicked"));
                self.panicked()
            }
            Message::Request(SystemRequest::GuestCrashLoaded) => {
                self.log.tell(format_args!("the guest says that it has crashed; its crash kernel takes over"));
                self.go_on().map(|()| None)
            }
            Message::TripleFault { vcpu } => {
                self.log.tell(format_args!("CPU {vcpu} met a triple fault; the machine resets"));
                self.reboot()
            }
            Message::SystemEvent(SystemEvent::Reset) => self.reboot(),
            Message::SystemEvent(SystemEvent::Shutdown) => self.shutdown(Cause::GuestShutdown),
            Message::SystemEvent(SystemEvent::Crash) => self.panicked(),
            Message::Failed(report) => {
                tell(format_args!("the guest can't go on\n{report}"));
                self.events.push(Event::Shutdown(Cause::HostError));
                Ok(Some(ExitStatus::FAILURE))
            }
            Message::SetUpFailed { vcpu, error } => {
                Err(error.context(format!("-accel kvm: CPU {vcpu} can't be set up")))
            }
            Message::User(UserRequest::Quit) => {
                self.events.push(Event::Shutdown(Cause::MonitorQuit));
                Ok(Some(ExitStatus::SUCCESS))
            }
            Message::User(UserRequest::Signal(number)) => {
                self.events.push(Event::Shutdown(Cause::Signal));
                Ok(Some(ExitStatus::signal(number)))
            }
            Message::User(UserRequest::Stop) => {
                if matches!(self.status, Status::Running | Status::Suspended) {
                    self.pause(Status::Paused)?;
                }
                Ok(None)
            }
            Message::User(UserRequest::Continue) => {
                // A machine that powered off has nothing to go on with until it is reset, a sleeping one until it wakes.
                if !matches!(self.status, Status::Shutdown | Status::Suspended) {
                    self.resume()?;
                }
                Ok(None)
            }
            Message::User(UserRequest::Reset) => {
                if self.status == Status::Shutdown {
                    self.status = Status::Paused;
                }
                self.reset(Cause::MonitorReset)?;
                Ok(None)
            }
            Message::User(UserRequest::SetActions(changes)) => {
                self.actions = changes.apply(self.actions);
                Ok(None)
            }
            Message::User(UserRequest::Nmi) => self.accelerator.inject_nmi().map(|()| None),
            Message::User(UserRequest::Wakeup) => self.wake(WakeCause::PowerButton).map(|()| None),
            Message::User(UserRequest::PowerButton) => {
                self.events.push(Event::Powerdown);
                self.press_power_button().map(|()| None)
            }
        }
    }
}
