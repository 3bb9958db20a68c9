//! Disks and CD drives at the IDE controller: `-hda` to `-hdd`, `-cdrom`, `-drive if=ide`, `-device ide-hd` and `ide-cd`.

use super::disk;
use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::config::{DeviceConfig, IDE_BUSES, IDE_PLACES, IdeDrive};

/// What a place of the controller is taken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A disk.
    Disk,
    /// A CD drive.
    Cdrom,
}

/// Where `-drive` puts something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The number of the place.
    pub index: Option<usize>,
    /// The channel.
    pub bus: Option<usize>,
    /// The place on the channel.
    pub unit: Option<usize>,
}

/// The places that are taken.
pub type Places = [bool; IDE_PLACES];

/// Why there is no place.
const NO_PLACE: &str = "the IDE controller has places for four devices, and all are taken: leave one out";

impl Media {
    /// The word that QEMU has for it in the id of a drive.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "hd",
            Self::Cdrom => "cd",
        }
    }

    /// The device in a place.
    pub fn device(self, drive: IdeDrive) -> DeviceConfig {
        match self {
            Self::Disk => DeviceConfig::IdeHd(drive),
            Self::Cdrom => DeviceConfig::IdeCd(drive),
        }
    }
}

impl Wish {
    /// The place that is wished for, or the first one that fits.
    ///
    /// # Errors
    /// There is no such place, or it is taken.
    pub fn place(self, taken: &Places) -> Result<usize, String> {
        let Self { index, bus, unit } = self;
        if index.is_some() && (bus.is_some() || unit.is_some()) {
            return Err("index says bus and unit: leave these out".into());
        }
        let wished = index.or_else(|| Some(2 * bus.unwrap_or(0) + unit?));
        let place = match (wished, bus) {
            (Some(place), _) => place,
            (None, Some(bus)) => {
                let free = (2 * bus..2 * bus + 2).find(|place| taken.get(*place) == Some(&false));
                free.ok_or_else(|| format!("both places on bus {bus} are taken"))?
            }
            (None, None) => taken.iter().position(|taken| !taken).ok_or(NO_PLACE)?,
        };
        match taken.get(place) {
            Some(false) => Ok(place),
            Some(true) => Err(format!(
                "there already is a drive with if=ide,index={place} (bus {}, unit {})",
                place / 2,
                place % 2
            )),
            None => Err(format!("if=ide has {IDE_PLACES} places, index 0 to {} on {IDE_BUSES} buses", IDE_PLACES - 1)),
        }
    }
}

/// The device of a `-device ide-hd` or `ide-cd`, which takes a place.
pub fn device(
    media: Media,
    id: Option<String>,
    list: &KeyValues,
    taken: &mut Places,
    origin: &Origin,
) -> Result<DeviceConfig, UsageError> {
    let bus = list.choice::<String>("bus").map(|bus| usize::from(bus == "ide.1"));
    let unit = list.number("unit");
    let wish = match (bus, unit) {
        // A unit without a bus is one of the first bus that has it free.
        (None, Some(unit)) => {
            let free = (0..IDE_BUSES).find(|bus| taken.get(2 * bus + unit) == Some(&false));
            Wish { bus: Some(free.unwrap_or(0)), unit: Some(unit), index: None }
        }
        (bus, unit) => Wish { bus, unit, index: None },
    };
    let place = wish.place(taken).map_err(|message| origin.error(message))?;
    taken[place] = true;
    let drive = match media {
        Media::Disk => Some(disk::contents(list, origin)?),
        Media::Cdrom => disk::medium(list, origin)?,
    };
    let drive = IdeDrive { id, ..IdeDrive::new(place, drive) };
    Ok(media.device(properties(media, drive, list, origin)?))
}

/// The same device with the properties that are given.
///
/// # Errors
/// It can't have one of them.
pub fn properties(media: Media, drive: IdeDrive, list: &KeyValues, origin: &Origin) -> Result<IdeDrive, UsageError> {
    let text = |key: &str| list.text(key).map(str::to_owned);
    let (cyls, heads, secs) = match media {
        Media::Disk => disk::geometry(list, origin)?.unwrap_or_default(),
        Media::Cdrom => (0, 0, 0),
    };
    if heads > 16 {
        return Err(origin.error("an IDE disk has 16 heads at most"));
    }
    let physical_block_size = match media {
        Media::Disk => disk::block_size(list, origin, "physical_block_size")?,
        Media::Cdrom => None,
    };
    let translation = list.choice::<String>("bios-chs-trans").filter(|word| word != "auto");
    Ok(IdeDrive {
        cyls,
        heads,
        secs,
        translation: translation.and_then(|_| list.choice("bios-chs-trans")),
        serial: text("serial"),
        model: text("model"),
        version: text("ver"),
        wwn: disk::world_wide_name(list, "wwn"),
        bootindex: list.number("bootindex"),
        rotation_rate: list.number("rotation_rate").unwrap_or(0),
        physical_block_size: physical_block_size.unwrap_or(drive.physical_block_size),
        write_cache: disk::write_cache(list),
        ..drive
    })
}
