//! Options of nodes, in all their spellings.

use serde_json::json;

use super::*;
use crate::config::{Backing, BlkdebugEvent, NbdConfig, NbdServer};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

/// A list of `key=value`.
fn words(list: &str) -> Map<String, Value> {
    nest(list.split(',').map(|pair| pair.split_once('=').unwrap()).map(|(key, text)| (key, text.into()))).unwrap()
}

fn drive_of(file: &str) -> NodeConfig {
    drive(Map::new(), Style::Words, Some(file), Inherited::default()).unwrap().unwrap()
}

#[test]
fn words_and_json_say_the_same() {
    let written = words(
        "driver=qcow2,node-name=q,file.driver=file,file.filename=/i,file.locking=off,file.aio=native,cache.direct=on,discard=unmap,\
         detect-zeroes=unmap,backing=base,read-only=off",
    );
    let json = json!({
        "driver": "qcow2", "node-name": "q", "cache": { "direct": true }, "discard": "unmap", "detect-zeroes": "unmap",
        "backing": "base", "read-only": false,
        "file": { "driver": "file", "filename": "/i", "locking": "off", "aio": "native" },
    });
    let node_of = |options, style| node(options, style).unwrap();
    let found = node_of(written, Style::Words);
    assert_eq!(found, node_of(object(json), Style::Json));
    let NodeDriver::Qcow2 { file: Child::Node(file), backing: Backing::Node(Child::Name(backing)) } = &found.driver
    else {
        panic!("{found:?}");
    };
    assert_eq!(backing, "base");
    assert!(file.direct && file.discard && found.discard && !found.no_flush);
    let null =
        node_of(object(json!({ "driver": "qcow2", "node-name": "q", "file": "f", "backing": null })), Style::Json);
    assert!(matches!(null.driver, NodeDriver::Qcow2 { backing: Backing::Nothing, .. }));
}

#[test]
fn a_node_has_from_the_one_above_it_what_it_does_not_say() {
    let options =
        "driver=raw,node-name=r,read-only=on,cache.no-flush=on,force-share=on,file.driver=file,file.filename=/i";
    let found = node(words(options), Style::Words).unwrap();
    let NodeDriver::Raw { file: Child::Node(file), .. } = &found.driver else { panic!("{found:?}") };
    assert_eq!((file.access, file.no_flush, file.force_share, file.discard), (Access::ReadOnly, true, true, true));
    let found = node(words("driver=file,node-name=f,filename=/i,auto-read-only=on"), Style::Words).unwrap();
    assert_eq!((found.access, found.discard), (Access::Auto, false));
}

/// What QEMU 7.2 says begins so.
#[test]
fn what_describes_no_node_is_refused() {
    for (options, reason) in [
        ("driver=file,node-name=f,filename=a,bogus=1", "Parameter 'bogus' is unexpected"),
        (
            "driver=file,node-name=f,filename=a,file-name=1",
            "Parameter 'file-name' is unexpected; did you mean 'filename'?",
        ),
        (
            "driver=raw,node-name=f,file.driver=file,file.filename=a,file.bogus=1",
            "Parameter 'file.bogus' is unexpected",
        ),
        ("driver=file,filename=a", "'node-name' must be specified for the root node"),
        ("driver=bogus,node-name=r", "Parameter 'driver' does not accept value 'bogus'"),
        ("driver=copy-on-read,node-name=r,file=f", "driver=copy-on-read is not supported: "),
        ("driver=file,node-name=1f,filename=a", "Invalid node-name: '1f'"),
        ("driver=file,node-name=f,filename=a,discard=foo", "Parameter 'discard' does not accept value 'foo'"),
        ("driver=file,node-name=f,filename=a,read-only=foo", "Parameter 'read-only' expects 'on' or 'off'"),
        ("driver=file,node-name=f", "Parameter 'filename' is missing"),
        ("node-name=f,filename=a", "Parameter 'driver' is missing"),
        ("driver=raw,node-name=f,file.filename=a", "Parameter 'file.driver' is missing"),
        (
            "driver=file,node-name=f,filename=a,detect-zeroes=unmap",
            "setting detect-zeroes to unmap is not allowed without",
        ),
        ("driver=file,node-name=f,filename=a,force-share=on", "force-share=on can only be used with read-only images"),
        (
            "driver=file,node-name=f,filename=a,aio=native",
            "aio=native was specified for 'a', but it requires cache.direct=on",
        ),
        (
            "driver=qcow2,node-name=q,file=f,encrypt.format=luks",
            "Parameter 'encrypt' is not supported: natoma does not decrypt",
        ),
        ("driver=nbd,node-name=n,server.type=unix", "the driver 'nbd' needs server.type=inet"),
        (
            "driver=nbd,node-name=n,server.path=s,tls-creds=t",
            "Parameter 'tls-creds' is not supported: natoma has no TLS",
        ),
        ("driver=throttle,node-name=n,file=f", "Parameter 'throttle-group' is missing"),
        ("driver=null-co,node-name=n,size=1", "size is a multiple of 512"),
        (
            "driver=blkdebug,node-name=n,image=i,inject-error.0.event=bogus",
            "Parameter 'inject-error.0.event' does not accept",
        ),
        ("driver=blkdebug,node-name=n,image=i,inject-error.1.event=none", "Parameter 'inject-error.1' is unexpected"),
    ] {
        let message = node(words(options), Style::Words).expect_err(options);
        assert!(message.starts_with(reason), "{options}: {message}");
    }
    for (options, reason) in [
        (
            json!({ "driver": "file", "node-name": "f", "filename": "a", "read-only": "on" }),
            "Invalid parameter type for 'read-only', expected: boolean",
        ),
        (
            json!({ "driver": "file", "node-name": "f", "filename": "a", "discard": null }),
            "Invalid parameter type for 'discard', expected: string",
        ),
        (
            json!({ "driver": "raw", "node-name": "f", "file": 1 }),
            "Invalid parameter type for 'file', expected: object",
        ),
        (
            json!({ "driver": "null-co", "node-name": "f", "size": "1M" }),
            "Invalid parameter type for 'size', expected: integer",
        ),
    ] {
        let message = node(object(options), Style::Json).unwrap_err();
        assert!(message.starts_with(reason), "{message}");
    }
    assert!(nest([("a", "1".into()), ("a.b", "2".into())]).is_err());
    assert!(nest([("a.b", "1".into()), ("a", "2".into())]).is_err());
}

