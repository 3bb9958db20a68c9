//! Drives and what is in them, as monitors tell of them.

mod image;
mod stats;

use serde_json::{Map, Value, json};

pub use self::image::{DiscardsInfo, ImageInfo, NodeInfo, Qcow2Info, ThrottleInfo};
pub use self::stats::{StatsInfo, TallyInfo};
use crate::config::Throttle;

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveInfo {
    /// Its name, by which commands refer to it.
    pub id: String,
    /// The name was made up, and clients are not told of it.
    pub is_anonymous: bool,
    /// The device that has it.
    pub device: Option<DeviceInfo>,
    /// What is in it.
    pub medium: Option<MediumInfo>,
    /// What it has done so far.
    pub stats: StatsInfo,
}

/// A device that has a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The path of its object.
    pub object: String,
    /// Whether its errors can stop the machine, and if so, whether one has: QEMU's word for it.
    pub io_status: Option<&'static str>,
    /// Its medium can be changed.
    pub removable: bool,
    /// Its tray, if it has one.
    pub tray: Option<TrayInfo>,
}

/// The tray of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrayInfo {
    /// It is open.
    pub open: bool,
    /// The guest has locked it.
    pub locked: bool,
}

/// A medium in a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediumInfo {
    /// Its topmost node.
    pub node: NodeInfo,
    /// Writes are safe when they have been flushed; otherwise at once.
    pub write_back: bool,
    /// How much may be done in a second.
    pub throttle: ThrottleInfo,
}

/// Nodes of media, and what can be done to them by hand. An error leaves everything as it was.
pub trait Nodes {
    /// All that there are.
    fn nodes(&self) -> Vec<NodeInfo>;

    /// Adds a node that is described by QEMU's `BlockdevOptions`.
    ///
    /// # Errors
    /// They describe none, or it can't be opened.
    fn add(&self, options: Map<String, Value>) -> anyhow::Result<()>;

    /// Removes a node that was added, or defined by `-blockdev`.
    ///
    /// # Errors
    /// There is none of that name, or something uses it.
    fn remove(&self, name: &str) -> anyhow::Result<()>;

    /// Puts a node as a medium into the open tray of a drive.
    ///
    /// # Errors
    /// There is no such node, it is in use, or the drive has no open tray, or something in it.
    fn insert(&self, drive: &str, node: &str) -> anyhow::Result<()>;

    /// Makes the medium of a drive, or a node, longer or shorter, and tells the devices that have it.
    ///
    /// # Errors
    /// There is none of that name, or it can't be resized.
    fn resize(&self, target: &Target, size: u64) -> anyhow::Result<()>;

    /// Sets how much a drive may do in a second.
    ///
    /// # Errors
    /// There is no medium in it.
    fn throttle(&self, drive: &str, throttle: Throttle) -> anyhow::Result<()>;
}

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What is in a drive.
    Drive(String),
    /// A node.
    Node(String),
}

impl DeviceInfo {
    /// What QEMU calls it: its id if it was given one, otherwise the path of its object.
    #[must_use]
    pub fn name(&self) -> &str {
        id_in(&self.object).unwrap_or(&self.object)
    }
}

