//! What `-help`, `-help OPTION` and `-OPTION help` print.

use super::build::{ACCELERATORS, CpuCatalogue, LOG_ITEMS, MACHINES, TRACE_EVENTS};
use super::keyval::syntax::{self, Item};
use super::keyval::{Key, Schema, Support, Variant};
use super::options::{self, Argument, BOARD_DRIVERS, Effect, OptionSpec, Section};

/// Width of the text, in characters.
const WIDTH: usize = 100;
/// Where descriptions begin.
const COLUMN: usize = 22;

/// Name and version of the program, in a line.
pub fn version() -> String {
    format!("natoma {} - {}\n", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_DESCRIPTION"))
}

/// `-help`: every option in a line or two.
pub fn overview() -> String {
    let mut text = version();
    text.push_str("usage: natoma [-option [argument]]...\n");
    text.push_str("Without options natoma boots a small built-in guest that shows the machine on the terminal.\n");
    for section in Section::ALL {
        text.push_str(&format!("\n{}:\n", section.title()));
        for option in options::all().filter(|option| option.section == section) {
            let form = match option.alias {
                Some(alias) => format!("{}  (or -{alias})", option.form()),
                None => option.form(),
            };
            row(&mut text, &form, option.help);
        }
    }
    text.push_str("\nAccepted, because they ask for what natoma does anyway:\n");
    wrap(&mut text, 2, &harmless_forms().join(", "));
    text.push_str("\nOptions of QEMU that natoma does not have yet (each says what to use instead):\n");
    wrap(&mut text, 2, &missing_names().join(" "));
    text.push_str("\n-help OPTION tells more about an option, -OPTION help lists the keys of one that takes a list.\n");
    text
}

/// Options of QEMU that natoma accepts only in forms that change nothing.
pub fn harmless_forms() -> Vec<String> {
    let mut forms = Vec::new();
    for option in options::all().filter(|option| option.section == Section::Missing) {
        if let Effect::Missing { harmless: [first, ..], .. } = option.effect {
            forms.push(format!("-{} {first}", option.name));
        }
    }
    forms
}

/// Options of QEMU that natoma does not accept at all.
pub fn missing_names() -> Vec<String> {
    let missing = |option: &&OptionSpec| matches!(option.effect, Effect::Missing { harmless: [], .. });
    options::all().filter(missing).map(|option| format!("-{}", option.name)).collect()
}

/// `-help OPTION`: all about one option.
pub fn option(option: &OptionSpec, cpus: &CpuCatalogue) -> String {
    let mut text = format!("{}\n", option.form());
    if let Some(alias) = option.alias {
        text.push_str(&format!("Also written -{alias}.\n"));
    }
    if let Effect::Missing { harmless, instead } = option.effect {
        text.push_str(&format!("An option of QEMU that natoma does not support yet; {instead}.\n"));
        for value in harmless {
            text.push_str(&format!("-{} {value} is accepted: it asks for what natoma does anyway.\n", option.name));
        }
        return text;
    }
    wrap(&mut text, 0, &format!("{}.", capitalised(option.help)));
    for paragraph in option.details.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        text.push('\n');
        wrap(&mut text, 0, &paragraph.replace('`', ""));
    }
    let keys = match option.name {
        // Their details are the list already.
        "serial" | "debugcon" | "monitor" => String::new(),
        "machine" => keys(option, None, cpus) + &keys(option, Some("pc"), cpus),
        _ => keys(option, None, cpus),
    };
    if !keys.is_empty() {
        text.push('\n');
        text.push_str(&keys);
    }
    text
}

/// What an option's argument asks help about: `Some(None)` for the option, `Some(variant)` for one of its variants.
pub fn requested(option: &OptionSpec, argument: &str) -> Option<Option<String>> {
    let is_help = |word: &str| word == "help" || word == "?";
    let Argument::List(_, schema) = option.argument else {
        // Elsewhere `help` may be a text like any other.
        let lists = matches!(option.name, "cpu" | "d" | "serial" | "debugcon" | "monitor" | "display");
        return (lists && argument.split(',').any(is_help)).then_some(None);
    };
    let items = syntax::split(argument);
    let asks = items.iter().any(|item| matches!(item, Item::Implied(word) | Item::Bare(word) if is_help(word)));
    let subject = items.iter().find_map(|item| match item {
        Item::Implied(word) if !is_help(word) => Some(word.clone()),
        Item::Pair(key, word) if Some(key.as_str()) == schema.implied => Some(word.clone()),
        _ => None,
    });
    asks.then_some(subject)
}

