//! SMART: attributes, thresholds, self-tests and logs of a disk that never wears out.

use serde::{Deserialize, Serialize};

use super::geometry::SECTOR;
use super::registers::error;
use super::task_file::TaskFile;

/// What has to be in the middle and high LBA registers.
const KEY: [u8; 2] = [0x4f, 0xc2];
/// Self-tests that are remembered.
const LOG_ENTRIES: usize = 21;
/// Bytes of an entry of the self-test log.
const LOG_ENTRY: usize = 24;

/// Subcommands, in the features register.
mod subcommand {
    pub const READ_DATA: u8 = 0xd0;
    pub const READ_THRESHOLDS: u8 = 0xd1;
    pub const AUTOSAVE: u8 = 0xd2;
    pub const SAVE_ATTRIBUTES: u8 = 0xd3;
    pub const EXECUTE_OFFLINE: u8 = 0xd4;
    pub const READ_LOG: u8 = 0xd5;
    pub const ENABLE: u8 = 0xd8;
    pub const DISABLE: u8 = 0xd9;
    pub const RETURN_STATUS: u8 = 0xda;
}

/// Logs, in the low LBA register.
mod log {
    pub const DIRECTORY: u8 = 0x00;
    pub const ERRORS: u8 = 0x01;
    pub const SELF_TESTS: u8 = 0x06;
}

/// An attribute: number, flags (1: it warns of failure, 2: it is kept up to date), value, threshold.
struct Attribute {
    id: u8,
    flags: u8,
    value: u8,
    threshold: u8,
}

const POWER_ON_HOURS: u8 = 9;

const ATTRIBUTES: [Attribute; 5] = [
    // Read errors.
    Attribute { id: 1, flags: 3, value: 100, threshold: 6 },
    // Times that the motor was started.
    Attribute { id: 4, flags: 2, value: 100, threshold: 20 },
    // Sectors that were replaced.
    Attribute { id: 5, flags: 3, value: 100, threshold: 36 },
    Attribute { id: POWER_ON_HOURS, flags: 2, value: 100, threshold: 0 },
    // Times that it was switched on.
    Attribute { id: 12, flags: 2, value: 100, threshold: 0 },
];

/// A self-test that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelfTest {
    /// What the low LBA register said.
    kind: u8,
    /// Hours that the disk had been on.
    hours: u16,
}

/// What SMART remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Smart {
    pub enabled: bool,
    autosave: bool,
    /// Newest last.
    tests: Vec<SelfTest>,
}

impl Default for Smart {
    fn default() -> Self {
        Self { enabled: true, autosave: true, tests: Vec::new() }
    }
}

/// What a subcommand gives.
pub(super) enum SmartReply {
    Done,
    Data(Vec<u8>),
}

impl Smart {
    /// Obeys a SMART command of a disk that has been on for `hours` hours.
    ///
    /// # Errors
    /// There is no such subcommand, log or test, or SMART is off: bits of the error register.
    pub fn command(&mut self, file: &TaskFile, hours: u64) -> Result<SmartReply, u8> {
        let [low, mid, high] = file.lba.map(|pair| pair.now);
        let feature = file.feature();
        if [mid, high] != KEY || (!self.enabled && feature != subcommand::ENABLE) {
            return Err(error::ABRT);
        }
        Ok(match feature {
            subcommand::READ_DATA => SmartReply::Data(self.data(hours)),
            subcommand::READ_THRESHOLDS => SmartReply::Data(thresholds()),
            subcommand::AUTOSAVE => {
                self.autosave = match file.count.now {
                    0x00 => false,
                    0xf1 => true,
                    _ => return Err(error::ABRT),
                };
                SmartReply::Done
            }
            // They are always safe.
            subcommand::SAVE_ATTRIBUTES => SmartReply::Done,
            subcommand::EXECUTE_OFFLINE => {
                self.test(low, hours)?;
                SmartReply::Done
            }
            subcommand::READ_LOG => SmartReply::Data(self.log(low, file.count.now)?),
            subcommand::ENABLE | subcommand::DISABLE => {
                self.enabled = feature == subcommand::ENABLE;
                SmartReply::Done
            }
            // All is well: the key stays as it is.
            subcommand::RETURN_STATUS => SmartReply::Done,
            _ => return Err(error::ABRT),
        })
    }

    /// Every test passes at once.
    fn test(&mut self, kind: u8, hours: u64) -> Result<(), u8> {
        match kind {
            // Collecting data, and ending a test: nothing is logged.
            0x00 | 0x7f => {}
            // Short and extended tests, in the background and while the host waits.
            0x01 | 0x02 | 0x81 | 0x82 => {
                if self.tests.len() == LOG_ENTRIES {
                    self.tests.remove(0);
                }
                self.tests.push(SelfTest { kind, hours: hours as u16 });
            }
            _ => return Err(error::ABRT),
        }
        Ok(())
    }

    fn data(&self, hours: u64) -> Vec<u8> {
        let mut data = vec![0; SECTOR];
        data[0] = 1;
        for (entry, attribute) in data[2..].chunks_exact_mut(12).zip(&ATTRIBUTES) {
            let raw = if attribute.id == POWER_ON_HOURS { hours } else { 0 };
            entry[0] = attribute.id;
            entry[1] = attribute.flags;
            [entry[3], entry[4]] = [attribute.value; 2];
            entry[5..11].copy_from_slice(&raw.to_le_bytes()[..6]);
        }
        // Data was collected and nothing went wrong; autosave in bit 7.
        data[362] = 0x02 | u8::from(self.autosave) << 7;
        // The last self-test passed, or there was none.
        data[363] = 0;
        data[364..366].copy_from_slice(&[0x20, 0x01]);
        // Off-line collection at once, and self-tests.
        data[367] = 0x01 | 0x10;
        // Attributes are saved before the power goes.
        data[368] = 0x03;
        // Minutes that the tests take.
        [data[372], data[373]] = [2, 54];
        with_checksum(data)
    }

    fn log(&self, number: u8, sectors: u8) -> Result<Vec<u8>, u8> {
        if sectors != 1 {
            return Err(error::ABRT);
        }
        let mut data = vec![0; SECTOR];
        match number {
            log::DIRECTORY => {
                data[0] = 1;
                for number in [log::ERRORS, log::SELF_TESTS] {
                    data[2 * usize::from(number)] = 1;
                }
                return Ok(data);
            }
            log::ERRORS => data[0] = 1,
            log::SELF_TESTS => {
                data[0] = 1;
                for (entry, test) in data[2..].chunks_exact_mut(LOG_ENTRY).zip(&self.tests) {
                    entry[0] = test.kind;
                    entry[2..4].copy_from_slice(&test.hours.to_le_bytes());
                }
                data[508] = self.tests.len() as u8;
            }
            _ => return Err(error::ABRT),
        }
        Ok(with_checksum(data))
    }

    /// Whether a saved one can be.
    pub fn is_possible(&self) -> bool {
        self.tests.len() <= LOG_ENTRIES
    }
}

fn thresholds() -> Vec<u8> {
    let mut data = vec![0; SECTOR];
    data[0] = 1;
    for (entry, attribute) in data[2..].chunks_exact_mut(12).zip(&ATTRIBUTES) {
        [entry[0], entry[1]] = [attribute.id, attribute.threshold];
    }
    with_checksum(data)
}

/// All bytes together are 0.
fn with_checksum(mut data: Vec<u8>) -> Vec<u8> {
    let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    data[SECTOR - 1] = sum.wrapping_neg();
    data
}
