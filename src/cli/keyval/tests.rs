//! A schema with one key of each kind, and variants.

use super::*;
use proptest::prelude::*;

const PLAIN: Schema = Schema::plain(
    Some("size"),
    &[
        Key::new("size", Kind::Size(1 << 20), "a size"),
        Key::new("share", Kind::Flag, "a flag"),
        Key::new("order", Kind::Flag, "a flag that begins with another's no"),
        Key::new("port", Kind::Number(1, 65535), "a number"),
        Key::new("clock", Kind::Choice(&["host", "vm"]), "a choice"),
        Key::new("path", Kind::Text("PATH"), "a text"),
        Key::missing("slots", &["0"], "add memory when the machine starts"),
        Key::missing("usb", &["off"], ""),
        Key::moved("memory.size", Kind::Size(1 << 20), "m", "size"),
    ],
);

const VARIANTS: Schema = Schema {
    implied: Some("driver"),
    keys: &[Key::new("id", Kind::Text("ID"), "its name")],
    variants: &[
        Variant { name: "isa-port", help: "", keys: &[Key::new("iobase", Kind::Number(0, 0xffff), "first port")] },
        Variant { name: "isa-null", help: "", keys: &[] },
    ],
    aliases: &[],
    variant_noun: "device",
    missing_variants: &[(&["e1000", "ne2k_pci"], "there is no network yet")],
    json: true,
};

fn problem(schema: &Schema, text: &str) -> String {
    schema.parse(text).unwrap_err().to_string()
}

#[test]
fn each_kind_is_read_and_the_last_value_wins() {
    let list = PLAIN.parse("64,share=off,port=0x50,path=a,,b,clock=vm,share=yes,slots=0,usb=no").unwrap();
    assert_eq!(list.size("size"), Some(64 << 20));
    assert_eq!(list.flag("share"), Some(true));
    assert_eq!(list.number::<u16>("port"), Some(80));
    assert_eq!(list.text("path"), Some("a,b"));
    assert_eq!(list.choice::<String>("clock").as_deref(), Some("vm"));
    assert_eq!(list.flag("order"), None);
    assert!(list.advice.is_empty());
}

#[test]
fn bare_flags_work_with_a_warning() {
    let list = PLAIN.parse("64,share,noorder").unwrap();
    assert_eq!((list.flag("share"), list.flag("order")), (Some(true), Some(false)));
    assert_eq!(
        list.advice,
        ["'share' is an old spelling; write share=on", "'noorder' is an old spelling; write order=off"]
    );
}

#[test]
fn a_moved_key_says_where_it_belongs() {
    let list = PLAIN.parse("memory.size=1G").unwrap();
    let entry = &list.entries[0];
    assert_eq!((entry.option, entry.key, &entry.value), (Some("m"), "size", &Value::Size(1 << 30)));
}

#[test]
fn problems_name_the_key_and_the_remedy() {
    for (text, message) in [
        ("64,prot=80", "there is no parameter 'prot' here; did you mean 'port'?"),
        ("64,xyzzy=80", "there is no parameter 'xyzzy' here; it takes size, share, order, port, clock, path"),
        ("64,port", "'port' needs a value: port=N"),
        ("64,port=0", "port=0: expected a number from 1 to 65535"),
        ("64,share=maybe", "share=maybe: expected on or off"),
        ("64,share=1", "share=1: expected on or off"),
        ("64,clock=hots", "clock=hots: expected host, vm; did you mean 'host'?"),
        (
            "1x",
            "size=1x: expected a size below 2^64 bytes: a number with an optional suffix k, M, G, T, P or E \
             (a fraction needs the suffix)",
        ),
        ("64,slots=2", "slots=2 is not supported yet; add memory when the machine starts, or use slots=0"),
        ("64,,share=on", "size=64,share=on: expected a size"),
        ("64,=on", "there is an empty name; write name=value, and a comma inside a value twice"),
    ] {
        let problem = problem(&PLAIN, text);
        assert!(problem.starts_with(message), "{text}: {problem}");
    }
}

#[test]
fn a_variant_has_its_keys_and_the_common_ones() {
    let list = VARIANTS.parse("isa-port,iobase=0x10,id=a").unwrap();
    assert_eq!(list.variant, Some("isa-port"));
    assert_eq!((list.number::<u16>("iobase"), list.text("id")), (Some(16), Some("a")));
    assert_eq!(VARIANTS.parse("iobase=1,driver=isa-port").unwrap().variant, Some("isa-port"));

    for (text, message) in [
        ("", "it does not say which device: give driver=NAME; natoma has isa-port, isa-null"),
        ("id=a", "it does not say which device: give driver=NAME; natoma has isa-port, isa-null"),
        ("isa-prot", "there is no device 'isa-prot'; natoma has isa-port, isa-null; did you mean 'isa-port'?"),
        ("e1000,id=x", "the device 'e1000' is not supported yet; there is no network yet"),
        ("isa-null,iobase=1", "there is no parameter 'iobase' of device 'isa-null'; it takes id"),
    ] {
        assert_eq!(problem(&VARIANTS, text), message, "{text}");
    }
}

#[test]
fn json_means_the_same() {
    let list = VARIANTS.parse(r#"{"driver": "isa-port", "iobase": 16, "id": "a,b"}"#).unwrap();
    assert_eq!(list, VARIANTS.parse("isa-port,id=a,,b,iobase=16").unwrap());
    for (text, message) in [
        ("{", "this is no valid JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"driver":null}"#, "\"driver\" is null; leave it out instead"),
        (r#"{"driver":1}"#, "there is no device '1'; natoma has isa-port, isa-null"),
        (r#"{"driver":"isa-port","io":{"base":1}}"#, "there is no parameter 'io.base' of device 'isa-port'"),
    ] {
        let problem = problem(&VARIANTS, text);
        assert!(problem.starts_with(message), "{text}: {problem}");
    }
    // Not an object: an ordinary list.
    assert!(PLAIN.parse("{").is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9=,.{}\":]{0,60}") {
        let _ = PLAIN.parse(&text);
        let _ = VARIANTS.parse(&text);
    }

    #[test]
    fn what_was_read_prints_and_reads_the_same(
        size in any::<u64>(), share in any::<bool>(), port in 1u16.., path in "[a-z,=/ \"é]{0,20}", vm in any::<bool>(),
    ) {
        let text = syntax::join([
            ("size", format!("{size}b").as_str()),
            ("share", if share { "on" } else { "off" }),
            ("port", &port.to_string()),
            ("path", &path),
            ("clock", if vm { "vm" } else { "host" }),
        ]);
        let list = PLAIN.parse(&text).unwrap();
        prop_assert_eq!(list.size("size"), Some(size));
        prop_assert_eq!(list.flag("share"), Some(share));
        prop_assert_eq!(list.number::<u16>("port"), Some(port));
        prop_assert_eq!(list.text("path"), Some(path.as_str()));
        let printed = syntax::join(list.entries.iter().map(|entry| (entry.written_key.as_str(), entry.text.as_str())));
        prop_assert_eq!(PLAIN.parse(&printed).unwrap(), list);
    }
}