/// `-OPTION help` or `-OPTION SUBJECT,help`: what the argument can be. Empty if there is nothing to list.
pub fn keys(option: &OptionSpec, subject: Option<&str>, cpus: &CpuCatalogue) -> String {
    let mut text = String::new();
    match (option.name, option.argument, subject) {
        ("machine", _, None) => {
            heading(&mut text, "Machines:");
            MACHINES.iter().for_each(|(name, help)| row(&mut text, name, help));
        }
        ("accel", Argument::List(_, schema), _) => {
            heading(&mut text, "Accelerators:");
            ACCELERATORS.iter().for_each(|(name, help)| row(&mut text, name, help));
            key_rows(&mut text, schema, None);
        }
        ("cpu", ..) => {
            heading(&mut text, "CPU models:");
            (cpus.models)().iter().for_each(|(name, help)| row(&mut text, name, help));
            heading(&mut text, "Features and other properties:");
            wrap(&mut text, 2, &(cpus.properties)().join(" "));
        }
        ("d", ..) => {
            heading(&mut text, "Log items:");
            LOG_ITEMS.iter().for_each(|(name, _, help)| row(&mut text, name, help));
            row(&mut text, "all", "all of these");
            row(
                &mut text,
                "trace:PATTERN",
                "trace events whose name matches, as -trace PATTERN; -trace help lists them",
            );
        }
        ("trace", Argument::List(_, schema), _) => {
            heading(&mut text, "Trace events:");
            TRACE_EVENTS.iter().for_each(|(name, help)| row(&mut text, name, help));
            key_rows(&mut text, schema, None);
        }
        ("global", ..) => {
            heading(&mut text, "Drivers and their properties:");
            let devices = options::schema("device").map(|schema| schema.variants).unwrap_or_default();
            for driver in BOARD_DRIVERS.iter().chain(devices) {
                for key in driver.keys.iter().filter(|key| works(key)) {
                    row(&mut text, &format!("{}.{}={}", driver.name, key.name, key.value_form()), key.help);
                }
            }
        }
        ("serial" | "debugcon" | "monitor", ..) => {
            let serial = options::find("serial").map_or("", |serial| serial.details);
            for paragraph in serial.split("\n\n") {
                wrap(&mut text, 0, &paragraph.replace('`', ""));
            }
        }
        (_, Argument::List(_, schema), Some(name)) if !schema.variants.is_empty() => match schema.find_variant(name) {
            Some(variant) => key_rows(&mut text, schema, Some(variant)),
            None => variant_rows(&mut text, schema),
        },
        (_, Argument::List(_, schema), _) if !schema.variants.is_empty() => variant_rows(&mut text, schema),
        (_, Argument::List(_, schema), _) => key_rows(&mut text, schema, None),
        (_, Argument::Choice(words), _) => row(&mut text, "one of", &words.join(", ")),
        _ => {}
    }
    text
}

/// Whether a key works here, and is not just another spelling.
pub fn works(key: &Key) -> bool {
    matches!(key.support, Support::Works)
}

fn key_rows(text: &mut String, schema: &Schema, variant: Option<&Variant>) {
    let own = variant.map(|variant| variant.keys).unwrap_or_default();
    heading(text, &variant.map_or("Keys:".into(), |variant| format!("Keys of {}:", variant.name)));
    for key in own.iter().chain(schema.keys).filter(|key| works(key)) {
        row(text, &format!("{}={}", key.name, key.value_form()), key.help);
    }
    let moved: Vec<_> = schema
        .keys
        .iter()
        .filter_map(|key| match key.support {
            Support::Moved(option, target) => Some(format!("{} (-{option} {target})", key.name)),
            _ => None,
        })
        .collect();
    if !moved.is_empty() {
        heading(text, "Keys that belong to other options:");
        wrap(text, 2, &moved.join(", "));
    }
    let missing = |key: &&Key| matches!(key.support, Support::Missing { .. });
    let missing: Vec<_> = own.iter().chain(schema.keys).filter(missing).map(missing_form).collect();
    if !missing.is_empty() {
        heading(text, "Keys of QEMU that are not supported yet (with the values that are accepted):");
        wrap(text, 2, &missing.join(", "));
    }
}

/// A key that does not work, with the values that are accepted.
pub fn missing_form(key: &Key) -> String {
    match key.value_form() {
        none if none.is_empty() => key.name.to_owned(),
        accepted => format!("{}={accepted}", key.name),
    }
}

fn variant_rows(text: &mut String, schema: &Schema) {
    heading(text, &format!("Each {}:", schema.variant_noun));
    schema.variants.iter().for_each(|variant| row(text, &schema.names(variant), variant.help));
}

fn heading(text: &mut String, heading: &str) {
    text.push_str(heading);
    text.push('\n');
}

/// A name and its description, in two columns.
fn row(text: &mut String, name: &str, help: &str) {
    if name.chars().count() + 4 > COLUMN {
        text.push_str(&format!("  {name}\n"));
        wrap(text, COLUMN, help);
    } else {
        let mut described = String::new();
        wrap(&mut described, COLUMN, help);
        text.push_str(&format!("  {name:<width$}", width = COLUMN - 2));
        text.push_str(described.trim_start());
        if described.is_empty() {
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
    }
}

/// Adds a paragraph in lines of at most [`WIDTH`] characters.
fn wrap(text: &mut String, indent: usize, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    if column > 0 {
        text.push('\n');
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