#[test]
fn rules_of_errors_are_lists_of_objects() {
    let options = "driver=blkdebug,node-name=n,image=i,config=/rules,inject-error.0.event=read_aio,inject-error.0.errno=28,\
                   inject-error.0.once=on,inject-error.0.sector=-1,inject-error.1.event=none,inject-error.1.iotype=flush,\
                   inject-error.1.sector=7,set-state.0.event=write_aio,set-state.0.new_state=2";
    let found = node(words(options), Style::Words).unwrap();
    let NodeDriver::Blkdebug(blkdebug) = &found.driver else { panic!("{found:?}") };
    let [first, second] = blkdebug.rules.inject_error.as_slice() else { panic!("{blkdebug:?}") };
    assert_eq!((first.event, first.errno, first.once, first.sector), (BlkdebugEvent::ReadAio, 28, true, None));
    assert_eq!((second.event, second.errno, second.once, second.sector), (BlkdebugEvent::None, 5, false, Some(7)));
    assert_eq!(blkdebug.rules.set_state[0].new_state, 2);
}

/// A name may stand for all options, and options that are given have precedence over it.
#[test]
fn names_stand_for_options() {
    let probed = drive_of("/i");
    assert!(
        matches!(&probed.driver, NodeDriver::Probed { file: Child::Node(file) } if matches!(&file.driver, NodeDriver::File(_)))
    );
    let named = drive_of(r#"json:{"driver":"qcow2","file.driver":"file","file":{"filename":"/i"},"node-name":"q"}"#);
    assert!(matches!(&named.driver, NodeDriver::Qcow2 { .. }) && named.name.as_deref() == Some("q"), "{named:?}");
    let changed =
        drive(words("driver=raw,file.locking=off,file.node-name=f"), Style::Words, Some("/i"), Inherited::default());
    let changed = changed.unwrap().unwrap();
    let NodeDriver::Raw { file: Child::Node(file), .. } = &changed.driver else { panic!("{changed:?}") };
    assert_eq!(file.name.as_deref(), Some("f"));
    let nothing = drive(Map::new(), Style::Words, None, Inherited::default());
    assert_eq!(nothing.unwrap(), None);
    for (name, reason) in [
        ("ssh://h/x", "natoma opens files and NBD exports only, and 'ssh:' is not supported"),
        ("json:{", "Could not parse the JSON options"),
        ("json:[]", "json: is followed by an object"),
        ("blkdebug:x", "blkdebug:x: write blkdebug:RULES:FILE"),
        ("file:", "the name of the file is empty"),
    ] {
        let message = named_error(name);
        assert!(message.starts_with(reason), "{name}: {message}");
    }
}

fn named_error(name: &str) -> String {
    drive(Map::new(), Style::Words, Some(name), Inherited::default()).expect_err(name)
}

#[test]
fn names_of_exports_are_read_as_qemu_reads_them() {
    let tcp = |host: &str, port| NbdServer::Tcp { host: host.into(), port };
    let nbd_of = |node: &NodeConfig| match &node.driver {
        NodeDriver::Probed { file: Child::Node(file) } => match &file.driver {
            NodeDriver::Nbd(nbd) => nbd.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    for (name, server, export) in [
        ("nbd://host", tcp("host", 10809), ""),
        ("nbd://host:7/a%20b", tcp("host", 7), "a b"),
        ("nbd://[::1]:7/x/y", tcp("::1", 7), "x/y"),
        ("nbd+unix:///disk?socket=/run/a%3Fb", NbdServer::Unix("/run/a?b".into()), "disk"),
        ("nbd+unix:///?socket=s", NbdServer::Unix("s".into()), ""),
        ("nbd:localhost:10810", tcp("localhost", 10810), ""),
        ("nbd:h:1:exportname=a:b", tcp("h", 1), "a:b"),
        ("nbd:unix:/run/s:exportname=e", NbdServer::Unix("/run/s".into()), "e"),
    ] {
        let expected = NbdConfig { server, export: export.into(), reconnect_delay: 0 };
        assert_eq!(nbd_of(&drive_of(name)), expected, "{name}");
    }
    for name in ["nbd://", "nbd://h:x", "nbd://h/%2", "nbd+unix:///e", "nbd+unix://e?socket=s", "nbd:unix:"] {
        named_error(name);
    }
    assert!(matches!(drive_of("nbds.img").driver, NodeDriver::Probed { .. }));
    // -drive has a spelling without `server`.
    let old = words("file.driver=nbd,file.host=h,file.port=7,file.export=e,file.reconnect-delay=5");
    let old = drive(old, Style::Words, None, Inherited::default()).unwrap().unwrap();
    assert_eq!(nbd_of(&old), NbdConfig { server: tcp("h", 7), export: "e".into(), reconnect_delay: 5 });
}
