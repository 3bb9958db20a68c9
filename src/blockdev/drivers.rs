//! What each driver is told.

use nix::libc;
use serde_json::Value;

use super::fields::{Fields, Style};
use super::{Detail, Inherited, Reader, Result, unknown_driver};
use crate::config::{
    Access, Aio, Backing, Blkdebug, BlkdebugConfig, BlkdebugEvent, FileKind, InjectError, NBD_PORT, NbdConfig,
    NbdServer, NodeConfig, NodeDriver, NullConfig, SetState,
};

/// The drivers there are.
pub const NAMES: [&str; 11] =
    ["file", "host_device", "host_cdrom", "raw", "qcow2", "vmdk", "nbd", "null-co", "null-aio", "blkdebug", "throttle"];

/// Whether a driver is nothing but a file.
pub fn is_of_files(name: &str) -> bool {
    matches!(name, "file" | "host_device" | "host_cdrom")
}

/// What to do without a driver of QEMU's; `None`: it has no such driver either.
pub fn instead_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "qcow" | "qed" | "vdi" | "vpc" | "vhdx" | "parallels" | "bochs" | "cloop" | "dmg" => {
            "convert the image with 'qemu-img convert -O qcow2', and use driver=qcow2 (format=qcow2)"
        }
        "luks" => "natoma does not decrypt; qemu-nbd can, and driver=nbd reads what it exports",
        "vvfat" => "make an image of the directory with mtools",
        "http" | "https" | "ftp" | "ftps" | "iscsi" | "rbd" | "ssh" | "nfs" | "gluster" => {
            "export it with qemu-nbd, and use driver=nbd"
        }
        "nvme" => "leave the device to the host, and use driver=host_device",
        "copy-on-read" => "images are read where they are; copy the base with 'qemu-img rebase' beforehand",
        "quorum" | "replication" | "blkverify" | "blklogwrites" | "blkreplay" => {
            "keep one copy, and have the host mirror it"
        }
        "compress" => "have 'qemu-img convert -c' compress the image",
        "preallocate" => "allocate the image beforehand, with fallocate say",
        "copy-before-write" | "snapshot-access" => "there are no backup jobs",
        "io_uring" | "nvme-io_uring" | "virtio-blk-vfio-pci" | "virtio-blk-vhost-user" | "virtio-blk-vhost-vdpa" => {
            "open the device of the host with driver=host_device"
        }
        _ => return None,
    })
}

/// By what means requests reach the host.
pub fn aio(fields: &mut Fields) -> Result<Option<Aio>> {
    fields.word("aio", &[("threads", Aio::Threads), ("native", Aio::Native), ("io_uring", Aio::IoUring)])
}

impl Reader {
    /// What a node is by the name of its driver; `node` is all else that was said of it.
    pub(super) fn driver(self, name: &str, fields: &mut Fields, node: &mut NodeConfig) -> Result<NodeDriver> {
        Ok(match name {
            "" => NodeDriver::Probed { file: self.child(fields, "file", node)? },
            "file" if self.detail == Detail::AsNeeded => self.file_for(fields, node, FileKind::Any)?,
            "file" => self.file_for(fields, node, FileKind::Regular)?,
            "host_device" => self.file_for(fields, node, FileKind::Device)?,
            "host_cdrom" => self.file_for(fields, node, FileKind::Cdrom)?,
            "raw" => NodeDriver::Raw {
                offset: fields.size("offset")?.unwrap_or(0),
                size: fields.size("size")?,
                file: self.child(fields, "file", node)?,
            },
            "qcow2" => {
                qcow2_keys(fields)?;
                NodeDriver::Qcow2 { backing: self.backing(fields, node)?, file: self.child(fields, "file", node)? }
            }
            "vmdk" => {
                fields.refuse("backing", &[], "vmdk images over other images are not read")?;
                NodeDriver::Vmdk { file: self.child(fields, "file", node)? }
            }
            "nbd" => NodeDriver::Nbd(nbd(fields)?),
            "null-co" | "null-aio" => NodeDriver::Null(null(fields)?),
            "blkdebug" => NodeDriver::Blkdebug(self.blkdebug(fields, node)?),
            "throttle" => {
                let group = fields.text("throttle-group")?;
                NodeDriver::Throttle {
                    group: fields.must("throttle-group", group)?,
                    file: self.child(fields, "file", node)?,
                }
            }
            other => return Err(unknown_driver(fields, other)),
        })
    }

