//! Drives that are no files: NBD exports, null-co, and the filters blkdebug and throttle.

use std::path::PathBuf;

use crate::cli::error::{Origin, UsageError};
use crate::cli::keyval::KeyValues;
use crate::config::{Image, Limit, NBD_PORT, NbdConfig, NbdServer, NullConfig, Source, Throttle, ThrottleLimits};

/// What a name with a protocol stands for; `None`: it has none of these.
pub(super) fn by_protocol(name: &str, origin: &Origin) -> Result<Option<Image>, UsageError> {
    let error = |why: &str| origin.error(format_args!("{name}: {why}"));
    if let Some(rest) = name.strip_prefix("blkdebug:") {
        let (rules, file) = rest.split_once(':').ok_or_else(|| error("write blkdebug:RULES:FILE"))?;
        let mut image = super::block::named(file, origin)?;
        image.rules = (!rules.is_empty()).then(|| rules.into());
        return Ok(Some(image));
    }
    let source = if name.strip_prefix("null-co://").is_some_and(str::is_empty) {
        Source::Null(NullConfig::default())
    } else if let Some(rest) = name.strip_prefix("nbd+unix://") {
        Source::Nbd(unix_uri(rest).map_err(|why| error(&why))?)
    } else if let Some(rest) = name.strip_prefix("nbd://").or_else(|| name.strip_prefix("nbd+tcp://")) {
        Source::Nbd(tcp_uri(rest).map_err(|why| error(&why))?)
    } else if let Some(rest) = name.strip_prefix("nbd:") {
        Source::Nbd(old_name(rest).map_err(|why| error(&why))?)
    } else {
        return Ok(None);
    };
    Ok(Some(Image { source, ..Image::new(name) }))
}

/// The image that `file.driver` and its keys name, or change.
pub(super) fn with_keys(named: Option<Image>, list: &KeyValues, origin: &Origin) -> Result<Option<Image>, UsageError> {
    let driver = list.choice::<String>("file.driver");
    let mut image = match (driver.as_deref(), named) {
        (Some("nbd"), None) => Image { source: Source::Nbd(server(list, origin)?), ..Image::new("nbd") },
        (Some("null-co"), None) => Image { source: Source::Null(NullConfig::default()), ..Image::new("null-co://") },
        (Some(driver @ ("nbd" | "null-co")), Some(_)) => {
            return Err(origin.error(format_args!("file.driver={driver} is no file: leave file= out")));
        }
        (Some(_), None) => return Err(origin.error("file.driver=file needs file.filename=PATH")),
        (None, None) => return Ok(None),
        (_, Some(image)) => image,
    };
    let (mut of_nbd, mut of_null) = (None, None);
    match &mut image.source {
        Source::Nbd(nbd) => of_nbd = Some(nbd),
        Source::Null(null) => of_null = Some(null),
        Source::File => {}
    }
    for key in [
        "file.server.type",
        "file.server.host",
        "file.server.port",
        "file.server.path",
        "file.export",
        "file.reconnect-delay",
    ] {
        if list.get(key).is_some() && of_nbd.is_none() {
            return Err(origin.error(format_args!("{key} is for file.driver=nbd")));
        }
    }
    for key in ["file.size", "file.latency-ns", "file.read-zeroes"] {
        if list.get(key).is_some() && of_null.is_none() {
            return Err(origin.error(format_args!("{key} is for file=null-co://")));
        }
    }
    if let Some(nbd) = of_nbd {
        nbd.reconnect_delay = list.number("file.reconnect-delay").unwrap_or(nbd.reconnect_delay);
        if let Some(export) = list.text("file.export") {
            nbd.export = export.to_owned();
        }
    }
    if let Some(null) = of_null {
        null.size = list.size("file.size").unwrap_or(null.size);
        null.latency_ns = list.number("file.latency-ns").unwrap_or(null.latency_ns);
        null.read_zeroes = list.flag("file.read-zeroes").unwrap_or(null.read_zeroes);
        if null.size == 0 || !null.size.is_multiple_of(512) || i64::try_from(null.size).is_err() {
            return Err(origin.error("file.size is a multiple of 512, and not 0"));
        }
    }
    Ok(Some(image))
}

/// The server that keys name.
fn server(list: &KeyValues, origin: &Origin) -> Result<NbdConfig, UsageError> {
    let (host, path) = (list.text("file.server.host"), list.text("file.server.path"));
    let server = match (list.choice::<String>("file.server.type").as_deref(), host, path) {
        (None | Some("unix"), None, Some(path)) => NbdServer::Unix(path.into()),
        (None | Some("inet"), Some(host), None) => {
            NbdServer::Tcp { host: host.to_owned(), port: list.number("file.server.port").unwrap_or(NBD_PORT) }
        }
        _ => {
            let message = "file.driver=nbd needs file.server.type=inet,file.server.host=HOST[,file.server.port=PORT], or \
                           file.server.type=unix,file.server.path=SOCKET";
            return Err(origin.error(message));
        }
    };
    Ok(NbdConfig { server, export: String::new(), reconnect_delay: 0 })
}

