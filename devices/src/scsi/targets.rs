//! The targets that an initiator sees, and what all of them have in common (SAM-5, 4.6; SPC-4, 6.33).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::cdb::Transfer;
use super::unit::{Command, End, Loaded, LogicalUnit, Reply, UnitReset, UnitState};
use super::{Cdb, Sense, opcode};
use crate::base::{Dma, Inspector, StateError};

/// Highest number of a logical unit: 14 bits, in the flat address method.
pub const LAST_LUN: u16 = 0x3fff;
/// What a unit that is not there says it is: no device, and none possible; or, as unit 0, none connected.
const NO_UNIT: u8 = 0x7f;
const NO_UNIT_0: u8 = 0x3f;
/// A well-known logical unit.
const WELL_KNOWN: u8 = 0x1e;
/// The first two bytes of the number of the REPORT LUNS well-known logical unit.
const REPORT_LUNS_UNIT: [u8; 2] = [0xc1, 0x01];
/// Least room that REPORT LUNS takes.
const LEAST_ROOM: u32 = 16;

/// A unit's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitPlace {
    /// The target.
    pub target: u8,
    /// Its logical unit, up to [`LAST_LUN`].
    pub lun: u16,
}

/// There is a unit at the place already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is a unit with this target and number")]
pub struct PlaceTaken;

/// Where a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// To a logical unit, which there may be or not.
    Unit(UnitPlace),
    /// To the REPORT LUNS well-known logical unit of this target, or of all.
    ReportLuns(Option<u8>),
}

impl Address {
    /// The address in the first level of a logical unit number, of a target.
    #[must_use]
    pub fn of_lun(target: u8, [high, low]: [u8; 2]) -> Option<Self> {
        match high >> 6 {
            // Peripheral: of bus 0, which is this one.
            0 => (high == 0).then_some(Self::Unit(UnitPlace { target, lun: low.into() })),
            1 => Some(Self::Unit(UnitPlace { target, lun: u16::from_be_bytes([high & 0x3f, low]) })),
            _ => ([high, low] == REPORT_LUNS_UNIT).then_some(Self::ReportLuns(Some(target))),
        }
    }
}

/// The number of a unit as REPORT LUNS gives it: peripheral, or flat where it has to be.
fn number(lun: u16) -> [u8; 8] {
    let [high, low] = lun.to_be_bytes();
    [if high == 0 { 0 } else { 0x40 | high }, low, 0, 0, 0, 0, 0, 0]
}

/// The units, by their places.
#[derive(Default)]
pub struct Targets {
    units: BTreeMap<UnitPlace, LogicalUnit>,
}

impl Targets {
    /// Adds a unit.
    ///
    /// # Errors
    /// The place is taken.
    pub fn add(&mut self, place: UnitPlace, unit: LogicalUnit) -> Result<(), PlaceTaken> {
        if self.units.contains_key(&place) {
            return Err(PlaceTaken);
        }
        // Those of a target that had units before tell of another one.
        self.of_target(place.target).for_each(|unit| unit.attend(Sense::UNITS_CHANGED));
        self.units.insert(place, unit);
        Ok(())
    }

    /// Takes a unit out, and gives the names of the commands that it had under way.
    pub fn remove(&mut self, place: UnitPlace) -> Option<Vec<u64>> {
        let mut unit = self.units.remove(&place)?;
        self.of_target(place.target).for_each(|unit| unit.attend(Sense::UNITS_CHANGED));
        Some(unit.abort_all())
    }

    fn of_target(&mut self, target: u8) -> impl Iterator<Item = &mut LogicalUnit> {
        let range = UnitPlace { target, lun: 0 }..=UnitPlace { target, lun: u16::MAX };
        self.units.range_mut(range).map(|(_, unit)| unit)
    }

    /// The unit at a place.
    pub fn unit(&mut self, place: UnitPlace) -> Option<&mut LogicalUnit> {
        self.units.get_mut(&place)
    }

    /// All units and their places.
    pub fn units(&mut self) -> impl Iterator<Item = (UnitPlace, &mut LogicalUnit)> {
        self.units.iter_mut().map(|(place, unit)| (*place, unit))
    }

