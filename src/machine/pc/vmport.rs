//! VMware's port.

use std::sync::{Arc, Mutex};

use devices::base::{RegisterPort, shared};
use devices::vmware::{Identity, VmPort};

use super::Board;
use crate::config::MachineConfig;
use crate::machine::board::port;

impl Board {
    /// Adds the port, with a mouse if there is a keyboard controller.
    pub(super) fn add_vmport(&mut self, config: &MachineConfig) {
        let uuid = config.identity.uuid.unwrap_or_default().into_bytes();
        let identity = Identity { uuid, ram_size: config.memory.size() };
        let device = shared(VmPort::new(identity, self.keyboard.is_some()));
        self.add(&device, &[(port::VMPORT, VmPort::REGION)]);
        self.vmport = Some(device);
    }

    /// The port that wants to see the registers of processors, if there is one: its number, and what is behind it.
    #[must_use]
    pub fn register_port(&self) -> Option<(u16, Arc<Mutex<dyn RegisterPort>>)> {
        let device = Arc::clone(self.vmport.as_ref()?);
        Some((port::VMPORT, device))
    }
}
