//! The control queue: task management, and subscriptions to notifications.

use super::registers::{control, response};
use super::{VirtioScsi, address};
use crate::base::GuestBuffer;
use crate::scsi::{Address, UnitPlace, UnitReset};
use crate::virtio::{Chain, Driver};

/// Bytes of a task management request, and of one about notifications with its response.
const TASK_MANAGEMENT: usize = 24;
const NOTIFICATION: usize = 16;
const NOTIFICATION_RESPONSE: usize = 5;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rfold(0, |value, byte| value << 8 | u32::from(*byte))
}

impl VirtioScsi {
    /// A chain of the control queue.
    pub(super) fn control(&mut self, chain: &Chain, driver: &mut Driver) {
        let Chain { id, readable, writable } = chain;
        let mut kind = [0; 4];
        readable.copy_to(0, &mut kind);
        let (needs, room) = match u32::from_le_bytes(kind) {
            _ if readable.len() < 4 => (4, 1),
            control::TASK_MANAGEMENT => (TASK_MANAGEMENT, 1),
            control::NOTIFICATION_QUERY | control::NOTIFICATION_SUBSCRIBE => (NOTIFICATION, NOTIFICATION_RESPONSE),
            // Nobody knows where the response to such a request has its place.
            _ => return driver.complete(id, 0),
        };
        if readable.len() < needs || writable.len() < room {
            return driver.fail(format_args!("a control request is too short"));
        }
        let mut request = vec![0; needs];
        readable.copy_to(0, &mut request);
        let respond = |room: &GuestBuffer, bytes: &[u8]| room.fill_from(0, bytes);
        if room == 1 {
            let function = u32_at(&request, 4);
            let tag = u64::from(u32_at(&request, 16)) | u64::from(u32_at(&request, 20)) << 32;
            let result = self.manage(function, address(&request[8..16]), tag, driver);
            respond(writable, &[result]);
        } else {
            // There are no events that could be subscribed to.
            respond(writable, &[0, 0, 0, 0, response::OK]);
        }
        driver.complete(id, room as u32);
    }

    /// A task management function. Commands that it gives up are given back before it ends.
    fn manage(&mut self, function: u32, address: Option<Address>, tag: u64, driver: &mut Driver) -> u8 {
        let Some(Address::Unit(place)) = address else { return response::BAD_TARGET };
        if !self.targets.has_target(place.target) {
            return response::BAD_TARGET;
        }
        if function == control::I_T_NEXUS_RESET {
            let units: Vec<_> = self.targets.units().map(|(place, _)| place).collect();
            for unit in units.into_iter().filter(|unit| unit.target == place.target) {
                self.reset_unit(unit, UnitReset::Nexus, driver);
            }
            return response::OK;
        }
        if self.targets.unit(place).is_none() {
            return response::INCORRECT_LUN;
        }
        let with_tag = |name: &(&u64, &super::Active)| name.1.place == place && name.1.tag == tag;
        match function {
            control::ABORT_TASK => {
                if let Some(name) = self.active.iter().find(with_tag).map(|(name, _)| *name) {
                    self.abort(place, name, driver);
                }
                response::OK
            }
            control::ABORT_TASK_SET | control::CLEAR_TASK_SET => {
                let given_up = self.targets.unit(place).map(|unit| unit.abort_all()).unwrap_or_default();
                self.give_back(&given_up, response::ABORTED, driver);
                response::OK
            }
            control::LOGICAL_UNIT_RESET => {
                self.reset_unit(place, UnitReset::Unit, driver);
                response::OK
            }
            control::QUERY_TASK if self.active.iter().any(|active| with_tag(&active)) => response::FUNCTION_SUCCEEDED,
            control::QUERY_TASK_SET if self.active.values().any(|active| active.place == place) => {
                response::FUNCTION_SUCCEEDED
            }
            control::QUERY_TASK | control::QUERY_TASK_SET => response::OK,
            _ => response::FUNCTION_REJECTED,
        }
    }

    fn reset_unit(&mut self, place: UnitPlace, how: UnitReset, driver: &mut Driver) {
        let given_up = self.targets.unit(place).map(|unit| unit.reset(how)).unwrap_or_default();
        self.give_back(&given_up, response::RESET, driver);
    }

    /// Gives up one command. It may end as if nothing had happened, if it can't be stopped any more.
    fn abort(&mut self, place: UnitPlace, name: u64, driver: &mut Driver) {
        if let Some(unit) = self.targets.unit(place)
            && unit.abort(name)
        {
            self.give_back(&[name], response::ABORTED, driver);
        }
        self.take_ends(driver);
    }
}