impl DriveInfo {
    /// Its name, as clients are told of it.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.is_anonymous { "" } else { &self.id }
    }

    /// Whether a client means this one by the name of a device: an id, or the path of an object.
    #[must_use]
    pub fn belongs_to(&self, device: &str) -> bool {
        self.device.as_ref().is_some_and(|info| info.object == device || info.name() == device)
    }

    /// Its tray, if it has one.
    #[must_use]
    pub fn tray(&self) -> Option<TrayInfo> {
        self.device.as_ref()?.tray
    }

    /// As `info block` tells it.
    pub(super) fn text(&self, verbose: bool) -> String {
        let Self { id, is_anonymous, device, medium, .. } = self;
        let mut text = match medium {
            None if *is_anonymous => format!("{}: ", device.as_ref().map_or("<anonymous>", DeviceInfo::name)),
            None => format!("{id}: "),
            Some(MediumInfo { node, .. }) if *is_anonymous => format!("{}: ", node.name),
            Some(MediumInfo { node, .. }) => format!("{id} ({}): ", node.name),
        };
        let inserted = medium.as_ref().map(|medium| medium.node.text_with(&medium.throttle, medium.write_back));
        text += inserted.as_ref().map_or("[not inserted]", |(title, _)| title);
        text.push('\n');
        if let Some(device) = device {
            text += &format!("    Attached to:      {}\n", device.name());
            if device.removable {
                let locked = if device.tray.is_some_and(|tray| tray.locked) { "locked" } else { "not locked" };
                let open = if device.tray.is_some_and(|tray| tray.open) { "open" } else { "closed" };
                text += &format!("    Removable device: {locked}, tray {open}\n");
            }
        }
        text += inserted.as_ref().map_or("", |(_, rest)| rest);
        if let Some(MediumInfo { node, .. }) = medium.as_ref().filter(|_| verbose) {
            text += &format!("\nImages:\n{}", node.image.text());
        }
        text
    }

    /// As `query-block` tells it.
    pub(super) fn json(&self) -> Value {
        let locked = self.tray().is_some_and(|tray| tray.locked);
        let removable = self.device.as_ref().is_some_and(|device| device.removable);
        let mut json = json!({ "device": self.name(), "locked": locked, "removable": removable, "type": "unknown" });
        if let Some(device) = &self.device {
            json["qdev"] = device.name().into();
            if let Some(status) = device.io_status {
                json["io-status"] = status.into();
            }
            if let Some(tray) = device.tray {
                json["tray_open"] = tray.open.into();
            }
        }
        if let Some(MediumInfo { node, write_back, throttle }) = &self.medium {
            json["inserted"] = node.json_with(throttle, *write_back, false);
        }
        json
    }

    /// As `query-blockstats` tells it.
    pub(super) fn stats_json(&self) -> Value {
        let mut json = json!({ "device": self.name(), "stats": self.stats.json() });
        if let Some(device) = &self.device {
            json["qdev"] = device.name().into();
        }
        if let Some(MediumInfo { node, .. }) = &self.medium {
            json["node-name"] = node.name.as_str().into();
            node.add_stats_below(&mut json, true);
        }
        json
    }

    /// As `info blockstats` tells it.
    pub(super) fn stats_text(&self) -> String {
        format!("{}: {}\n", self.name(), self.stats.text())
    }
}

