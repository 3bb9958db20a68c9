//! Drives and what is in them, as monitors tell of them.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::CacheMode;

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveInfo {
    /// Its name.
    pub id: String,
    /// The device that has it, if its medium can be changed.
    pub removable: Option<Removable>,
    /// What is in it.
    pub medium: Option<MediumInfo>,
}

/// A device whose medium can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removable {
    /// The path of its object.
    pub object: String,
    /// Its tray, if it has one.
    pub tray: Option<TrayInfo>,
}

/// The tray of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrayInfo {
    /// The number by which events name the drive.
    pub number: u8,
    /// It is open.
    pub open: bool,
    /// The guest has locked it.
    pub locked: bool,
}

/// A medium in a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediumInfo {
    /// The image.
    pub path: PathBuf,
    /// The guest may not write to it.
    pub read_only: bool,
    /// What happens to its writes.
    pub cache: CacheMode,
    /// Bytes that the guest sees.
    pub size: u64,
    /// Bytes that it takes on the host.
    pub allocated: u64,
}

impl DriveInfo {
    /// Whether a client means this one by the name of a device: an id, or the path of an object.
    #[must_use]
    pub fn belongs_to(&self, device: &str) -> bool {
        let id = |Removable { object, .. }: &Removable| object == device || id_in(object) == Some(device);
        self.removable.as_ref().is_some_and(id)
    }

    /// Its tray, if it has one.
    #[must_use]
    pub fn tray(&self) -> Option<TrayInfo> {
        self.removable.as_ref()?.tray
    }

    /// As `info block` tells it.
    pub(super) fn text(&self) -> String {
        let Self { id, removable, medium } = self;
        let mut text = match medium {
            Some(MediumInfo { path, read_only, .. }) => {
                let read_only = if *read_only { ", read-only" } else { "" };
                format!("{id}: {} (raw{read_only})\n", path.display())
            }
            None => format!("{id}: [not inserted]\n"),
        };
        if let Some(Removable { object, tray }) = removable {
            let locked = if tray.is_some_and(|tray| tray.locked) { "locked" } else { "not locked" };
            let open = if tray.is_some_and(|tray| tray.open) { "open" } else { "closed" };
            text += &format!("    Attached to:      {object}\n    Removable device: {locked}, tray {open}\n");
        }
        if let Some(MediumInfo { cache, .. }) = medium {
            let CacheMode { writeback, direct, no_flush } = *cache;
            let mode = if writeback { "writeback" } else { "writethrough" };
            let direct = if direct { ", direct" } else { "" };
            let no_flush = if no_flush { ", ignore flushes" } else { "" };
            text += &format!("    Cache mode:       {mode}{direct}{no_flush}\n");
        }
        text
    }

    /// As `query-block` tells it.
    pub(super) fn json(&self) -> Value {
        let Self { id, removable, medium } = self;
        let locked = self.tray().is_some_and(|tray| tray.locked);
        let mut json = json!({ "device": id, "locked": locked, "removable": removable.is_some(), "type": "unknown" });
        if let Some(Removable { object, tray }) = removable {
            json["qdev"] = object.as_str().into();
            if let Some(tray) = tray {
                json["tray_open"] = tray.open.into();
                json["io-status"] = "ok".into();
            }
        }
        if let Some(MediumInfo { path, read_only, cache, size, allocated }) = medium {
            let path = path.display().to_string();
            json["inserted"] = json!({
                "file": path,
                "drv": "raw",
                "ro": read_only,
                "encrypted": false,
                "backing_file_depth": 0,
                "detect_zeroes": "off",
                "write_threshold": 0,
                "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0,
                "cache": {
                    "writeback": cache.writeback,
                    "direct": cache.direct,
                    "no-flush": cache.no_flush,
                },
                "image": {
                    "filename": path,
                    "format": "raw",
                    "virtual-size": size,
                    "actual-size": allocated,
                    "dirty-flag": false,
                },
            });
        }
        json
    }
}

/// The id of the device of an object, if it was given one.
pub(super) fn id_in(object: &str) -> Option<&str> {
    object.strip_prefix("/machine/peripheral/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of QEMU 7.2's answers.
    #[test]
    fn drives_are_told_as_qemu_tells_them() {
        let removable = Removable { object: "/machine/peripheral/a".into(), tray: None };
        let empty = DriveInfo { id: "floppy0".into(), removable: Some(removable.clone()), medium: None };
        assert_eq!(
            empty.json(),
            json!({
                "device": "floppy0", "locked": false, "removable": true, "type": "unknown",
                "qdev": "/machine/peripheral/a",
            })
        );
        assert!(empty.belongs_to("a") && empty.belongs_to("/machine/peripheral/a") && !empty.belongs_to("floppy0"));
        let medium = MediumInfo {
            path: "/tmp/vm.img".into(),
            read_only: true,
            cache: CacheMode::UNSAFE,
            size: 1_474_560,
            allocated: 4096,
        };
        let full = DriveInfo { medium: Some(medium), ..empty };
        let json = full.json();
        assert_eq!(json["inserted"]["cache"], json!({ "no-flush": true, "direct": false, "writeback": true }));
        assert_eq!(
            json["inserted"]["image"],
            json!({
                "virtual-size": 1_474_560, "filename": "/tmp/vm.img", "format": "raw", "actual-size": 4096,
                "dirty-flag": false,
            })
        );
        assert_eq!((&json["inserted"]["ro"], &json["inserted"]["drv"]), (&true.into(), &"raw".into()));
        assert!(full.text().starts_with("floppy0: /tmp/vm.img (raw, read-only)\n"), "{}", full.text());

        let tray = Some(TrayInfo { number: 2, open: true, locked: true });
        let cd = DriveInfo { id: "ide1-cd0".into(), removable: Some(Removable { tray, ..removable }), medium: None };
        assert_eq!(
            cd.json(),
            json!({
                "io-status": "ok", "device": "ide1-cd0", "locked": true, "removable": true,
                "qdev": "/machine/peripheral/a", "tray_open": true, "type": "unknown",
            })
        );
        assert!(cd.text().ends_with("    Removable device: locked, tray open\n"), "{}", cd.text());
    }
}
