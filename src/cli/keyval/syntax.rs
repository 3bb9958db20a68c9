//! The list syntax of QEMU's options: `value,key=value,flag,noflag`.
//!
//! Elements are separated by commas; a comma inside a value is written twice. An element without `=` is the value of the
//! option's *implied key* if it is the first one, and a bare flag otherwise. This file knows nothing about which keys
//! exist.

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// `key=value`
    Pair(String, String),
    /// The first element, when it has no `=`: the value of the implied key.
    Implied(String),
    /// A later element without `=`.
    Bare(String),
}

/// Splits a list into its elements. Any text is a list; an empty text is the empty list.
pub fn split(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let item = match rest.find(['=', ',']) {
            Some(at) if rest.as_bytes()[at] == b'=' => {
                let (value, after) = take_value(&rest[at + 1..]);
                let item = Item::Pair(rest[..at].to_owned(), value);
                rest = after;
                item
            }
            _ if items.is_empty() => {
                let (value, after) = take_value(rest);
                rest = after;
                Item::Implied(value)
            }
            end => {
                let end = end.unwrap_or(rest.len());
                let item = Item::Bare(rest[..end].to_owned());
                rest = rest[end..].strip_prefix(',').unwrap_or("");
                item
            }
        };
        items.push(item);
    }
    items
}

/// Takes a value up to its first single comma; returns it with doubled commas made single, and what follows the comma.
fn take_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(',') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix(',') {
            Some(after) => {
                value.push(',');
                rest = after;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

/// Writes pairs as a list that [`split`] reads back.
pub fn join<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    pairs.into_iter().map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join(",")
}

/// A value as it is written in a list: every comma doubled.
pub fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(key: &str, value: &str) -> Item {
        Item::Pair(key.into(), value.into())
    }

    #[test]
    fn lists_split_as_qemu_splits_them() {
        let implied = |text: &str| Item::Implied(text.into());
        let bare = |text: &str| Item::Bare(text.into());
        for (text, items) in [
            ("", vec![]),
            ("pc", vec![implied("pc")]),
            ("pc,accel=kvm", vec![implied("pc"), pair("accel", "kvm")]),
            ("a,,b", vec![implied("a,b")]),
            ("a,,b=c", vec![implied("a,b=c")]),
            ("path=a,,b,,,server", vec![pair("path", "a,b,"), bare("server")]),
            ("path=x=y", vec![pair("path", "x=y")]),
            ("path=,x=", vec![pair("path", ""), pair("x", "")]),
            ("a,", vec![implied("a")]),
            ("a,b,,c", vec![implied("a"), bare("b"), bare(""), bare("c")]),
            (",a", vec![implied(""), bare("a")]),
            ("=x", vec![pair("", "x")]),
        ] {
            assert_eq!(split(text), items, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list(text in ".{0,200}") {
            split(&text);
        }

        #[test]
        fn what_is_joined_splits_again(pairs in prop::collection::vec(("[^=,]{1,8}", "[a-z,=\" é]{0,12}"), 0..8)) {
            let items: Vec<_> = pairs.iter().map(|(key, value)| pair(key, value)).collect();
            prop_assert_eq!(split(&join(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))), items);
        }
    }
}