    fn file_for(self, fields: &mut Fields, node: &NodeConfig, kind: FileKind) -> Result<NodeDriver> {
        let driver = self.file(fields, kind)?;
        match &driver {
            NodeDriver::File(file) if file.aio == Aio::Native && !node.direct => Err(format!(
                "aio=native was specified for '{}', but it requires cache.direct=on, which was not specified: aio=io_uring and \
                 aio=threads do without",
                file.path.display()
            )),
            _ => Ok(driver),
        }
    }

    fn backing(self, fields: &mut Fields, node: &NodeConfig) -> Result<Backing> {
        let inherited = Inherited { access: Access::ReadOnly, discard: false, ..Inherited::below(node, self.aio) };
        Ok(match fields.take("backing") {
            None => Backing::AsTheImageSays,
            Some(Value::Null) => Backing::Nothing,
            // key=value has no null.
            Some(Value::String(name)) if name.is_empty() => Backing::Nothing,
            Some(Value::Object(mut options)) if self.detail == Detail::AsNeeded => {
                // A file without a format is an image of some format.
                if !options.contains_key("driver") && !options.contains_key("file") {
                    let file = std::mem::take(&mut options);
                    options.insert("file".into(), file.into());
                }
                Backing::Node(self.child_of(fields, "backing", options.into(), inherited)?)
            }
            Some(value) => Backing::Node(self.child_of(fields, "backing", value, inherited)?),
        })
    }

    fn blkdebug(self, fields: &mut Fields, node: &NodeConfig) -> Result<Blkdebug> {
        for key in [
            "align",
            "max-transfer",
            "opt-write-zero",
            "max-write-zero",
            "opt-discard",
            "max-discard",
            "take-child-perms",
        ] {
            fields.refuse(key, &[], "natoma's blkdebug has rules only")?;
        }
        fields.refuse("unshare-child-perms", &[], "natoma's blkdebug has rules only")?;
        let rules_file = fields.text("config")?.filter(|path| !path.is_empty()).map(Into::into);
        let inject_error = fields.list("inject-error")?.into_iter().map(inject_error).collect::<Result<_>>()?;
        let set_state = fields.list("set-state")?.into_iter().map(set_state).collect::<Result<_>>()?;
        let rules = BlkdebugConfig { inject_error, set_state };
        Ok(Blkdebug { rules_file, rules, image: self.child(fields, "image", node)? })
    }
}

/// What QEMU's qcow2 can be told beside.
fn qcow2_keys(fields: &mut Fields) -> Result<()> {
    fields.refuse("lazy-refcounts", &["on", "off"], "leave it out: reference counts are always up to date")?;
    fields.refuse("overlap-check", &["cached", "constant", "none"], "leave it out: the active tables are checked")?;
    // Without effect: as many tables are cached as imago wants to.
    for key in ["l2-cache-size", "l2-cache-entry-size", "refcount-cache-size", "cache-size"] {
        fields.size(key)?;
    }
    fields.number("cache-clean-interval")?;
    for key in ["pass-discard-request", "pass-discard-snapshot", "pass-discard-other"] {
        fields.refuse(key, &["on"], "leave it out: what is freed goes back to the host if discard=unmap says so")?;
    }
    fields.refuse("encrypt", &[], "natoma does not decrypt; qemu-nbd can, and driver=nbd reads what it exports")?;
    fields.refuse("data-file", &[], "convert the image with 'qemu-img convert -O qcow2', which puts the data into it")
}