    /// Whether a target has units.
    #[must_use]
    pub fn has_target(&self, target: u8) -> bool {
        self.units.range(UnitPlace { target, lun: 0 }..).next().is_some_and(|(place, _)| place.target == target)
    }

    /// Hands a command to the unit at its address; `None`: there is no such target.
    pub fn start(&mut self, address: Address, command: Command<'_>) -> Option<Reply> {
        let report_luns = Cdb(command.cdb).opcode() == opcode::REPORT_LUNS;
        match address {
            Address::Unit(place) if !self.has_target(place.target) => None,
            Address::Unit(place) => Some(match self.units.get_mut(&place) {
                Some(_) if report_luns => self.answer(&command, place.into()),
                Some(unit) => unit.start(command),
                None => self.answer(&command, place.into()),
            }),
            Address::ReportLuns(Some(target)) if !self.has_target(target) => None,
            Address::ReportLuns(target) => Some(self.answer(&command, Answerer { target, lun: None })),
        }
    }

    /// Answers for a target, or for a unit that is not there.
    fn answer(&self, command: &Command<'_>, answerer: Answerer) -> Reply {
        let cdb = Cdb(command.cdb);
        let room = match cdb.transfer(0) {
            Transfer::ToHost(room) => room,
            Transfer::None | Transfer::FromHost(_) => 0,
        };
        if room > command.into.len() as u64 {
            return Reply::Overrun;
        }
        let end = |sense, moved| Reply::Ended(End { name: command.name, sense, moved });
        match self.tell(cdb, answerer) {
            Ok(mut data) => {
                data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
                command.into.fill_from(0, &data);
                end(None, data.len() as u64)
            }
            Err(sense) => end(Some(sense), 0),
        }
    }

    fn tell(&self, command: Cdb<'_>, answerer: Answerer) -> Result<Vec<u8>, Sense> {
        let well_known = answerer.lun.is_none();
        match command.opcode() {
            opcode::REPORT_LUNS if well_known || answerer.is_unit(&self.units) || answerer.lun == Some(0) => {
                self.report_luns(command, answerer.target)
            }
            opcode::INQUIRY if command.byte(1) & 1 != 0 || command.byte(2) != 0 => {
                // The list of pages, in which there is only itself.
                let device_type = answerer.device_type();
                let list = command.byte(1) & 1 != 0 && command.byte(2) == 0;
                if list { Ok(vec![device_type, 0, 0, 1, 0]) } else { Err(Sense::INVALID_FIELD) }
            }
            opcode::INQUIRY => {
                let mut data = vec![0; 36];
                data[0] = answerer.device_type();
                if data[0] != NO_UNIT {
                    data[2..5].copy_from_slice(&[5, 0x12, 31]);
                    data[7] = 0x12;
                    data[8..36].copy_from_slice(b"QEMU    QEMU TARGET     2.5+");
                }
                Ok(data)
            }
            opcode::REQUEST_SENSE => {
                let sense = if well_known { Sense::NONE } else { Sense::NO_SUCH_UNIT };
                Ok(if command.byte(1) & 1 != 0 { sense.descriptors() } else { sense.data() })
            }
            opcode::TEST_UNIT_READY if well_known => Ok(Vec::new()),
            _ if well_known => Err(Sense::INVALID_OPCODE),
            _ => Err(Sense::NO_SUCH_UNIT),
        }
    }

    /// The units of a target, or those of all, each with its target in the number's first level.
    fn report_luns(&self, command: Cdb<'_>, target: Option<u8>) -> Result<Vec<u8>, Sense> {
        let select = command.byte(2);
        if select > 2 || command.dword(6) < LEAST_ROOM {
            return Err(Sense::INVALID_FIELD);
        }
        let mut list: Vec<[u8; 8]> = Vec::new();
        if select != 1 {
            match target {
                Some(target) => {
                    let luns = self.units.keys().filter(|place| place.target == target).map(|place| place.lun);
                    // There always is a unit 0, which may say that it is not connected.
                    list.extend(luns.chain([0]).collect::<BTreeSet<_>>().into_iter().map(number));
                }
                None => list.extend(self.units.keys().map(|place| {
                    let [high, low, ..] = number(place.lun);
                    [1, place.target, 0x40 | high, low, 0, 0, 0, 0]
                })),
            }
        }
        if select > 0 {
            let [first, second] = REPORT_LUNS_UNIT;
            list.push([first, second, 0, 0, 0, 0, 0, 0]);
        }
        let len = 8 * list.len() as u32;
        Ok([&len.to_be_bytes()[..], &[0; 4], &list.concat()].concat())
    }

