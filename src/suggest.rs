//! The closest spelling of a word that is not known.

/// Longest word that is compared: nobody mistypes an option name this long, and the comparison is quadratic.
const LONGEST: usize = 64;

/// The candidate that a person most likely meant by `word`, if one is close enough to be worth mentioning.
///
/// Letters that were swapped, left out, doubled or mistyped count one each; about one in three may be wrong. Case and the
/// difference between `-` and `_` do not count.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| distance * 3 <= word.len().max(candidate.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean 'x'?`, or nothing if no candidate is close to `word`.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map(|candidate| format!("; did you mean '{candidate}'?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_different_word_is_not() {
        let names = ["machine", "memory-backend-file", "smp", "serial", "nographic"];
        for (word, meant) in [
            ("machin", Some("machine")),
            ("mahcine", Some("machine")),
            ("no-graphic", Some("nographic")),
            ("memory_backend_file", Some("memory-backend-file")),
            ("SMP", Some("smp")),
            ("usb", None),
            ("", None),
            ("spice", None),
        ] {
            assert_eq!(closest(word, names), meant, "{word}");
        }
        assert_eq!(closest(&"serial".repeat(1000), names), None);
    }
}
