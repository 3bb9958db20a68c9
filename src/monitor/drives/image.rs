//! Nodes and images, as monitors tell of them: QEMU's `BlockDeviceInfo` and `ImageInfo`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::StatsInfo;
use crate::config::{DetectZeroes, Limit, ThrottleLimits};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// The guest may not write to it.
    pub read_only: bool,
    /// The host's cache is passed by.
    pub direct: bool,
    /// Flushes do nothing.
    pub no_flush: bool,
    /// What becomes of writes of nothing but zeroes.
    pub detect_zeroes: DetectZeroes,
    /// What it is.
    pub image: ImageInfo,
    /// The end of what was written to it, as far as it goes.
    pub highest_written: u64,
    /// What of a file is discarded.
    pub discards: Option<DiscardsInfo>,
    /// The node that holds its data.
    pub file: Option<Box<NodeInfo>>,
    /// The node of the image that it is made over.
    pub backing: Option<Box<NodeInfo>>,
}

/// What of a file, or of a block device, was discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardsInfo {
    /// Requests that were carried out.
    pub operations: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// An image, with those that it is made over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// What it is of.
    pub file_name: String,
    /// The driver.
    pub format: &'static str,
    /// Bytes that the guest sees.
    pub virtual_size: u64,
    /// Bytes that it takes on the host.
    pub actual_size: u64,
    /// What there is to say of a qcow2 image.
    pub qcow2: Option<Qcow2Info>,
    /// The image that it is made over.
    pub backing: Option<Box<ImageInfo>>,
}

/// What there is to say of a qcow2 image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2Info {
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// Bytes of a cluster.
    pub cluster_size: u64,
    /// Bits of a reference count.
    pub refcount_bits: u32,
    /// Reference counts may be out of date while it is open.
    pub lazy_refcounts: bool,
    /// It is marked as damaged.
    pub corrupt: bool,
    /// The image that it is made over by the name in it, and its format if that is there too.
    pub backing: Option<(String, Option<String>)>,
}

/// The limits of a drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThrottleInfo {
    /// The limits.
    pub limits: ThrottleLimits,
    /// The group that shares them, if there are any.
    pub group: Option<String>,
}

/// The limits by QEMU's names here.
fn limits(limits: &ThrottleLimits) -> [(&'static str, &Limit); 6] {
    [
        ("bps", &limits.bps_total),
        ("bps_rd", &limits.bps_read),
        ("bps_wr", &limits.bps_write),
        ("iops", &limits.iops_total),
        ("iops_rd", &limits.iops_read),
        ("iops_wr", &limits.iops_write),
    ]
}

/// QEMU's word.
fn word(detect_zeroes: DetectZeroes) -> &'static str {
    match detect_zeroes {
        DetectZeroes::Off => "off",
        DetectZeroes::On => "on",
        DetectZeroes::Unmap => "unmap",
    }
}

impl NodeInfo {
    /// As `query-named-block-nodes` tells it; `flat`: without the images that it is made over.
    #[must_use]
    pub fn json(&self, flat: bool) -> Value {
        self.json_with(&ThrottleInfo::default(), true, flat)
    }

    /// As `query-blockstats` tells it; `chain`: with the image that it is made over. Requests are counted where devices make them.
    #[must_use]
    pub fn stats_json(&self, chain: bool) -> Value {
        let mut json = json!({ "node-name": self.name, "stats": StatsInfo::of_node(self.highest_written) });
        if let Some(DiscardsInfo { operations, bytes, failed }) = self.discards {
            json["driver-specific"] = json!({
                "driver": self.image.format, "discard-nb-ok": operations, "discard-nb-failed": failed, "discard-bytes-ok": bytes,
            });
        }
        self.add_stats_below(&mut json, chain);
        json
    }

    /// Adds what is told of those below it.
    pub(super) fn add_stats_below(&self, json: &mut Value, chain: bool) {
        if let Some(file) = &self.file {
            json["parent"] = file.stats_json(chain);
        }
        if let Some(backing) = self.backing.as_ref().filter(|_| chain) {
            json["backing"] = backing.stats_json(chain);
        }
    }