    /// Resets all units, and gives the names of the commands that were under way.
    pub fn reset(&mut self, how: UnitReset) -> Vec<u64> {
        self.units.values_mut().flat_map(|unit| unit.reset(how)).collect()
    }

    /// Takes the next command that has ended.
    pub fn poll(&mut self) -> Option<End> {
        self.units.values_mut().find_map(LogicalUnit::poll)
    }

    /// Requests that were kept because of an error are submitted again.
    pub fn resume(&mut self) {
        self.units.values_mut().for_each(|unit| unit.port().resume());
    }

    /// Whether requests are under way.
    pub fn is_busy(&mut self) -> bool {
        self.units.values_mut().any(|unit| unit.port().is_busy())
    }

    /// Waits for the requests that are under way.
    pub fn drain(&mut self) {
        self.units.values_mut().for_each(|unit| unit.port().drain());
    }

    /// The state of all units.
    #[must_use]
    pub fn save(&self) -> TargetsState {
        TargetsState(self.units.iter().map(|(place, unit)| (*place, unit.save())).collect())
    }

    /// Checks a saved state without taking it over; `most` is how many commands a unit can have. Gives their names.
    ///
    /// # Errors
    /// It is not one of these units, or they can't be in it.
    pub fn check(&self, state: &TargetsState, most: usize, dma: &Dma) -> Result<LoadedTargets, StateError> {
        let TargetsState(saved) = state;
        if saved.len() != self.units.len() {
            return Err(StateError::invalid("units", "these are not the units of this machine"));
        }
        let units = self.units.iter().zip(saved).map(|((own, unit), (place, state))| {
            if own != place {
                return Err(StateError::invalid("units", "these are not the units of this machine"));
            }
            unit.check(state, most, dma)
        });
        units.collect::<Result<_, _>>().map(LoadedTargets)
    }

    /// Takes over a state that has been checked. The requests of its commands wait for [`Self::resume`].
    pub fn load(&mut self, state: TargetsState, loaded: LoadedTargets) {
        for ((unit, (_, state)), loaded) in self.units.values_mut().zip(state.0).zip(loaded.0) {
            unit.load(state, loaded);
        }
    }

    /// Reports the state of the units.
    pub fn inspect(&self, out: &mut Inspector) {
        for (UnitPlace { target, lun }, unit) in &self.units {
            unit.inspect(&format!("target {target} unit {lun}"), out);
        }
    }
}

/// Who answers for a target.
#[derive(Clone, Copy)]
struct Answerer {
    /// The target; `None`: all.
    target: Option<u8>,
    /// The unit; `None`: the well-known one.
    lun: Option<u16>,
}

impl From<UnitPlace> for Answerer {
    fn from(UnitPlace { target, lun }: UnitPlace) -> Self {
        Self { target: Some(target), lun: Some(lun) }
    }
}

impl Answerer {
    fn is_unit(self, units: &BTreeMap<UnitPlace, LogicalUnit>) -> bool {
        let place = self.target.zip(self.lun).map(|(target, lun)| UnitPlace { target, lun });
        place.is_some_and(|place| units.contains_key(&place))
    }

    fn device_type(self) -> u8 {
        match self.lun {
            None => WELL_KNOWN,
            Some(0) => NO_UNIT_0,
            Some(_) => NO_UNIT,
        }
    }
}

/// Saved form of [`Targets`], part of the controller's own state type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetsState(Vec<(UnitPlace, UnitState)>);

/// What a saved state has led to.
pub struct LoadedTargets(Vec<Loaded>);

impl LoadedTargets {
    /// The names of the commands under way, and the units that have them. `state` is what this was made of.
    pub fn commands<'a>(&'a self, state: &'a TargetsState) -> impl Iterator<Item = (UnitPlace, u64)> {
        let units = self.0.iter().zip(&state.0);
        units.flat_map(|(loaded, (place, _))| loaded.names().map(|name| (*place, name)))
    }
}
