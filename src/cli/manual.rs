//! The reference documentation, as Markdown (`docs/options.md`) and as a manual page.

use super::help::{harmless_forms, missing_form, missing_names, works};
use super::keyval::{Key, Schema, Support};
use super::options::{self, Argument, BOARD_DRIVERS, OptionSpec, Section};

const INTRODUCTION: &str = "\
Options are written as QEMU's: `-option argument` or `--option argument`. Lists of `key=value` separate their elements by commas; \
a comma inside a value is written twice. The first element of some lists needs no key (it is in brackets below). Flags are `on` or \
`off`. Numbers are decimal, hexadecimal (`0x10`) or octal (`010`). Sizes have an optional suffix `k`, `M`, `G`, `T`, `P` or `E` \
(powers of 1024) and may have a fraction before it: `1.5G`.";

const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "the guest powered off, or help was printed"),
    ("1", "natoma could not start the machine, or ran into an error"),
    ("odd", "the guest wrote `v` to `isa-debug-exit`: `(v << 1) | 1`"),
    ("128+n", "signal `n` ended natoma"),
];

/// A run of rows of a table of keys.
fn key_rows(schema: &Schema) -> Vec<(String, Vec<&'static Key>)> {
    let mut groups = Vec::new();
    if !schema.keys.is_empty() {
        groups.push((String::new(), schema.keys.iter().collect()));
    }
    groups.extend(schema.variants.iter().map(|variant| {
        let own = variant.keys.iter().filter(|key| !options::is_pci_key(key));
        (format!("{}: {}", schema.names(variant), variant.help), own.collect())
    }));
    if schema.variants.iter().any(|variant| variant.keys.iter().any(options::is_pci_key)) {
        groups.push(("pci-*: what each PCI device also has".into(), options::PCI_KEYS.iter().collect()));
    }
    groups
}

/// What the help of a key says, also for one that belongs to another option.
fn described(key: &Key) -> String {
    match key.support {
        Support::Moved(option, target) => format!("as `{target}` of `-{option}`"),
        _ => key.help.to_owned(),
    }
}

/// The groups of keys of an option, each with its title.
fn groups(option: &OptionSpec) -> Vec<(String, Vec<&'static Key>)> {
    match (option.name, option.argument) {
        ("global", _) => BOARD_DRIVERS
            .iter()
            .map(|driver| (format!("{}: {}", driver.name, driver.help), driver.keys.iter().collect()))
            .collect(),
        (_, Argument::List(_, schema)) => key_rows(schema),
        _ => Vec::new(),
    }
}

/// `docs/options.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Options of natoma\n\n\
         <!-- Written by `cargo run -- -manual markdown > docs/options.md`; a test compares the two. -->\n\n",
    );
    text.push_str(INTRODUCTION);
    text.push('\n');
    for section in Section::ALL {
        text.push_str(&format!("\n## {}\n", section.title()));
        for option in options::all().filter(|option| option.section == section) {
            text.push_str(&format!("\n### `{}`\n\n{}.\n", option.form(), capitalised(option.help)));
            if let Some(alias) = option.alias {
                text.push_str(&format!("Also written `-{alias}`.\n"));
            }
            for paragraph in option.details.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
                text.push_str(&format!("\n{paragraph}\n"));
            }
            for (title, keys) in groups(option) {
                markdown_keys(&mut text, &title, &keys);
            }
        }
    }
    text.push_str(&format!("\n## {}\n\n", Section::Missing.title()));
    text.push_str("Accepted, because they ask for what natoma does anyway: ");
    text.push_str(&code_list(&harmless_forms()));
    text.push_str(".\n\nOptions of QEMU 7.2 that natoma knows and does not have yet; each says what to use instead: ");
    text.push_str(&code_list(&missing_names()));
    text.push_str(".\n\n## Exit status\n\n| status | meaning |\n|---|---|\n");
    for (status, meaning) in EXIT_STATUS {
        text.push_str(&format!("| {status} | {meaning} |\n"));
    }
    text
}

