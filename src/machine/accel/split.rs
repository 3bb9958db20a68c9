//! The board's interrupt controllers, connected to processors whose local APICs are in the kernel.

use std::sync::Arc;

use devices::base::{IrqInput, IrqSink, lock};
use kvm_ioctls::VmFd;

use crate::kvm::split::{BoardControllers, Intr, KernelApics};
use crate::machine::pc::chips::InterruptControllers;

/// The controllers and the wire from the 8259.
pub struct SplitIrqchip {
    /// The controllers.
    pub controllers: InterruptControllers,
    /// INTR of the first processor.
    pub intr: Arc<Intr>,
}

impl SplitIrqchip {
    /// Controllers for the processors of `vm`.
    #[must_use]
    pub fn new(vm: &Arc<VmFd>) -> Self {
        let intr = Arc::<Intr>::default();
        let wire = IrqInput::new(Arc::clone(&intr) as Arc<dyn IrqSink>, 0).line("8259");
        let controllers = InterruptControllers::new(wire, Arc::new(KernelApics::new(Arc::clone(vm))));
        Self { controllers, intr }
    }
}

impl BoardControllers for SplitIrqchip {
    fn intr(&self) -> bool {
        self.intr.is_asserted()
    }

    fn acknowledge(&self) -> u8 {
        lock(&self.controllers.pic).acknowledge()
    }

    fn end_of_interrupt(&self, vector: u8) {
        lock(&self.controllers.ioapic).end_of_interrupt(vector);
    }
}
