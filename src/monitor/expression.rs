//! Numbers as they are given in the human monitor: sums and more, with registers, in QEMU's grammar.

use anyhow::{Context, Result, bail};

/// How deep brackets and signs may be nested.
const DEEPEST: u32 = 64;

/// The value of an expression; `register` knows those of registers, which have a `$` before them.
pub fn evaluate(text: &str, register: &dyn Fn(&str) -> Result<i64>) -> Result<i64> {
    let mut parser = Parser { rest: text.trim_start(), register, depth: 0 };
    let value = parser.sum()?;
    match parser.rest.chars().next() {
        None => Ok(value),
        Some(letter) => bail!("invalid char '{letter}' in expression"),
    }
}

struct Parser<'a> {
    rest: &'a str,
    register: &'a dyn Fn(&str) -> Result<i64>,
    depth: u32,
}

impl Parser<'_> {
    /// Takes one of these operators, if it is next.
    fn operator(&mut self, operators: &[char]) -> Option<char> {
        let operator = self.rest.chars().next().filter(|letter| operators.contains(letter))?;
        self.rest = self.rest[operator.len_utf8()..].trim_start();
        Some(operator)
    }

    fn sum(&mut self) -> Result<i64> {
        let mut value = self.logic()?;
        while let Some(operator) = self.operator(&['+', '-']) {
            let other = self.logic()?;
            value = if operator == '+' { value.wrapping_add(other) } else { value.wrapping_sub(other) };
        }
        Ok(value)
    }

    fn logic(&mut self) -> Result<i64> {
        let mut value = self.product()?;
        while let Some(operator) = self.operator(&['&', '|', '^']) {
            let other = self.product()?;
            value = match operator {
                '&' => value & other,
                '|' => value | other,
                _ => value ^ other,
            };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<i64> {
        let mut value = self.unary()?;
        while let Some(operator) = self.operator(&['*', '/', '%']) {
            let other = self.unary()?;
            value = match operator {
                '*' => value.wrapping_mul(other),
                _ if other == 0 => bail!("division by zero"),
                '/' => value.wrapping_div(other),
                _ => value.wrapping_rem(other),
            };
        }
        Ok(value)
    }

    fn unary(&mut self) -> Result<i64> {
        self.depth += 1;
        if self.depth > DEEPEST {
            bail!("the expression is nested too deeply");
        }
        let value = match self.operator(&['+', '-', '~', '(']) {
            Some('+') => self.unary()?,
            Some('-') => self.unary()?.wrapping_neg(),
            Some('~') => !self.unary()?,
            Some(_) => {
                let value = self.sum()?;
                self.operator(&[')']).context("')' expected")?;
                value
            }
            None => self.primary()?,
        };
        self.depth -= 1;
        Ok(value)
    }

    fn primary(&mut self) -> Result<i64> {
        let mut letters = self.rest.chars();
        match letters.next() {
            None => bail!("unexpected end of expression"),
            Some('\'') => {
                let (letter, quote) = (letters.next(), letters.next());
                let letter = letter.filter(|_| quote == Some('\'')).context("missing terminating ' character")?;
                self.rest = letters.as_str().trim_start();
                Ok(u32::from(letter).into())
            }
            Some('$') => {
                let name =
                    self.rest[1..].split(|letter: char| !letter.is_ascii_alphanumeric() && !"._".contains(letter));
                let name = name.into_iter().next().unwrap_or_default();
                self.rest = self.rest[1 + name.len()..].trim_start();
                (self.register)(name)
            }
            Some(letter) if letter.is_ascii_digit() => self.number(),
            Some(letter) => bail!("invalid char '{letter}' in expression"),
        }
    }

    fn number(&mut self) -> Result<i64> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        let lower = text.to_ascii_lowercase();
        let number = match lower.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower[1..], 8),
            None => lower.parse(),
        };
        Ok(number.with_context(|| format!("'{text}' is no number"))?.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<i64> {
        evaluate(text, &|name| match name {
            "eip" => Ok(0xfff0),
            "cs.base" => Ok(0xf0000),
            _ => bail!("unknown register"),
        })
    }

    /// Values of QEMU 7.2's `print`.
    #[test]
    fn expressions_are_qemus() {
        for (text, expected) in [
            ("0x10+3*(2)", 0x16),
            ("-1", -1),
            ("0xffffffffffffffff", -1),
            ("010 + 10", 18),
            ("'a'", 97),
            ("$cs.base + $eip", 0xf_fff0),
            // Bit operations bind more tightly than sums.
            ("1 + 2 | 4", 7),
            ("7&3*2", 6),
            ("~0 ^ 0xf", -16),
            ("- - (+2)", 2),
            ("7 % 4 / 2", 1),
            ("0x7c00 - 0x200-0x200", 0x7800),
        ] {
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (text, message) in [
            ("", "unexpected end of expression"),
            ("1 +", "unexpected end of expression"),
            ("a", "invalid char 'a' in expression"),
            ("1 2", "invalid char '2' in expression"),
            ("(1", "')' expected"),
            ("'ab", "missing terminating ' character"),
            ("1/0", "division by zero"),
            ("1%(2-2)", "division by zero"),
            ("0x", "'0x' is no number"),
            ("09", "'09' is no number"),
            ("0x10000000000000000", "'0x10000000000000000' is no number"),
            ("$zz", "unknown register"),
            ("\u{e4}", "invalid char '\u{e4}' in expression"),
        ] {
            assert_eq!(value(text).unwrap_err().to_string(), message, "{text}");
        }
        assert!(value(&"(".repeat(100_000)).is_err() && value(&"-".repeat(100_000)).is_err());
        assert_eq!(value("0x8000000000000000 / -1").unwrap(), i64::MIN);
    }
}
