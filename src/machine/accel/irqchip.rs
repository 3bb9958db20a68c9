//! Interrupt controllers and interval timer: in the kernel, or on the board.

use std::sync::Arc;

use anyhow::{Context, Result};
use devices::base::IrqSink;
use devices::chipset::i8254::LostTicks;
use kvm_ioctls::VmFd;

use super::split::SplitIrqchip;
use crate::config::{KernelIrqchip, LostTickPolicy, PlatformConfig};
use crate::kvm::chips::ChipState;
use crate::kvm::control::VcpuHandle;
use crate::kvm::irq::GsiSink;
use crate::kvm::pit::{self, KernelPit};
use crate::kvm::quirks::HostQuirks;
use crate::kvm::split::BoardControllers;
use crate::kvm::vm;
use crate::machine::pc::chips::Chips;

/// Where the interrupt controllers are.
pub enum Irqchip {
    /// In the kernel, with what they are reset to.
    Kernel(ChipState),
    /// On the board, but for the local APICs.
    Split(Arc<SplitIrqchip>),
}

impl Irqchip {
    /// Makes what is in the kernel. Returns also where interrupts go, and what the board has.
    pub fn make(
        vm: &Arc<VmFd>,
        config: &PlatformConfig,
        quirks: &HostQuirks,
        has_firmware: bool,
        wide_apic_ids: bool,
    ) -> Result<(Self, Arc<dyn IrqSink>, Chips)> {
        // Where firmware takes seconds, the ticks lost by then would come at once and keep other interrupts waiting.
        // To change that takes KVM milliseconds, which a kernel without firmware need not wait for.
        let lost_ticks = match (config.pit_lost_ticks, quirks.is_suspect() && has_firmware) {
            (Some(LostTickPolicy::Discard), _) | (None, true) => LostTicks::Discard,
            (Some(LostTickPolicy::Delay | LostTickPolicy::Slew), _) | (None, false) => LostTicks::Delay,
        };
        if config.kernel_irqchip == KernelIrqchip::On {
            vm::add_chips(vm, wide_apic_ids)?;
            if lost_ticks == LostTicks::Discard {
                discard_lost_ticks(vm, config.pit_lost_ticks.is_some())?;
            }
            let (irqs, pit) = (GsiSink::new(Arc::clone(vm)), KernelPit::new(Arc::clone(vm)));
            return Ok((Self::Kernel(ChipState::capture(vm)?), Arc::new(irqs), Chips::Kernel(Box::new(pit))));
        }
        vm::add_local_apics(vm, wide_apic_ids).context("-accel kernel-irqchip=split")?;
        let split = SplitIrqchip::new(vm);
        let controllers = split.controllers.clone();
        let irqs = Arc::new(controllers.clone());
        Ok((Self::Split(Arc::new(split)), irqs, Chips::Board(controllers, lost_ticks)))
    }

    /// What processors see of controllers on the board.
    pub fn board_controllers(&self) -> Option<Arc<dyn BoardControllers>> {
        match self {
            Self::Kernel(_) => None,
            Self::Split(split) => Some(Arc::clone(split) as _),
        }
    }

    /// Connects the first processor to the 8259.
    pub fn connect(&self, vcpus: &[VcpuHandle]) {
        if let (Self::Split(split), Some(first)) = (self, vcpus.first()) {
            first.kicker().into_iter().for_each(|kicker| split.intr.connect(kicker));
        }
    }

    /// Resets what is in the kernel. Comes after the devices have lowered their lines.
    pub fn reset(&self, vm: &VmFd) -> Result<()> {
        match self {
            Self::Kernel(chips) => Ok(chips.restore(vm)?),
            Self::Split(_) => Ok(()),
        }
    }
}

/// Has the kernel's PIT lose ticks. If nobody `asked` for it, a guest can do without.
fn discard_lost_ticks(vm: &VmFd, asked: bool) -> Result<()> {
    match pit::discard_lost_ticks(vm) {
        Err(error) if asked => {
            Err(error).context("-global kvm-pit.lost_tick_policy=discard: KVM refuses; use lost_tick_policy=delay")
        }
        Err(error) => {
            log::info!("the interval timer delivers lost ticks later, as KVM can't lose them: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kvm_ioctls::Kvm;

    use super::*;

    #[test]
    fn lost_ticks_are_an_error_only_for_who_asked() {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIPPED: there is no KVM");
            return;
        };
        // KVM refuses as there is no timer.
        let vm = kvm.create_vm().unwrap();
        assert!(discard_lost_ticks(&vm, false).is_ok());
        let error = discard_lost_ticks(&vm, true).unwrap_err();
        assert!(format!("{error:#}").starts_with("-global kvm-pit.lost_tick_policy=discard"), "{error:#}");
    }
}