fn nbd(fields: &mut Fields) -> Result<NbdConfig> {
    fields.refuse("tls-creds", &[], "natoma has no TLS: use a socket of this host, or a tunnel")?;
    fields.refuse("tls-hostname", &[], "natoma has no TLS: use a socket of this host, or a tunnel")?;
    fields.refuse("x-dirty-bitmap", &[], "natoma has no dirty bitmaps")?;
    fields.refuse("open-timeout", &["0"], "start the server first")?;
    // -drive has an old spelling of the address, without `server`.
    let of = fields.full("server");
    let mut server = fields.object("server")?;
    let mut take = |key: &'static str| match server.text(key)? {
        None if server.style() == Style::Words => fields.text(key),
        given => Ok(given),
    };
    let (kind, host, port, path) = (take("type")?, take("host")?, take("port")?, take("path")?);
    for key in ["to", "numeric", "ipv4", "ipv6", "keep-alive", "mptcp", "abstract", "tight"] {
        server.refuse(key, &["off"], "leave it out")?;
    }
    server.end("server")?;
    let server = match (kind.as_deref(), host, port, path) {
        (None | Some("unix"), None, None, Some(path)) => NbdServer::Unix(path.into()),
        (None | Some("inet"), Some(host), port, None) => NbdServer::Tcp {
            host,
            port: match port {
                None => NBD_PORT,
                Some(text) => text.parse().map_err(|_| format!("{of}.port: '{text}' is no port"))?,
            },
        },
        _ => {
            return Err(format!(
                "the driver 'nbd' needs {of}.type=inet,{of}.host=HOST[,{of}.port=PORT], or {of}.type=unix,{of}.path=SOCKET"
            ));
        }
    };
    let export = fields.text("export")?.unwrap_or_default();
    let delay = fields.number("reconnect-delay")?.unwrap_or(0);
    let reconnect_delay = u32::try_from(delay).map_err(|_| "reconnect-delay has at most 32 bits".to_owned())?;
    Ok(NbdConfig { server, export, reconnect_delay })
}

fn null(fields: &mut Fields) -> Result<NullConfig> {
    let usual = NullConfig::default();
    let config = NullConfig {
        size: fields.size("size")?.unwrap_or(usual.size),
        latency_ns: fields.number("latency-ns")?.unwrap_or(usual.latency_ns),
        read_zeroes: fields.flag("read-zeroes")?.unwrap_or(usual.read_zeroes),
    };
    if config.size == 0 || !config.size.is_multiple_of(512) || i64::try_from(config.size).is_err() {
        return Err(format!("{} is a multiple of 512, and not 0", fields.full("size")));
    }
    Ok(config)
}

fn inject_error(mut fields: Fields) -> Result<InjectError> {
    let event = fields.named("event")?;
    // -1 stands for any sector.
    let sector = match fields.take("sector") {
        None => None,
        Some(value) => match value.as_i64().or_else(|| value.as_str()?.parse().ok()) {
            Some(sector) => u64::try_from(sector).ok(),
            None => return Err(format!("Invalid parameter type for '{}', expected: integer", fields.full("sector"))),
        },
    };
    let rule = InjectError {
        event: fields.must("event", event)?,
        state: fields.number("state")?.unwrap_or(0),
        iotype: fields.named("iotype")?,
        errno: match fields.number("errno")? {
            None => libc::EIO,
            Some(number) => {
                i32::try_from(number).map_err(|_| format!("{}: no error has this number", fields.full("errno")))?
            }
        },
        sector,
        once: fields.flag("once")?.unwrap_or(false),
    };
    // What else there is to wait for in QEMU is over at once here.
    fields.flag("immediately")?;
    fields.end("a rule")?;
    Ok(rule)
}

fn set_state(mut fields: Fields) -> Result<SetState> {
    let event: Option<BlkdebugEvent> = fields.named("event")?;
    let new_state = fields.number("new_state")?;
    let rule = SetState {
        event: fields.must("event", event)?,
        state: fields.number("state")?.unwrap_or(0),
        new_state: fields.must("new_state", new_state)?,
    };
    fields.end("a rule")?;
    Ok(rule)
}
