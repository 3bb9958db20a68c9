//! Cutting a command line into words.

use anyhow::{Result, bail};

/// The words of a line: what is between blanks, or in double quotes, where a backslash takes the meaning from a quote and
/// another backslash, and `\n` and `\r` are ends of lines, as in QEMU.
pub fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, end) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (word, end) = quoted_word(quoted)?;
                (word, end + 1)
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), end)
            }
        };
        words.push(word);
        rest = rest[end..].trim_start();
    }
    Ok(words)
}

/// The text up to the closing quote, and where that ends.
fn quoted_word(text: &str) -> Result<(String, usize)> {
    let mut word = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((word, at + 1)),
            '\\' => match letters.next() {
                Some((_, 'n')) => word.push('\n'),
                Some((_, 'r')) => word.push('\r'),
                Some((_, quoted @ ('"' | '\'' | '\\'))) => word.push(quoted),
                Some((_, other)) => bail!("unsupported escape code: '\\{other}'"),
                None => break,
            },
            _ => word.push(letter),
        }
    }
    bail!("unterminated string")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_between_blanks_or_in_quotes() {
        assert_eq!(split("  a  bc\td ").unwrap(), ["a", "bc", "d"]);
        assert_eq!(split(r#"change a "my file.img" raw"#).unwrap(), ["change", "a", "my file.img", "raw"]);
        assert_eq!(split(r#""" "a\"b\\c\n""#).unwrap(), ["", "a\"b\\c\n"]);
        assert_eq!(split(r#"it's C:\x"#).unwrap(), ["it's", r"C:\x"]);
        assert!(split("").unwrap().is_empty());
        for bad in [r#"""#, r#""a\"#, r#""\q""#, r#"x "a"#] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
