//! What is saved of the controller and its drives, and how it is checked when it comes back.

use super::command::{self, Command, LONGEST, LONGEST_RESULT};
use super::controller::{Fdc, Interrupts, LATENCY, Phase, REVOLUTION, Seek, UNITS};
use super::drive::{self, FloppyDrive, SECTOR};
use super::registers::*;
use super::transfer::{ID, Transfer};
use crate::base::{Clock, State, StateError};

mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::floppy::controller::{DRIVES, UNITS};
    use crate::floppy::transfer::ID;

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Drive {
        pub cylinder: u8,
        pub changed: bool,
        pub rotation: u8,
        pub deleted: Vec<u32>,
    }

    #[derive(Serialize, Deserialize)]
    pub enum Condition {
        Equal,
        LowOrEqual,
        HighOrEqual,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub enum Operation {
        Read { deleted: bool },
        ReadTrack,
        Write { deleted: bool },
        Verify,
        Scan(Condition),
        Format,
        FormatAndWrite,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Transfer {
        pub operation: Operation,
        pub drive: u8,
        pub head: u8,
        pub multi_track: bool,
        pub mfm: bool,
        pub skip: bool,
        pub id: [u8; ID],
        pub eot: u8,
        pub last: u8,
        pub left: Option<u8>,
        pub st1: u8,
        pub st2: u8,
        pub ending: bool,
        pub index: u8,
        pub buffer: Vec<u8>,
        pub passed: u16,
        pub pio: bool,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub enum Phase {
        Command { bytes: Vec<u8> },
        ReadId { due: u64, drive: u8, head: u8, mfm: bool },
        Starting { due: u64, transfer: Transfer },
        Requesting { due: u64, until: u64, transfer: Transfer },
        Transferring { transfer: Transfer },
        Result { bytes: Vec<u8>, given: u8 },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Seek {
        pub due: u64,
        pub st0: u8,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Interrupts {
        pub polled: bool,
        pub result: bool,
        pub data: bool,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Fdc {
        pub drives: [Option<Drive>; DRIVES],
        pub dor: u8,
        pub tdr: u8,
        pub dsr: u8,
        pub read_toggle: bool,
        pub write_toggle: bool,
        pub specify: [u8; 2],
        pub config: u8,
        pub precompensation: u8,
        pub locked: bool,
        pub perpendicular: u8,
        pub power_down: u8,
        pub option: u8,
        pub specifications: [u8; UNITS],
        pub sectors_or_eot: u8,
        pub pcn: [u8; UNITS],
        pub phase: Phase,
        pub seeks: [Option<Seek>; UNITS],
        pub seek_results: [Option<u8>; UNITS],
        pub polling_due: Option<u64>,
        pub reports: u8,
        pub interrupts: Interrupts,
    }
}

/// The saved form of `fdc`.
pub(super) fn save(fdc: &Fdc) -> State {
    let Fdc {
        clock: _,
        timers: _,
        irq: _,
        dma: _,
        drives,
        log: _,
        dor,
        tdr,
        dsr,
        read_toggle,
        write_toggle,
        specify,
        config,
        precompensation,
        locked,
        perpendicular,
        power_down,
        option,
        specifications,
        sectors_or_eot,
        pcn,
        phase,
        seeks,
        seek_results,
        polling_due,
        reports,
        interrupts,
        // What the host has not on its disk yet is not the guest's business.
        flush_due: _,
    } = fdc;
    let &Interrupts { polled, result, data } = interrupts;
    State::of(
        v1::VERSION,
        &v1::Fdc {
            drives: drives.each_ref().map(|drive| drive.as_ref().map(save_drive)),
            dor: dor.into_bits(),
            tdr: *tdr,
            dsr: *dsr,
            read_toggle: *read_toggle,
            write_toggle: *write_toggle,
            specify: *specify,
            config: config.into_bits(),
            precompensation: *precompensation,
            locked: *locked,
            perpendicular: *perpendicular,
            power_down: *power_down,
            option: *option,
            specifications: *specifications,
            sectors_or_eot: *sectors_or_eot,
            pcn: *pcn,
            phase: save_phase(phase),
            seeks: seeks.map(|seek| seek.map(|Seek { due, st0 }| v1::Seek { due, st0 })),
            seek_results: *seek_results,
            polling_due: *polling_due,
            reports: *reports,
            interrupts: v1::Interrupts { polled, result, data },
        },
    )
}

fn save_drive(drive: &FloppyDrive) -> v1::Drive {
    v1::Drive { cylinder: drive.cylinder, changed: drive.changed, rotation: drive.rotation, deleted: drive.deleted() }
}

fn save_phase(phase: &Phase) -> v1::Phase {
    match phase {
        Phase::Command { bytes } => v1::Phase::Command { bytes: bytes.clone() },
        &Phase::ReadId { due, drive, head, mfm } => v1::Phase::ReadId { due, drive, head, mfm },
        Phase::Starting { due, transfer } => v1::Phase::Starting { due: *due, transfer: save_transfer(transfer) },
        Phase::Requesting { due, until, transfer } => {
            v1::Phase::Requesting { due: *due, until: *until, transfer: save_transfer(transfer) }
        }
        Phase::Transferring { transfer } => v1::Phase::Transferring { transfer: save_transfer(transfer) },
        Phase::Result { bytes, given } => v1::Phase::Result { bytes: bytes.clone(), given: *given },
    }
}

fn save_transfer(transfer: &Transfer) -> v1::Transfer {
    let &Transfer {
        operation,
        drive,
        head,
        multi_track,
        mfm,
        skip,
        id,
        eot,
        last,
        left,
        st1,
        st2,
        ending,
        index,
        ref buffer,
        passed,
        pio,
    } = transfer;
    v1::Transfer {
        operation: save_operation(operation),
        drive,
        head,
        multi_track,
        mfm,
        skip,
        id,
        eot,
        last,
        left,
        st1,
        st2,
        ending,
        index,
        buffer: buffer.clone(),
        passed,
        pio,
    }
}

fn save_operation(operation: command::Operation) -> v1::Operation {
    use command::{Condition, Operation};
    match operation {
        Operation::Read { deleted } => v1::Operation::Read { deleted },
        Operation::ReadTrack => v1::Operation::ReadTrack,
        Operation::Write { deleted } => v1::Operation::Write { deleted },
        Operation::Verify => v1::Operation::Verify,
        Operation::Scan(Condition::Equal) => v1::Operation::Scan(v1::Condition::Equal),
        Operation::Scan(Condition::LowOrEqual) => v1::Operation::Scan(v1::Condition::LowOrEqual),
        Operation::Scan(Condition::HighOrEqual) => v1::Operation::Scan(v1::Condition::HighOrEqual),
        Operation::Format => v1::Operation::Format,
        Operation::FormatAndWrite => v1::Operation::FormatAndWrite,
    }
}

fn load_operation(operation: v1::Operation) -> command::Operation {
    use command::{Condition, Operation};
    match operation {
        v1::Operation::Read { deleted } => Operation::Read { deleted },
        v1::Operation::ReadTrack => Operation::ReadTrack,
        v1::Operation::Write { deleted } => Operation::Write { deleted },
        v1::Operation::Verify => Operation::Verify,
        v1::Operation::Scan(v1::Condition::Equal) => Operation::Scan(Condition::Equal),
        v1::Operation::Scan(v1::Condition::LowOrEqual) => Operation::Scan(Condition::LowOrEqual),
        v1::Operation::Scan(v1::Condition::HighOrEqual) => Operation::Scan(Condition::HighOrEqual),
        v1::Operation::Format => Operation::Format,
        v1::Operation::FormatAndWrite => Operation::FormatAndWrite,
    }
}

fn load_transfer(transfer: v1::Transfer) -> Transfer {
    let v1::Transfer {
        operation,
        drive,
        head,
        multi_track,
        mfm,
        skip,
        id,
        eot,
        last,
        left,
        st1,
        st2,
        ending,
        index,
        buffer,
        passed,
        pio,
    } = transfer;
    let operation = load_operation(operation);
    Transfer {
        operation,
        drive,
        head,
        multi_track,
        mfm,
        skip,
        id,
        eot,
        last,
        left,
        st1,
        st2,
        ending,
        index,
        buffer,
        passed,
        pio,
    }
}

fn load_phase(phase: v1::Phase) -> Phase {
    match phase {
        v1::Phase::Command { bytes } => Phase::Command { bytes },
        v1::Phase::ReadId { due, drive, head, mfm } => Phase::ReadId { due, drive, head, mfm },
        v1::Phase::Starting { due, transfer } => Phase::Starting { due, transfer: load_transfer(transfer) },
        v1::Phase::Requesting { due, until, transfer } => {
            Phase::Requesting { due, until, transfer: load_transfer(transfer) }
        }
        v1::Phase::Transferring { transfer } => Phase::Transferring { transfer: load_transfer(transfer) },
        v1::Phase::Result { bytes, given } => Phase::Result { bytes, given },
    }
}

impl Transfer {
    /// Whether a guest can bring it about in any phase.
    fn is_possible(&self) -> bool {
        use command::Operation;
        let formats = matches!(self.operation, Operation::Format | Operation::FormatAndWrite);
        let counted = match self.operation {
            Operation::Format | Operation::FormatAndWrite | Operation::ReadTrack => self.left.is_some(),
            Operation::Verify => true,
            Operation::Read { .. } | Operation::Write { .. } | Operation::Scan(_) => self.left.is_none(),
        };
        let options = !(self.multi_track && (formats || self.operation == Operation::ReadTrack))
            && !(self.skip && formats)
            && !(self.pio && self.is_verify());
        let status =
            self.st1 & !ST1_NO_DATA == 0 && self.st2 & !(ST2_CONTROL_MARK | ST2_SCAN_EQUAL | ST2_SCAN_FAILED) == 0;
        counted && options && status && usize::from(self.drive) < UNITS && self.head < 2 && self.index > 0
    }

    /// Whether nothing of it has happened yet.
    fn is_fresh(&self) -> bool {
        (self.st1, self.st2, self.ending, self.index, self.passed) == (0, 0, false, 1, 0) && self.buffer.is_empty()
    }

    /// Whether a unit is under way.
    fn is_in_a_unit(&self) -> bool {
        use command::Operation;
        let unit = match self.operation {
            Operation::Format => ID,
            Operation::FormatAndWrite => ID + SECTOR,
            _ => SECTOR,
        };
        self.buffer.len() == unit && usize::from(self.passed) < unit && self.left != Some(0)
    }
}

/// Whether a time is at most `longest` away.
fn is_soon(clock: &Clock, due: u64, longest: u64) -> bool {
    due <= clock.now().saturating_add(longest)
}

impl Phase {
    /// Whether a guest can bring it about.
    fn is_possible(&self, clock: &Clock) -> bool {
        match self {
            Self::Command { bytes } => {
                let incomplete =
                    |len| bytes.first().is_none_or(|first| !Command::decode(*first).is_complete(&bytes[..len]));
                bytes.len() < LONGEST && (1..=bytes.len()).all(incomplete)
            }
            Self::ReadId { due, drive, head, .. } => {
                usize::from(*drive) < UNITS && *head < 2 && is_soon(clock, *due, REVOLUTION)
            }
            Self::Starting { due, transfer } => {
                transfer.is_possible() && transfer.is_fresh() && is_soon(clock, *due, LATENCY)
            }
            Self::Requesting { due, until, transfer } => {
                let waits = transfer.passed == 0 && !transfer.pio && !transfer.is_verify();
                transfer.is_possible()
                    && transfer.is_in_a_unit()
                    && waits
                    && due <= until
                    && is_soon(clock, *until, REVOLUTION)
            }
            Self::Transferring { transfer } => transfer.is_possible() && transfer.is_in_a_unit() && transfer.pio,
            Self::Result { bytes, given } => bytes.len() <= LONGEST_RESULT && usize::from(*given) < bytes.len(),
        }
    }
}

/// Checks registers against the bits that they have.
fn check_bits(state: &v1::Fdc) -> Result<(), StateError> {
    let specifications = state.specifications.iter().fold(0, |all, one| all | one);
    for (field, value, bits) in [
        ("tdr", state.tdr, TDR_WRITABLE),
        ("dsr", state.dsr, !DSR_RESET),
        ("config", state.config, CONFIG_BITS),
        ("perpendicular", state.perpendicular, PERPENDICULAR_BITS),
        ("specifications", specifications, SPECIFICATION_BITS),
    ] {
        if value & !bits != 0 {
            return Err(StateError::invalid(field, format!("{value:#04x} has bits that the register does not have")));
        }
    }
    Ok(())
}

/// Checks seeks, polling and interrupts against each other and the phase.
fn check_progress(state: &v1::Fdc, phase: &Phase, clock: &Clock) -> Result<(), StateError> {
    if !phase.is_possible(clock) {
        return Err(StateError::invalid("phase", "the command or its data is impossible"));
    }
    if usize::from(state.reports) > UNITS {
        return Err(StateError::invalid("reports", format!("{} is more than {UNITS}", state.reports)));
    }
    let st0_bits = ST0_ABNORMAL | ST0_SEEK_END | ST0_EQUIPMENT | 0x07;
    let ends =
        |unit: usize, st0: u8| st0 & !st0_bits == 0 && st0 & ST0_SEEK_END != 0 && usize::from(st0) % UNITS == unit;
    for (unit, (seek, result)) in state.seeks.iter().zip(state.seek_results).enumerate() {
        let possible = match (seek, result) {
            (Some(seek), None) => ends(unit, seek.st0) && is_soon(clock, seek.due, LATENCY),
            (None, Some(st0)) => ends(unit, st0),
            (None, None) => true,
            (Some(_), Some(_)) => false,
        };
        if !possible {
            return Err(StateError::invalid("seeks", format!("drive {unit} can't seek like that")));
        }
    }
    if state.polling_due.is_some_and(|due| !is_soon(clock, due, LATENCY)) {
        return Err(StateError::invalid("polling_due", "it is too far ahead"));
    }
    let &v1::Interrupts { polled, result, data } = &state.interrupts;
    let fits = polled == (usize::from(state.reports) == UNITS)
        && (!result || matches!(phase, Phase::Result { given: 0, .. }))
        && (!data || matches!(phase, Phase::Transferring { .. }));
    if !fits {
        return Err(StateError::invalid("interrupts", "there is nothing that they could mean"));
    }
    let busy = *phase != Phase::default()
        || state.seeks.iter().any(Option::is_some)
        || state.seek_results.iter().any(Option::is_some)
        || state.polling_due.is_some()
        || state.reports > 0;
    if busy && !Dor::from(state.dor).not_reset() {
        return Err(StateError::invalid("dor", "the controller is held in reset and does something"));
    }
    Ok(())
}

fn check_drives(own: &[Option<FloppyDrive>], saved: &[Option<v1::Drive>]) -> Result<(), StateError> {
    let invalid = |why| Err(StateError::invalid("drives", why));
    if own.iter().zip(saved).any(|(own, saved)| own.is_some() != saved.is_some()) {
        return invalid("these are not the drives of this machine");
    }
    for (own, saved) in own.iter().flatten().zip(saved.iter().flatten()) {
        if saved.cylinder > drive::LAST_CYLINDER || !own.has_sectors(&saved.deleted) {
            return invalid("a drive can't reach that track or sector");
        }
        if own.geometry().is_some_and(|geometry| saved.rotation > geometry.sectors) {
            return invalid("a track has not that many sectors");
        }
        if !saved.changed && own.geometry().is_none() {
            return invalid("an empty drive says that its medium was not changed");
        }
    }
    Ok(())
}

/// Takes over a saved state, apart from what follows from it.
///
/// # Errors
/// It is not one of this machine's, or one that no guest can bring about. Nothing is changed then.
pub(super) fn load(fdc: &mut Fdc, state: &State) -> Result<(), StateError> {
    let mut state: v1::Fdc = state.decode(v1::VERSION)?;
    let phase = load_phase(std::mem::replace(&mut state.phase, v1::Phase::Command { bytes: Vec::new() }));
    check_bits(&state)?;
    check_progress(&state, &phase, &fdc.clock)?;
    check_drives(&fdc.drives, &state.drives)?;
    for (own, saved) in fdc.drives.iter_mut().flatten().zip(state.drives.into_iter().flatten()) {
        let v1::Drive { cylinder, changed, rotation, deleted } = saved;
        (own.cylinder, own.changed, own.rotation) = (cylinder, changed, rotation);
        own.set_deleted(&deleted);
    }
    fdc.dor = Dor::from(state.dor);
    fdc.tdr = state.tdr;
    fdc.dsr = state.dsr;
    (fdc.read_toggle, fdc.write_toggle) = (state.read_toggle, state.write_toggle);
    fdc.specify = state.specify;
    fdc.config = Config::from(state.config);
    fdc.precompensation = state.precompensation;
    fdc.locked = state.locked;
    fdc.perpendicular = state.perpendicular;
    fdc.power_down = state.power_down;
    fdc.option = state.option;
    fdc.specifications = state.specifications;
    fdc.sectors_or_eot = state.sectors_or_eot;
    fdc.pcn = state.pcn;
    fdc.phase = phase;
    fdc.seeks = state.seeks.map(|seek| seek.map(|v1::Seek { due, st0 }| Seek { due, st0 }));
    fdc.seek_results = state.seek_results;
    fdc.polling_due = state.polling_due;
    fdc.reports = state.reports;
    let v1::Interrupts { polled, result, data } = state.interrupts;
    fdc.interrupts = Interrupts { polled, result, data };
    Ok(())
}
