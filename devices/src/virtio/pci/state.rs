//! Saved state of a function, with that of its device in it.

use serde::{Deserialize, Serialize};

use super::registers::{isr, status};
use super::{Driver, VirtioPci};
use crate::base::{State, StateError};
use crate::pci::{Msix, MsixState, PciConfigState};
use crate::virtio::VirtioDevice;
use crate::virtio::ring::{NO_VECTOR, Queue, QueueState};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct V1 {
    config: PciConfigState,
    msix: Option<MsixState>,
    accepted: u64,
    device_feature_select: u32,
    driver_feature_select: u32,
    status: u8,
    isr: u8,
    generation: u8,
    config_vector: u16,
    queue_select: u16,
    /// The driver has broken a rule.
    failed: bool,
    queues: Vec<QueueState>,
    device: State,
}

impl<D: VirtioDevice> VirtioPci<D> {
    pub(super) fn save_state(&self) -> State {
        let Self {
            device,
            driver,
            config,
            msix,
            options: _,
            offered: _,
            accepted,
            device_feature_select,
            driver_feature_select,
            status,
            isr,
            generation,
            config_vector,
            queue_select,
            watch: _,
            // Follows from the BARs.
            rung: _,
        } = self;
        let state = V1 {
            config: config.save(),
            msix: msix.as_ref().map(Msix::save),
            accepted: *accepted,
            device_feature_select: *device_feature_select,
            driver_feature_select: *driver_feature_select,
            status: *status,
            isr: *isr,
            generation: *generation,
            config_vector: *config_vector,
            queue_select: *queue_select,
            failed: driver.failed,
            queues: driver.queues.iter().map(Queue::save).collect(),
            device: device.save(),
        };
        State::of(VERSION, &state)
    }

    pub(super) fn load_state(&mut self, state: &State) -> Result<(), StateError> {
        let state: V1 = state.decode(VERSION)?;
        self.config.check(&state.config)?;
        match (&self.msix, &state.msix) {
            (Some(msix), Some(saved)) => msix.check(saved)?,
            (None, None) => {}
            _ => return Err(StateError::invalid("msix", "one has vectors and the other has none")),
        }
        let driver = self.saved_driver(&state)?;
        // The last that can fail: everything else is only taken over once it has not.
        self.device.load(&state.device, &driver)?;
        self.driver = driver;
        self.config.load(&state.config)?;
        if let (Some(msix), Some(saved)) = (&mut self.msix, state.msix) {
            msix.load(saved);
        }
        self.accepted = state.accepted;
        self.device_feature_select = state.device_feature_select;
        self.driver_feature_select = state.driver_feature_select;
        self.status = state.status;
        self.isr = state.isr;
        self.generation = state.generation;
        self.config_vector = state.config_vector;
        self.queue_select = state.queue_select;
        self.follow_status();
        self.drive_pin();
        Ok(())
    }

    /// Checks what is the function's own of a saved state, and makes its driver.
    fn saved_driver(&self, state: &V1) -> Result<Driver, StateError> {
        let vectors = self.msix.as_ref().map_or(0, Msix::vectors);
        let queue_vectors = state.queues.iter().map(|queue| queue.vector);
        if let Some(vector) =
            queue_vectors.chain([state.config_vector]).find(|vector| *vector != NO_VECTOR && *vector >= vectors)
        {
            return Err(StateError::invalid("vector", format!("there is no vector {vector}")));
        }
        if state.isr & !isr::CONFIGURATION != 0 {
            return Err(StateError::invalid("isr", format!("{:#x} has bits that are none", state.isr)));
        }
        if state.queues.len() != self.driver.queues.len() {
            let (saved, own) = (state.queues.len(), self.driver.queues.len());
            return Err(StateError::invalid("queues", format!("there are {saved}, and the function has {own}")));
        }
        let features = state.accepted & self.offered;
        let own = self.driver.queues.iter().zip(&state.queues);
        let queues = own.map(|(own, saved)| own.restored(saved.clone(), features)).collect::<Result<_, _>>();
        let queues = queues.map_err(|why: String| StateError::invalid("queues", why))?;
        let mut driver = self.driver.restored(features, queues, state.failed);
        driver.ready = state.status & status::DRIVER_OK != 0 || !driver.is_modern();
        Ok(driver)
    }
}
