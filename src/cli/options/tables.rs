//! ACPI and SMBIOS tables.

use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema, Variant};

const U32: Kind = Kind::Number(0, u32::MAX as u64);
const U16: Kind = Kind::Number(0, u16::MAX as u64);
const U8: Kind = Kind::Number(0, u8::MAX as u64);
const TEXT: Kind = Kind::Text("TEXT");

const ACPITABLE: Schema = Schema::plain(
    None,
    &[
        Key::new("file", Kind::Text("FILE[:FILE...]"), "files that are the table, with its header"),
        Key::new("data", Kind::Text("FILE[:FILE...]"), "files that are the table without its header"),
        Key::new("sig", TEXT, "signature, up to 4 characters"),
        Key::new("rev", U8, "revision of the table"),
        Key::new("oem_id", TEXT, "OEM id, up to 6 characters"),
        Key::new("oem_table_id", TEXT, "OEM table id, up to 8 characters"),
        Key::new("oem_rev", U32, "OEM revision"),
        Key::new("asl_compiler_id", TEXT, "id of the compiler, up to 4 characters"),
        Key::new("asl_compiler_rev", U32, "revision of the compiler"),
    ],
);

const MANUFACTURER: Key = Key::new("manufacturer", TEXT, "who made it");
const PRODUCT: Key = Key::new("product", TEXT, "what it is called");
const VERSION: Key = Key::new("version", TEXT, "its version");
const SERIAL: Key = Key::new("serial", TEXT, "its serial number");
const ASSET: Key = Key::new("asset", TEXT, "its asset tag");
const SKU: Key = Key::new("sku", TEXT, "its stock keeping unit");
const PART: Key = Key::new("part", TEXT, "its part number");

const SMBIOS: Schema = Schema {
    implied: Some("type"),
    keys: &[],
    variants: &[
        Variant {
            name: "0",
            help: "the firmware",
            keys: &[
                Key::new("vendor", TEXT, "who made it"),
                VERSION,
                Key::new("date", TEXT, "its date"),
                Key::new("release", Kind::Text("MAJOR.MINOR"), "its release"),
                Key::new("uefi", Kind::Flag, "it is UEFI (default off)"),
            ],
        },
        Variant {
            name: "1",
            help: "the machine as a product",
            keys: &[
                MANUFACTURER,
                PRODUCT,
                VERSION,
                SERIAL,
                Key::new("uuid", Kind::Text("UUID"), "its UUID (default: that of -uuid)"),
                SKU,
                Key::new("family", TEXT, "its family"),
            ],
        },
        Variant {
            name: "2",
            help: "the board",
            keys: &[
                MANUFACTURER,
                PRODUCT,
                VERSION,
                SERIAL,
                ASSET,
                Key::new("location", TEXT, "where in the chassis it is"),
            ],
        },
        Variant { name: "3", help: "the chassis", keys: &[MANUFACTURER, VERSION, SERIAL, ASSET, SKU] },
        Variant {
            name: "4",
            help: "the processor in each socket",
            keys: &[
                Key::new("sock_pfx", TEXT, "what the name of each socket begins with (default \"CPU\")"),
                MANUFACTURER,
                VERSION,
                SERIAL,
                ASSET,
                PART,
                Key::new("max-speed", U16, "highest speed in MHz (default 2000)"),
                Key::new("current-speed", U16, "speed in MHz (default 2000)"),
                Key::new("processor-id", Kind::Number(0, u64::MAX), "EDX and EAX of CPUID leaf 1 as one number"),
            ],
        },
        Variant {
            name: "8",
            help: "a connector; one more each time",
            keys: &[
                Key::new("internal_reference", TEXT, "its name on the board"),
                Key::new("external_reference", TEXT, "its name on the chassis"),
                Key::new("connector_type", U8, "what it looks like, as a number of the specification"),
                Key::new("port_type", U8, "what it is for, as a number of the specification"),
            ],
        },
        Variant {
            name: "11",
            help: "texts for software in the guest",
            keys: &[
                Key::new("value", TEXT, "a text; may be given several times"),
                Key::new("path", Kind::Text("FILE"), "a file that is a text; may be given several times"),
            ],
        },
        Variant {
            name: "17",
            help: "the memory modules",
            keys: &[
                Key::new("loc_pfx", TEXT, "what the name of each place begins with (default \"DIMM\")"),
                Key::new("bank", TEXT, "the bank they are in"),
                MANUFACTURER,
                SERIAL,
                ASSET,
                PART,
                Key::new("speed", U16, "speed in MHz"),
            ],
        },
        Variant {
            name: "41",
            help: "a device on the board; one more each time",
            keys: &[
                Key::new("designation", TEXT, "its name"),
                Key::new("kind", Kind::Choice(ONBOARD_KINDS), "what it is (default other)"),
                Key::new("instance", U8, "its number among those of its kind (default 1)"),
                Key::new("pcidev", Kind::Text("ID"), "id of the PCI device that it is"),
            ],
        },
        Variant {
            name: "file",
            help: "structures from a file, in place of the machine's own of the same types",
            keys: &[Key::new("file", Kind::Text("FILE"), "the file")],
        },
    ],
    aliases: &[],
    variant_noun: "type of structure",
    missing_variants: &[],
    json: false,
};

/// Names of the kinds of devices on the board; each is its number in SMBIOS less one.
pub const ONBOARD_KINDS: &[&str] =
    &["other", "unknown", "video", "scsi", "ethernet", "tokenring", "sound", "pata", "sata", "sas"];

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "acpitable",
        Argument::List("KEY=VALUE[,...],file=FILE|data=FILE", &ACPITABLE),
        Section::Machine,
        "give the guest one more ACPI table",
    )
    .group("acpi")
    .details(
        "Of a table with a header (`file=`) the other keys change what they name; for one without (`data=`) a header is made. \
         Length and checksum are made right. An SLIC table's OEM ids become those of the RSDT, the XSDT and the FADT, as the \
         licence of some systems asks for.",
    ),
    OptionSpec::new(
        "smbios",
        Argument::List("file=FILE | type=N[,KEY=VALUE...]", &SMBIOS),
        Section::Machine,
        "say what the SMBIOS tables tell of the machine",
    )
    .group("smbios")
    .details("Given several times for the same type, later keys replace earlier ones, unless the type says otherwise."),
];
