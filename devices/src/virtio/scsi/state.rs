//! The saved state of a host, and what of it can be true.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::registers::queue;
use super::{Active, CDB_LIMIT, RESPONSE_HEADER, SENSE_LIMIT, VirtioScsi};
use crate::backend::disk::NAMES;
use crate::base::{State, StateError};
use crate::scsi::{TargetsState, UnitPlace};
use crate::virtio::{ChainId, Driver};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct V1 {
    sense_size: u32,
    cdb_size: u32,
    events_missed: bool,
    next_name: u64,
    units: TargetsState,
    active: Vec<SavedActive>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedActive {
    name: u64,
    chain: ChainId,
    tag: u64,
    place: UnitPlace,
    response: Vec<(u64, u32)>,
    data: u64,
    to_driver: bool,
}

impl VirtioScsi {
    pub(super) fn save_state(&self) -> State {
        let Self { options: _, targets, sense_size, cdb_size, events_missed, next_name, active } = self;
        let active = active.iter().map(|(name, active)| {
            let Active { chain, tag, place, response, data, to_driver } = active;
            SavedActive {
                name: *name,
                chain: *chain,
                tag: *tag,
                place: *place,
                response: response.ranges().to_vec(),
                data: *data,
                to_driver: *to_driver,
            }
        });
        let state = V1 {
            sense_size: *sense_size,
            cdb_size: *cdb_size,
            events_missed: *events_missed,
            next_name: *next_name,
            units: targets.save(),
            active: active.collect(),
        };
        State::of(VERSION, &state)
    }

    pub(super) fn load_state(&mut self, state: &State, driver: &Driver) -> Result<(), StateError> {
        let V1 { sense_size, cdb_size, events_missed, next_name, units, active } = state.decode(VERSION)?;
        let invalid = |field, why: &str| StateError::invalid(field, why);
        if sense_size >= SENSE_LIMIT || cdb_size >= CDB_LIMIT {
            return Err(invalid("sense_size", "it, or that of commands, is larger than can be"));
        }
        if next_name >= NAMES {
            return Err(invalid("next_name", "there can't have been so many commands before"));
        }
        let most = usize::from(self.options.queues) * usize::from(self.options.queue_size);
        let loaded = self.targets.check(&units, most, driver.dma())?;
        let count = active.len();
        let queues = queue::REQUEST..queue::REQUEST + self.options.queues;
        let restore = |saved: SavedActive| {
            let SavedActive { name, chain, tag, place, response, data, to_driver } = saved;
            if !queues.contains(&chain.queue) || name >= next_name {
                return Err(invalid("active", "a command has come by a queue that is not there, or not yet"));
            }
            let response =
                driver.dma().buffer_in_ram(response).map_err(|error| invalid("active", &error.to_string()))?;
            if !(RESPONSE_HEADER..RESPONSE_HEADER + SENSE_LIMIT as usize).contains(&response.len()) {
                return Err(invalid("active", "a response has an impossible length"));
            }
            Ok((name, Active { chain, tag, place, response, data, to_driver }))
        };
        let active = active.into_iter().map(restore).collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut names: Vec<_> = loaded.commands(&units).collect();
        names.sort_unstable_by_key(|(_, name)| *name);
        if active.len() != count || !active.iter().map(|(name, active)| (active.place, *name)).eq(names) {
            return Err(invalid("active", "these are not the commands that the units have"));
        }
        self.targets.load(units, loaded);
        (self.sense_size, self.cdb_size) = (sense_size, cdb_size);
        self.events_missed = events_missed;
        self.next_name = next_name;
        self.active = active;
        Ok(())
    }
}
