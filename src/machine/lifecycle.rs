//! The life of a machine: run, pause, reset, end.

use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::{ResetKind, SystemRequest};
use kvm_bindings::kvm_clock_data;
use kvm_ioctls::VmFd;

use super::boot::BootSource;
use super::clock::GuestClock;
use super::mailbox::{Message, UserRequest};
use super::pc::Board;
use super::timers::QueueRunner;
use crate::config::{Actions, PanicAction, RebootAction, ShutdownAction};
use crate::kvm::chips::ChipState;
use crate::kvm::control::VcpuHandle;
use crate::kvm::vcpu::SystemEvent;

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
    /// Stopped because the guest powered off (`-no-shutdown`).
    Shutdown,
    /// Stopped because the guest reported a panic.
    GuestPanicked,
}

impl Status {
    /// The name QEMU has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::GuestPanicked => "guest-panicked",
        }
    }
}

/// A complete machine, owned by the main loop.
pub struct Machine {
    pub(super) vm: Arc<VmFd>,
    /// What the chips in the kernel are reset to.
    pub(super) chips: ChipState,
    pub(super) board: Board,
    pub(super) vcpus: Vec<VcpuHandle>,
    pub(super) clock: Arc<GuestClock>,
    /// Queues whose deadlines are in guest-virtual time.
    pub(super) timers: Arc<std::sync::Mutex<QueueRunner>>,
    /// The queue of an RTC that goes by the host's clock.
    pub(super) rtc_timers: Option<Arc<std::sync::Mutex<QueueRunner>>>,
    pub(super) boot: BootSource,
    pub(super) actions: Actions,
    pub(super) status: Status,
    /// The guest's paravirtual clock while the machine is stopped.
    pub(super) kvmclock: Option<kvm_clock_data>,
}

impl Machine {
    /// Whether the processors run, and if not, why.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Stops the processors and guest time.
    fn pause(&mut self, status: Status) -> Result<()> {
        self.vcpus.iter().for_each(VcpuHandle::park);
        self.vcpus.iter().for_each(VcpuHandle::wait_parked);
        if self.status == Status::Running {
            self.clock.stop();
            devices::base::lock(&self.timers).suspend(true);
            self.kvmclock = Some(self.vm.get_clock().context("can't read the guest's paravirtual clock")?);
        }
        self.status = status;
        Ok(())
    }

    /// Lets the processors and guest time go on.
    ///
    /// # Errors
    /// The kernel refuses to set the guest's paravirtual clock.
    pub fn resume(&mut self) -> Result<()> {
        if self.status != Status::Running {
            if let Some(stopped) = self.kvmclock.take() {
                let clock = kvm_clock_data { clock: stopped.clock, ..Default::default() };
                self.vm.set_clock(&clock).context("can't set the guest's paravirtual clock")?;
                for vcpu in &self.vcpus {
                    // Tells the guest's soft-lockup watchdog about the pause. A vCPU whose clock is off refuses.
                    let _ = vcpu.with(|vcpu| vcpu.fd().kvmclock_ctrl());
                }
            }
            self.clock.start();
            devices::base::lock(&self.timers).suspend(false);
            self.status = Status::Running;
        }
        self.vcpus.iter().for_each(VcpuHandle::run);
        Ok(())
    }

    /// Resets the platform and goes on from where it starts.
    fn reset(&mut self) -> Result<()> {
        self.vcpus.iter().for_each(VcpuHandle::park);
        self.vcpus.iter().for_each(VcpuHandle::wait_parked);
        self.board.reset(ResetKind::System);
        // After the devices, which have lowered their lines.
        self.chips.restore(&self.vm)?;
        for vcpu in &self.vcpus {
            vcpu.with(|vcpu| vcpu.reset()).context("a virtual CPU is gone")??;
        }
        self.boot.start(&self.vm, &self.board, &self.vcpus, false)?;
        if self.status == Status::Running { self.resume() } else { Ok(()) }
    }

    fn shutdown(&mut self) -> Result<Option<ExitStatus>> {
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
            RebootAction::Reset => self.reset().map(|()| None),
            RebootAction::Shutdown => self.shutdown(),
        }
    }

    fn panicked(&mut self) -> Result<Option<ExitStatus>> {
        match self.actions.panic {
            PanicAction::Shutdown => self.shutdown(),
            PanicAction::ExitFailure => Ok(Some(ExitStatus::FAILURE)),
            PanicAction::Pause => self.pause(Status::GuestPanicked).map(|()| None),
            PanicAction::None => self.resume().map(|()| None),
        }
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
                self.shutdown()
            }
            Message::Request(SystemRequest::Exit(status)) => Ok(Some(ExitStatus(status))),
            Message::TripleFault { vcpu } => {
                log::warn!("CPU {vcpu} met a triple fault; the machine resets");
                self.reboot()
            }
            Message::SystemEvent(SystemEvent::Reset) => self.reboot(),
            Message::SystemEvent(SystemEvent::Shutdown) => self.shutdown(),
            Message::SystemEvent(SystemEvent::Crash) => self.panicked(),
            Message::Failed(report) => {
                eprintln!("natoma: the guest can't go on\n{report}");
                Ok(Some(ExitStatus::FAILURE))
            }
            Message::User(UserRequest::Quit) => Ok(Some(ExitStatus::SUCCESS)),
            Message::User(UserRequest::Signal(number)) => Ok(Some(ExitStatus::signal(number))),
            Message::User(UserRequest::Stop) => {
                if self.status == Status::Running {
                    self.pause(Status::Paused)?;
                }
                Ok(None)
            }
            Message::User(UserRequest::Continue) => {
                // A machine that powered off has nothing to go on with until it is reset.
                if self.status != Status::Shutdown {
                    self.resume()?;
                }
                Ok(None)
            }
            Message::User(UserRequest::Reset) => {
                if self.status == Status::Shutdown {
                    self.status = Status::Paused;
                }
                self.reset()?;
                Ok(None)
            }
            Message::User(UserRequest::PowerButton) => {
                self.board.press_power_button();
                Ok(None)
            }
        }
    }
}