    /// As `query-block` tells it, in a drive with these limits, whose writes are safe when they have been flushed
    /// (`write_back`).
    pub(super) fn json_with(&self, throttle: &ThrottleInfo, write_back: bool, flat: bool) -> Value {
        let Self { name, read_only, direct, no_flush, detect_zeroes, image, .. } = self;
        let mut json = json!({
            "file": image.file_name,
            "node-name": name,
            "drv": image.format,
            "ro": read_only,
            "encrypted": false,
            "backing_file_depth": if flat { 0 } else { image.depth() },
            "detect_zeroes": word(*detect_zeroes),
            "write_threshold": 0,
            "cache": { "writeback": write_back, "direct": direct, "no-flush": no_flush },
            "image": image.json(flat),
        });
        if let Some(backing) = image.backing_name() {
            json["backing_file"] = backing.into();
        }
        for (name, Limit { average, max, max_length }) in limits(&throttle.limits) {
            json[name] = (*average).into();
            if *max > 0 {
                json[format!("{name}_max")] = (*max).into();
                json[format!("{name}_max_length")] = (*max_length).into();
            }
        }
        if throttle.limits.iops_size > 0 {
            json["iops_size"] = throttle.limits.iops_size.into();
        }
        if let Some(group) = &throttle.group {
            json["group"] = group.as_str().into();
        }
        json
    }

    /// As `info block -n` tells it.
    #[must_use]
    pub fn text(&self, verbose: bool) -> String {
        let (title, text) = self.text_with(&ThrottleInfo::default(), true);
        let images = if verbose { format!("\nImages:\n{}", self.image.text()) } else { String::new() };
        format!("{}: {title}\n{text}{images}", self.name)
    }

    /// The rest of the first line of `info block`, and the lines of what is in the drive.
    pub(super) fn text_with(&self, throttle: &ThrottleInfo, write_back: bool) -> (String, String) {
        let Self { read_only, direct, no_flush, detect_zeroes, image, .. } = self;
        let protected = if *read_only { ", read-only" } else { "" };
        let title = format!("{} ({}{protected})", image.file_name, image.format);
        let mode = if write_back { "writeback" } else { "writethrough" };
        let direct = if *direct { ", direct" } else { "" };
        let no_flush = if *no_flush { ", ignore flushes" } else { "" };
        let mut text = format!("    Cache mode:       {mode}{direct}{no_flush}\n");
        // Writing to a String can't fail.
        if let Some(backing) = image.backing_name() {
            let _ = writeln!(text, "    Backing file:     {backing} (chain depth: {})", image.depth());
        }
        if *detect_zeroes != DetectZeroes::Off {
            let _ = writeln!(text, "    Detect zeroes:    {}", word(*detect_zeroes));
        }
        if throttle.limits.is_limited() {
            let mut text_of_limits = String::new();
            let all = limits(&throttle.limits);
            for half in [&all[..3], &all[3..]] {
                half.iter().for_each(|(name, limit)| {
                    let _ = write!(text_of_limits, " {name}={}", limit.average);
                });
                half.iter().for_each(|(name, limit)| {
                    let _ = write!(text_of_limits, " {name}_max={}", limit.max);
                });
            }
            let group = throttle.group.as_deref().unwrap_or_default();
            let size = throttle.limits.iops_size;
            let _ = writeln!(text, "    I/O throttling:  {text_of_limits} iops_size={size} group={group}");
        }
        (title, text)
    }
}

impl ImageInfo {
    /// How many images it is made over.
    fn depth(&self) -> u64 {
        self.backing.as_ref().map_or(0, |backing| 1 + backing.depth())
    }

    /// The image that it is made over by the name that there is.
    fn backing_name(&self) -> Option<&str> {
        let named = self.qcow2.as_ref().and_then(|qcow2| qcow2.backing.as_ref()).map(|(name, _)| name.as_str());
        self.backing.as_ref().map(|backing| named.unwrap_or(&backing.file_name))
    }

