//! What a logical unit says it is: INQUIRY and the vital product data (SPC-4, 6.4 and 7.8; SBC-3, 6.6).

use super::{Cdb, Outcome, Sense, padded};

/// Length of the standard data.
const STANDARD: u8 = 36;
/// Pages of vital product data.
mod page {
    pub const SUPPORTED: u8 = 0x00;
    pub const SERIAL: u8 = 0x80;
    pub const IDENTIFICATION: u8 = 0x83;
    pub const BLOCK_LIMITS: u8 = 0xb0;
    pub const BLOCK_CHARACTERISTICS: u8 = 0xb1;
    pub const PROVISIONING: u8 = 0xb2;
}
/// Longest serial number and name of a unit.
const LONGEST_SERIAL: usize = 36;
const LONGEST_ID: usize = 247;

/// Names of a unit. Texts that are too long are cut off; what is not ASCII becomes a question mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor, up to 8 characters.
    pub vendor: String,
    /// Product, up to 16 characters.
    pub product: String,
    /// Revision, up to 4 characters.
    pub revision: String,
    /// Serial number, up to 36 characters.
    pub serial: Option<String>,
    /// A name that only means something together with the vendor.
    pub device_id: String,
    /// World wide name of the unit.
    pub wwn: Option<u64>,
    /// World wide name of the port that leads to it.
    pub port_wwn: Option<u64>,
    /// Number of that port; 0: it does not say.
    pub port_index: u16,
}

/// What a disk says beside its names.
pub(super) struct BlockPages {
    pub limits: Vec<u8>,
    pub characteristics: Vec<u8>,
    pub provisioning: Vec<u8>,
}

impl Identity {
    /// The answer to INQUIRY of a unit of the type `device_type`.
    pub(super) fn inquiry(
        &self,
        command: Cdb<'_>,
        device_type: u8,
        removable: bool,
        pages: Option<BlockPages>,
    ) -> Outcome {
        let (vital, page) = (command.byte(1) & 1 != 0, command.byte(2));
        let answer = match (vital, page) {
            (false, 0) => Some(self.standard(device_type, removable)),
            (true, page) => {
                let body = self.vital(page, pages);
                body.map(|body| [&[device_type, page][..], &(body.len() as u16).to_be_bytes(), &body].concat())
            }
            (false, _) => None,
        };
        answer.map_or(Outcome::Check(Sense::INVALID_FIELD), |answer| Outcome::data(answer, command.word(3)))
    }

    fn standard(&self, device_type: u8, removable: bool) -> Vec<u8> {
        // SPC-3; hierarchical addresses, the usual format; queues of commands.
        let head = vec![device_type, u8::from(removable) << 7, 0x05, 0x12, STANDARD - 5, 0, 0, 0x12];
        [head, padded(&self.vendor, 8), padded(&self.product, 16), padded(&self.revision, 4)].concat()
    }

    fn vital(&self, page: u8, pages: Option<BlockPages>) -> Option<Vec<u8>> {
        match (page, pages) {
            (page::SUPPORTED, pages) => {
                let mut list = vec![page::SUPPORTED];
                list.extend(self.serial.as_ref().map(|_| page::SERIAL));
                list.push(page::IDENTIFICATION);
                if pages.is_some() {
                    list.extend([page::BLOCK_LIMITS, page::BLOCK_CHARACTERISTICS, page::PROVISIONING]);
                }
                Some(list)
            }
            (page::SERIAL, _) => self.serial.as_ref().map(|serial| text(serial, LONGEST_SERIAL)),
            (page::IDENTIFICATION, _) => Some(self.identification()),
            (page::BLOCK_LIMITS, Some(pages)) => Some(pages.limits),
            (page::BLOCK_CHARACTERISTICS, Some(pages)) => Some(pages.characteristics),
            (page::PROVISIONING, Some(pages)) => Some(pages.provisioning),
            _ => None,
        }
    }

    fn identification(&self) -> Vec<u8> {
        let mut designators = Vec::new();
        let mut designator = |kind: [u8; 2], value: &[u8]| {
            designators.extend_from_slice(&[kind[0], kind[1], 0, value.len() as u8]);
            designators.extend_from_slice(value);
        };
        // ASCII, vendor specific.
        let id = text(&self.device_id, LONGEST_ID);
        if !id.is_empty() {
            designator([0x02, 0x00], &id);
        }
        // Binary, NAA: of the unit, and of the SAS port.
        if let Some(wwn) = self.wwn {
            designator([0x01, 0x03], &wwn.to_be_bytes());
        }
        if let Some(wwn) = self.port_wwn {
            designator([0x61, 0x93], &wwn.to_be_bytes());
        }
        if self.port_index > 0 {
            designator([0x61, 0x94], &u32::from(self.port_index).to_be_bytes());
        }
        designators
    }
}

/// A text without what fills it up.
fn text(text: &str, most: usize) -> Vec<u8> {
    padded(text, text.chars().count().min(most))
}