/// The id of the device of an object, if it was given one.
pub fn id_in(object: &str) -> Option<&str> {
    object.strip_prefix("/machine/peripheral/").filter(|id| !id.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DetectZeroes, Limit, ThrottleLimits};

    fn drive(id: &str, device: DeviceInfo, medium: Option<MediumInfo>) -> DriveInfo {
        DriveInfo { id: id.into(), is_anonymous: false, device: Some(device), medium, stats: StatsInfo::default() }
    }

    fn medium() -> MediumInfo {
        let base = ImageInfo {
            file_name: "a.raw".into(),
            format: "raw",
            virtual_size: 1 << 20,
            actual_size: 0,
            qcow2: None,
            backing: None,
        };
        let qcow2 = Qcow2Info {
            version: 3,
            cluster_size: 65536,
            refcount_bits: 16,
            lazy_refcounts: false,
            corrupt: false,
            backing: Some(("a.raw".into(), Some("raw".into()))),
        };
        let image = ImageInfo {
            file_name: "top.qcow2".into(),
            format: "qcow2",
            actual_size: 200_704,
            qcow2: Some(qcow2),
            backing: Some(Box::new(base.clone())),
            ..base
        };
        let limits =
            ThrottleLimits { bps_total: Limit { average: 1_000_000, max: 0, max_length: 1 }, ..Default::default() };
        MediumInfo {
            node: NodeInfo {
                name: "#block118".into(),
                read_only: false,
                direct: true,
                no_flush: false,
                detect_zeroes: DetectZeroes::Unmap,
                image,
                highest_written: 0,
                discards: None,
                file: None,
                backing: None,
            },
            write_back: true,
            throttle: ThrottleInfo { limits, group: Some("gg".into()) },
        }
    }

    /// What QEMU 7.2 says of `-drive file=top.qcow2,if=none,id=d,cache=none,discard=unmap,detect-zeroes=unmap,
    /// throttling.bps-total=1000000,throttling.group=gg -device virtio-blk-pci,drive=d,id=vb -device ide-cd,id=cd`.
    #[test]
    fn drives_are_told_as_qemu_tells_them() {
        let device = DeviceInfo {
            object: "/machine/peripheral/vb/virtio-backend".into(),
            io_status: Some("ok"),
            removable: false,
            tray: None,
        };
        let disk = drive("d", device, Some(medium()));
        let image = json!({
            "backing-image": {
                "virtual-size": 1_048_576, "filename": "a.raw", "format": "raw", "actual-size": 0,
                "dirty-flag": false,
            },
            "backing-filename-format": "raw", "virtual-size": 1_048_576, "filename": "top.qcow2",
            "cluster-size": 65536, "format": "qcow2", "actual-size": 200_704,
            "full-backing-filename": "a.raw", "backing-filename": "a.raw", "dirty-flag": false,
            "format-specific": {
                "type": "qcow2",
                "data": {
                    "compat": "1.1", "compression-type": "zlib", "lazy-refcounts": false, "refcount-bits": 16,
                    "corrupt": false, "extended-l2": false,
                },
            },
        });
        assert_eq!(
            disk.json(),
            json!({
                "io-status": "ok", "device": "d", "locked": false, "removable": false, "type": "unknown",
                "qdev": "/machine/peripheral/vb/virtio-backend",
                "inserted": {
                    "iops_rd": 0, "detect_zeroes": "unmap", "iops_wr": 0, "group": "gg", "ro": false, "node-name": "#block118",
                    "backing_file_depth": 1, "drv": "qcow2", "iops": 0, "bps_wr": 0, "write_threshold": 0,
                    "backing_file": "a.raw", "encrypted": false, "bps": 1_000_000, "bps_rd": 0, "file": "top.qcow2",
                    "cache": { "no-flush": false, "direct": true, "writeback": true },
                    "image": image,
                },
            })
        );
        let text = "d (#block118): top.qcow2 (qcow2)\n    Attached to:      /machine/peripheral/vb/virtio-backend\n    \
                    Cache mode:       writeback, direct\n    Backing file:     a.raw (chain depth: 1)\n    \
                    Detect zeroes:    unmap\n    I/O throttling:   bps=1000000 bps_rd=0 bps_wr=0 bps_max=0 bps_rd_max=0 \
                    bps_wr_max=0 iops=0 iops_rd=0 iops_wr=0 iops_max=0 iops_rd_max=0 iops_wr_max=0 iops_size=0 group=gg\n";
        assert_eq!(disk.text(false), text);
        let images = "\nImages:\nimage: top.qcow2\nfile format: qcow2\nvirtual size: 1 MiB (1048576 bytes)\n\
                      disk size: 196 KiB\ncluster_size: 65536\nbacking file: a.raw\nbacking file format: raw\n\
                      Format specific information:\n    compat: 1.1\n    compression type: zlib\n    lazy refcounts: false\n    \
                      refcount bits: 16\n    corrupt: false\n    extended l2: false\nimage: a.raw\nfile format: raw\n\
                      virtual size: 1 MiB (1048576 bytes)\ndisk size: 0 B\n";
        assert_eq!(disk.text(true), format!("{text}{images}"));
        let flat = disk.medium.unwrap().node.json(true);
        assert!(flat["image"].get("backing-image").is_none() && flat["backing_file"] == "a.raw", "{flat}");

        let tray = Some(TrayInfo { open: false, locked: false });
        let object = "/machine/peripheral/cd".to_owned();
        let cd = drive("cd", DeviceInfo { object, io_status: Some("ok"), removable: true, tray }, None);
        let cd = DriveInfo { is_anonymous: true, ..cd };
        assert_eq!(
            cd.json(),
            json!({
                "io-status": "ok", "device": "", "locked": false, "removable": true, "qdev": "cd", "tray_open": false,
                "type": "unknown",
            })
        );
        let text = "cd: [not inserted]\n    Attached to:      cd\n    Removable device: not locked, tray closed\n";
        assert_eq!(cd.text(true), text);
        assert!(cd.belongs_to("cd") && cd.belongs_to("/machine/peripheral/cd") && !cd.belongs_to("floppy0"));
    }
}