    /// As part of the answers to queries; `flat`: without the images that it is made over.
    fn json(&self, flat: bool) -> Value {
        let Self { file_name, format, virtual_size, actual_size, qcow2, backing } = self;
        let mut json = json!({
            "filename": file_name,
            "format": format,
            "virtual-size": virtual_size,
            "actual-size": actual_size,
            "dirty-flag": false,
        });
        if let Some(Qcow2Info { version, cluster_size, refcount_bits, lazy_refcounts, corrupt, backing: named }) = qcow2
        {
            json["cluster-size"] = (*cluster_size).into();
            let mut data = json!({
                "compat": if *version == 2 { "0.10" } else { "1.1" },
                "refcount-bits": refcount_bits,
                "compression-type": "zlib",
            });
            if *version > 2 {
                data["lazy-refcounts"] = (*lazy_refcounts).into();
                data["corrupt"] = (*corrupt).into();
                data["extended-l2"] = false.into();
            }
            json["format-specific"] = json!({ "type": "qcow2", "data": data });
            if let Some((name, format)) = named {
                json["backing-filename"] = name.as_str().into();
                if let Some(format) = format {
                    json["backing-filename-format"] = format.as_str().into();
                }
                if let Some(backing) = backing {
                    json["full-backing-filename"] = backing.file_name.as_str().into();
                }
            }
        }
        if let Some(backing) = backing.as_ref().filter(|_| !flat) {
            json["backing-image"] = backing.json(false);
        }
        json
    }

    /// As `info block -v` tells it, with the images that it is made over.
    pub(super) fn text(&self) -> String {
        let Self { file_name, format, virtual_size, actual_size, qcow2, backing } = self;
        let mut text = format!(
            "image: {file_name}\nfile format: {format}\nvirtual size: {} ({virtual_size} bytes)\ndisk size: {}\n",
            size(*virtual_size),
            size(*actual_size)
        );
        // Writing to a String can't fail.
        if let Some(Qcow2Info { version, cluster_size, refcount_bits, lazy_refcounts, corrupt, backing: named }) = qcow2
        {
            let _ = writeln!(text, "cluster_size: {cluster_size}");
            if let Some((name, format)) = named {
                let full = backing.as_ref().map(|backing| backing.file_name.as_str()).filter(|full| full != name);
                let full = full.map(|full| format!(" (actual path: {full})")).unwrap_or_default();
                let _ = writeln!(text, "backing file: {name}{full}");
                if let Some(format) = format {
                    let _ = writeln!(text, "backing file format: {format}");
                }
            }
            let compat = if *version == 2 { "0.10" } else { "1.1" };
            let _ = writeln!(text, "Format specific information:\n    compat: {compat}\n    compression type: zlib");
            if *version > 2 {
                let _ = writeln!(text, "    lazy refcounts: {lazy_refcounts}");
            }
            let _ = writeln!(text, "    refcount bits: {refcount_bits}");
            if *version > 2 {
                let _ = writeln!(text, "    corrupt: {corrupt}\n    extended l2: false");
            }
        }
        if let Some(backing) = backing {
            text += &backing.text();
        }
        text
    }
}

/// A size as QEMU writes it for people: three digits that count, and a binary unit.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // From 1000 on the next unit is used, so that three digits do.
    let unit = (0..UNITS.len() - 1).find(|unit| (bytes >> (10 * unit)) < 1000).unwrap_or(UNITS.len() - 1);
    let number = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    let digits = match number {
        _ if number >= 100.0 => 0,
        _ if number >= 10.0 => 1,
        _ if number >= 1.0 || bytes == 0 => 2,
        _ => 3,
    };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `qemu-img info` of 7.2 writes them.
    #[test]
    fn sizes_are_written_as_qemu_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (999, "999 B"),
            (1000, "0.977 KiB"),
            (200_704, "196 KiB"),
            (1 << 20, "1 MiB"),
            (1_474_560, "1.41 MiB"),
            (20 << 30, "20 GiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}