fn markdown_keys(text: &mut String, title: &str, keys: &[&Key]) {
    if !title.is_empty() {
        let (name, help) = title.split_once(": ").unwrap_or((title, ""));
        text.push_str(&format!("\n`{name}`: {help}\n"));
    }
    let shown: Vec<_> = keys.iter().filter(|key| !matches!(key.support, Support::Missing { .. })).collect();
    if !shown.is_empty() {
        text.push_str("\n| key | meaning |\n|---|---|\n");
    }
    for key in shown {
        let form = format!("{}={}", key.name, key.value_form()).replace('|', "\\|");
        text.push_str(&format!("| `{form}` | {} |\n", described(key).replace('|', "\\|")));
    }
    let missing: Vec<_> =
        keys.iter().filter(|key| matches!(key.support, Support::Missing { .. })).map(|key| missing_form(key)).collect();
    if !missing.is_empty() {
        text.push_str(&format!("\nNot supported yet, but for the values shown: {}.\n", code_list(&missing)));
    }
}

fn code_list(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The manual page, for `man -l`.
pub fn man_page() -> String {
    let mut text = format!(
        ".TH NATOMA 1 \"\" \"natoma {}\" \"User Commands\"\n.ad l\n.SH NAME\nnatoma \\- {}\n.SH SYNOPSIS\n.B natoma\n[\\fIoptions\\fR]\n\
         .SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION"),
        roff(env!("CARGO_PKG_DESCRIPTION")),
    );
    paragraph(&mut text, "Without options natoma boots a small built-in guest that shows the machine on the terminal.");
    paragraph(&mut text, INTRODUCTION);
    for section in Section::ALL {
        text.push_str(&format!(".SH {}\n", roff(&section.title().to_uppercase())));
        for option in options::all().filter(|option| option.section == section) {
            text.push_str(&format!(".TP\n.B {}\n{}.\n", roff(&option.form()), roff(&capitalised(option.help))));
            if let Some(alias) = option.alias {
                text.push_str(&format!("Also written \\fB\\-{alias}\\fR.\n"));
            }
            for detail in option.details.split("\n\n").filter(|detail| !detail.is_empty()) {
                text.push_str(&format!(".IP\n{}\n", roff(detail)));
            }
            for (title, keys) in groups(option) {
                man_keys(&mut text, &title, &keys);
            }
        }
    }
    text.push_str(".SH NOT SUPPORTED YET\n");
    paragraph(
        &mut text,
        &format!("Accepted, because they ask for what natoma does anyway: {}.", harmless_forms().join(", ")),
    );
    paragraph(&mut text, &format!("Options of QEMU that natoma does not have yet: {}.", missing_names().join(", ")));
    text.push_str(".SH EXIT STATUS\n");
    for (status, meaning) in EXIT_STATUS {
        text.push_str(&format!(".TP\n.B {}\n{}.\n", roff(status), roff(meaning)));
    }
    text
}

fn paragraph(text: &mut String, words: &str) {
    text.push_str(&format!(".PP\n{}\n", roff(words)));
}

fn man_keys(text: &mut String, title: &str, keys: &[&Key]) {
    if !title.is_empty() {
        text.push_str(&format!(".IP\n{}\n", roff(title)));
    }
    text.push_str(".RS\n");
    for key in keys.iter().filter(|key| works(key)) {
        let form = format!("{}={}", key.name, key.value_form());
        text.push_str(&format!(".TP\n.B {}\n{}.\n", roff(&form), roff(&capitalised(key.help))));
    }
    text.push_str(".RE\n");
}

/// Text for roff: hyphens that may be typed, no control lines, bold for `code`.
fn roff(text: &str) -> String {
    let mut bold = false;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '`' => {
                bold = !bold;
                out.push_str(if bold { "\\fB" } else { "\\fR" });
            }
            c => out.push(c),
        }
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