/// `nbd:HOST:PORT` and `nbd:unix:PATH`, each with `:exportname=NAME` if need be.
fn old_name(name: &str) -> Result<NbdConfig, String> {
    let (server, export) = name.split_once(":exportname=").unwrap_or((name, ""));
    let server = match server.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => NbdServer::Unix(path.into()),
        Some(_) => return Err("the name of the socket is empty".into()),
        None => host_and_port(server)?,
    };
    Ok(NbdConfig { server, export: export.to_owned(), reconnect_delay: 0 })
}

/// What follows `nbd://`: `HOST[:PORT][/EXPORT]`.
fn tcp_uri(rest: &str) -> Result<NbdConfig, String> {
    let (server, export) = rest.split_once('/').unwrap_or((rest, ""));
    if export.contains('?') {
        return Err("a query (?...) is for nbd+unix".into());
    }
    Ok(NbdConfig { server: host_and_port(server)?, export: decoded(export)?, reconnect_delay: 0 })
}

/// What follows `nbd+unix://`: `/EXPORT?socket=PATH`.
fn unix_uri(rest: &str) -> Result<NbdConfig, String> {
    let (export, query) = rest.split_once('?').unwrap_or((rest, ""));
    let export = export.strip_prefix('/').filter(|_| !query.is_empty());
    let path = query.split('&').find_map(|part| part.strip_prefix("socket=")).filter(|path| !path.is_empty());
    let (Some(export), Some(path)) = (export, path) else {
        return Err("write nbd+unix:///EXPORT?socket=PATH".into());
    };
    Ok(NbdConfig {
        server: NbdServer::Unix(PathBuf::from(decoded(path)?)),
        export: decoded(export)?,
        reconnect_delay: 0,
    })
}

/// `HOST`, `HOST:PORT`, or with an address of IPv6 in brackets.
fn host_and_port(text: &str) -> Result<NbdServer, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("the name of the host is empty".into());
    }
    let port = match port {
        None => NBD_PORT,
        Some(port) => port.parse().map_err(|_| format!("'{port}' is no port"))?,
    };
    Ok(NbdServer::Tcp { host: host.to_owned(), port })
}

/// Text of a URI, in which `%xx` stands for a byte.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        let [Some(high), Some(low)] = digits else { return Err("% is followed by two hexadecimal digits".into()) };
        bytes.push(((high << 4) | low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".into())
}

/// What `throttling.*` says.
pub(super) fn throttle(list: &KeyValues, origin: &Origin) -> Result<Option<Throttle>, UsageError> {
    let limit = |name: &str| {
        let key = |suffix: &str| format!("throttling.{name}{suffix}");
        Limit {
            average: list.size(&key("")).unwrap_or(0),
            max: list.size(&key("-max")).unwrap_or(0),
            max_length: list.number(&key("-max-length")).unwrap_or(1),
        }
    };
    let limits = ThrottleLimits {
        bps_total: limit("bps-total"),
        bps_read: limit("bps-read"),
        bps_write: limit("bps-write"),
        iops_total: limit("iops-total"),
        iops_read: limit("iops-read"),
        iops_write: limit("iops-write"),
        iops_size: list.size("throttling.iops-size").unwrap_or(0),
    };
    limits.check().map_err(|why| origin.error(format_args!("throttling: {why}")))?;
    let group = list.text("throttling.group").map(str::to_owned);
    Ok((limits.is_limited() || group.is_some()).then_some(Throttle { group, limits }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> NbdServer {
        NbdServer::Tcp { host: host.into(), port }
    }

    #[test]
    fn names_of_exports_are_read_as_qemu_reads_them() {
        let origin = Origin::bare("-drive");
        for (name, server, export) in [
            ("nbd://host", tcp("host", NBD_PORT), ""),
            ("nbd://host:7/a%20b", tcp("host", 7), "a b"),
            ("nbd://[::1]:7/x/y", tcp("::1", 7), "x/y"),
            ("nbd+unix:///disk?socket=/run/a%3Fb", NbdServer::Unix("/run/a?b".into()), "disk"),
            ("nbd+unix:///?socket=s", NbdServer::Unix("s".into()), ""),
            ("nbd:localhost:10810", tcp("localhost", 10810), ""),
            ("nbd:h:1:exportname=a:b", tcp("h", 1), "a:b"),
            ("nbd:unix:/run/s:exportname=e", NbdServer::Unix("/run/s".into()), "e"),
        ] {
            let image = by_protocol(name, &origin).unwrap().unwrap();
            let expected = NbdConfig { server, export: export.into(), reconnect_delay: 0 };
            assert_eq!(image.source, Source::Nbd(expected), "{name}");
        }
        for name in
            ["nbd://", "nbd://h:x", "nbd://h/%2", "nbd+unix:///e", "nbd+unix://e?socket=s", "nbd:unix:", "blkdebug:x"]
        {
            assert!(by_protocol(name, &origin).is_err(), "{name}");
        }
        assert!(by_protocol("nbds.img", &origin).unwrap().is_none());
    }
}
