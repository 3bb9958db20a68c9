//! Any option with any value, and words that are nearly options.

use super::*;
use crate::cli::keyval::Key;

/// A value that a key accepts.
fn example(key: &Key) -> Vec<String> {
    match (key.support, key.kind) {
        (Support::Missing { harmless, .. }, _) => harmless.iter().map(|text| (*text).to_owned()).collect(),
        (_, Kind::Flag) => vec!["on".into(), "off".into()],
        (_, Kind::Choice(words)) => words.iter().map(|word| (*word).to_owned()).collect(),
        (_, Kind::Number(least, most)) => vec![least.to_string(), most.to_string()],
        (_, Kind::Size(_)) => vec!["1".into(), "4G".into(), u64::MAX.to_string()],
        (_, Kind::Text(_) | Kind::Name(_)) => vec![String::new(), "text".into()],
    }
}

/// Whoever reads a key reads it as the kind that the table says: this fails if one does not.
#[test]
fn every_key_of_every_option_is_read() {
    for option in options::all() {
        let options::Argument::List(_, schema) = option.argument else { continue };
        let subjects: Vec<_> = match schema.variants {
            [] => vec![(String::new(), schema.keys.iter().collect::<Vec<_>>())],
            variants => variants
                .iter()
                .map(|variant| (format!("{},", variant.name), variant.keys.iter().chain(schema.keys).collect()))
                .collect(),
        };
        for (subject, keys) in subjects {
            // What the list must also have to be read to its end.
            let complete = |needed: &[(&str, &str)], but: &str| -> String {
                let needed = needed.iter().filter(|(name, _)| *name != but && keys.iter().any(|key| key.name == *name));
                needed.map(|(name, value)| format!("{name}={value},")).collect()
            };
            for (key, value) in keys.iter().flat_map(|key| example(key).into_iter().map(move |value| (key, value))) {
                let inet = [("id", "a"), ("port", "1"), ("server", "on")];
                let other = [("id", "a"), ("size", "1M"), ("path", "/x"), ("mem-path", "/x"), ("chardev", "c")];
                let needed = if subject == "socket," && key.name != "path" { &inet[..] } else { &other };
                let argument = format!("{subject}{}{}={value}", complete(needed, key.name), key.name);
                let _ = parse_with(&[&format!("-{}", option.name), &argument, "-chardev", "null,id=c"], &[]);
            }
        }
    }
    for driver in options::BOARD_DRIVERS {
        for (key, value) in driver.keys.iter().flat_map(|key| example(key).into_iter().map(move |value| (key, value))) {
            let _ = parse_with(&["-global", &format!("{}.{}={value}", driver.name, key.name)], &[]);
        }
    }
}

/// Words that are nearly a command line.
fn arguments() -> impl Strategy<Value = Vec<String>> {
    let options: Vec<_> = options::all().map(|option| format!("-{}", option.name)).collect();
    let pieces = "(pc|kvm|stdio|null|socket|isa-serial|mon:|tcp:|unix:/x|id=a|size=|1G|chardev:a|,|,,|=|on|off|0x|-|\\+|[ -~]|é){0,6}";
    let word = prop_oneof![3 => prop::sample::select(options), 4 => pieces, 1 => "\\PC{0,20}"];
    prop::collection::vec(word, 0..8)
}

proptest! {
    // clap checks its whole table at each call in debug builds, so that a case takes milliseconds.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_command_line_is_read_or_refused(arguments in arguments(), file in "([a-z]{1,8}|\\[|\\]|\"| = |\n|natoma|machine){0,30}") {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        if let Err(error) = parse_with(&words, &[("", &file), ("f", &file)]) {
            prop_assert!(!error.is_empty() && error.len() < 4000);
        }
        let _ = parse_with(&["-readconfig", "f"], &[("f", &file)]);
    }
}
