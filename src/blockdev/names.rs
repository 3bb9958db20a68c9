//! Names of images: files, and what QEMU writes in one word instead of options.

use serde_json::{Map, Value, json};

use super::{Result, nest};

/// Beginnings of names that are no files to QEMU.
const PROTOCOLS: [&str; 11] =
    ["nbds:", "fat:", "http:", "https:", "ftp:", "iscsi:", "rbd:", "ssh:", "nfs:", "gluster:", "blkverify:"];

/// The options behind `json:`.
pub fn json(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(options)) => nest(options.iter().map(|(name, value)| (name.as_str(), value.clone()))),
        Ok(_) => Err("json: is followed by an object: {\"driver\":...}".into()),
        Err(error) => Err(format!("Could not parse the JSON options: {error}")),
    }
}

/// The options that a name stands for.
pub fn options(name: &str) -> Result<Map<String, Value>> {
    let error = |why: &str| format!("{name}: {why}");
    let value = if let Some(text) = name.strip_prefix("json:") {
        return json(text);
    } else if let Some(rest) = name.strip_prefix("blkdebug:") {
        let (rules, file) = rest.split_once(':').ok_or_else(|| error("write blkdebug:RULES:FILE"))?;
        json!({ "driver": "blkdebug", "config": rules, "image": options(file)? })
    } else if name.strip_prefix("null-co://").is_some_and(str::is_empty) {
        json!({ "driver": "null-co" })
    } else if let Some(rest) = name.strip_prefix("nbd+unix://") {
        unix_uri(rest).map_err(|why| error(&why))?
    } else if let Some(rest) = name.strip_prefix("nbd://").or_else(|| name.strip_prefix("nbd+tcp://")) {
        tcp_uri(rest).map_err(|why| error(&why))?
    } else if let Some(rest) = name.strip_prefix("nbd:") {
        old_name(rest).map_err(|why| error(&why))?
    } else if let Some(protocol) = PROTOCOLS.iter().find(|protocol| name.starts_with(**protocol)) {
        return Err(format!(
            "natoma opens files and NBD exports only, and '{protocol}' is not supported; if it is the name of a file write \
             ./{protocol}..."
        ));
    } else {
        let path = name.strip_prefix("file:").unwrap_or(name);
        if path.is_empty() {
            return Err("the name of the file is empty".into());
        }
        json!({ "driver": "file", "filename": path })
    };
    match value {
        Value::Object(options) => Ok(options),
        _ => Ok(Map::new()),
    }
}

/// The options of an export.
fn export(server: Value, name: &str) -> Value {
    json!({ "driver": "nbd", "server": server, "export": name })
}

fn unix(path: &str) -> Value {
    json!({ "type": "unix", "path": path })
}

/// `nbd:HOST:PORT` and `nbd:unix:PATH`, each with `:exportname=NAME` if need be.
fn old_name(name: &str) -> Result<Value> {
    let (server, name) = name.split_once(":exportname=").unwrap_or((name, ""));
    let server = match server.strip_prefix("unix:") {
        Some("") => return Err("the name of the socket is empty".into()),
        Some(path) => unix(path),
        None => host_and_port(server)?,
    };
    Ok(export(server, name))
}

/// What follows `nbd://`: `HOST[:PORT][/EXPORT]`.
fn tcp_uri(rest: &str) -> Result<Value> {
    let (server, name) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains('?') {
        return Err("a query (?...) is for nbd+unix".into());
    }
    Ok(export(host_and_port(server)?, &decoded(name)?))
}

/// What follows `nbd+unix://`: `/EXPORT?socket=PATH`.
fn unix_uri(rest: &str) -> Result<Value> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = name.strip_prefix('/').filter(|_| !query.is_empty());
    let path = query.split('&').find_map(|part| part.strip_prefix("socket=")).filter(|path| !path.is_empty());
    let (Some(name), Some(path)) = (name, path) else {
        return Err("write nbd+unix:///EXPORT?socket=PATH".into());
    };
    Ok(export(unix(&decoded(path)?), &decoded(name)?))
}

/// `HOST`, `HOST:PORT`, or with an address of IPv6 in brackets.
fn host_and_port(text: &str) -> Result<Value> {
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
    let mut server = json!({ "type": "inet", "host": host });
    if let Some(port) = port {
        port.parse::<u16>().map_err(|_| format!("'{port}' is no port"))?;
        server["port"] = port.into();
    }
    Ok(server)
}

/// Text of a URI, in which `%xx` stands for a byte.
fn decoded(text: &str) -> Result<String> {
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
