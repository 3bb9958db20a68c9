//! The interval timer in the kernel, as far as other devices have a say in it.

use std::io;
use std::sync::Arc;

use devices::chipset::hpet::LegacyReplacement;
use kvm_bindings::{KVM_PIT_FLAGS_HPET_LEGACY, KVMIO, kvm_pit_channel_state, kvm_pit_state2, kvm_reinject_control};
use kvm_ioctls::VmFd;
use nix::time::{ClockId, clock_gettime};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_io_nr;

use super::vm::VmError;

#[allow(missing_docs, reason = "the macro makes a public function without a comment")]
mod ioctls {
    use super::{KVMIO, ioctl_io_nr};
    ioctl_io_nr!(KVM_REINJECT_CONTROL, KVMIO, 0x71);
}

/// Frequency of the counters in hertz.
const FREQUENCY: i64 = 1_193_182;

/// Lets interrupts be lost that come while one is pending (KVM_REINJECT_CONTROL); a new PIT delivers them later.
///
/// # Errors
/// The kernel refuses.
pub fn discard_lost_ticks(vm: &VmFd) -> io::Result<()> {
    let control = kvm_reinject_control::default();
    // SAFETY: the kernel reads one kvm_reinject_control, which lives through the call.
    match unsafe { ioctl_with_ref(vm, ioctls::KVM_REINJECT_CONTROL(), &control) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Silences the PIT's interrupt while the HPET takes its place.
pub struct KernelPit(Arc<VmFd>);

impl KernelPit {
    /// The PIT of `vm`.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self(vm)
    }
}

impl LegacyReplacement for KernelPit {
    fn replace(&mut self, on: bool) {
        let result = self.0.get_pit2().and_then(|mut state| {
            state.flags &= !KVM_PIT_FLAGS_HPET_LEGACY;
            state.flags |= if on { KVM_PIT_FLAGS_HPET_LEGACY } else { 0 };
            self.0.set_pit2(&state)
        });
        if let Err(error) = result {
            // The machine was given a PIT, and its state is what was read.
            log::error!("the interval timer can't be switched: {error}");
        }
    }
}

/// The state of a PIT whose interrupts are stopped.
///
/// The counters themselves can't be: KVM takes them from the host's time, and starts all three afresh each time it is given a
/// state. So a guest that is stopped while it measures by counter 2 measures too little, and when the machine goes on counter 0
/// begins with a whole period.
pub struct StoppedPit(kvm_pit_state2);

impl StoppedPit {
    /// Stops the interrupts of the PIT of `vm`; `None` if none are to come.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(vm: &VmFd) -> Result<Option<Self>, VmError> {
        let state = vm.get_pit2().map_err(VmError::new("read the interval timer"))?;
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() * 1_000_000_000 + now.tv_nsec());
        if state.flags & KVM_PIT_FLAGS_HPET_LEGACY != 0 || !has_interrupts_to_come(&state.channels[0], now) {
            return Ok(None);
        }
        // What makes way for the HPET disarms the timer and touches no register of counter 0.
        let stopped = kvm_pit_state2 { flags: state.flags | KVM_PIT_FLAGS_HPET_LEGACY, ..state };
        vm.set_pit2(&stopped).map_err(VmError::new("stop the interval timer"))?;
        Ok(Some(Self(state)))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn go_on(&self, vm: &VmFd) -> Result<(), VmError> {
        vm.set_pit2(&self.0).map_err(VmError::new("let the interval timer go on"))
    }
}

/// Whether a counter that is in `channel`'s state at `now`, in nanoseconds of the host's monotonic clock, will still
/// interrupt.
fn has_interrupts_to_come(channel: &kvm_pit_channel_state, now: i64) -> bool {
    let count = if channel.count == 0 { 0x1_0000 } else { i64::from(channel.count) };
    match channel.mode {
        // One-shot: until the count is over.
        0 | 1 | 4 => now.saturating_sub(channel.count_load_time) <= count * 1_000_000_000 / FREQUENCY,
        2 | 3 => true,
        // Triggered by a gate that channel 0 does not have, or never programmed (FFh).
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
    use kvm_ioctls::Kvm;

    use super::*;

    fn channel(mode: u8, count: u32, count_load_time: i64) -> kvm_pit_channel_state {
        kvm_pit_channel_state { mode, count, count_load_time, ..Default::default() }
    }

    #[test]
    fn a_one_shot_is_over_after_its_count_and_a_rate_generator_never() {
        let second = 1_000_000_000;
        // 11932 ticks of 1193182 Hz are 10.0001 ms.
        assert!(has_interrupts_to_come(&channel(0, 11_932, second), second + 10_000_000));
        assert!(!has_interrupts_to_come(&channel(0, 11_932, second), second + 10_001_000));
        // 0 stands for 65536 ticks, 54.9 ms.
        assert!(has_interrupts_to_come(&channel(4, 0, 0), 54_000_000));
        assert!(has_interrupts_to_come(&channel(2, 100, 0), 100 * second));
        assert!(!has_interrupts_to_come(&channel(0xff, 0, 0), 0));
    }

    #[test]
    fn a_stopped_pit_makes_no_interrupts_and_keeps_its_registers() {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIPPED: this host has no KVM");
            return;
        };
        let vm = kvm.create_vm().unwrap();
        vm.create_irq_chip().unwrap();
        vm.create_pit2(kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() }).unwrap();
        assert!(StoppedPit::stop(&vm).unwrap().is_none(), "nothing is programmed");

        let mut state = vm.get_pit2().unwrap();
        (state.channels[0].mode, state.channels[0].count) = (2, 11_932);
        vm.set_pit2(&state).unwrap();
        let stopped = StoppedPit::stop(&vm).unwrap().unwrap();
        let seen = vm.get_pit2().unwrap();
        assert_ne!(seen.flags & KVM_PIT_FLAGS_HPET_LEGACY, 0, "the timer is disarmed");
        assert_eq!((seen.channels[0].mode, seen.channels[0].count), (2, 11_932));
        stopped.go_on(&vm).unwrap();
        let seen = vm.get_pit2().unwrap();
        assert_eq!(seen.flags & KVM_PIT_FLAGS_HPET_LEGACY, 0);
        assert_eq!((seen.channels[0].mode, seen.channels[0].count), (2, 11_932));
    }
}
